"""What the world's reward models say of clips that are still being drawn, with gradients (ReFL, arXiv:2304.05977).

The faces of a clip are one person's and those of other clips are not, the head moves as much as in the real clip of the
sentence, can be found and does not leap from place to place, and the action is the sentence's. Face and text encoder are
the rewards', which no report looks through; the detector, which also says how fast a head is, is the world's only one. What
optical flow says of motion is in avatar/flow_feedback.py, how faces look in avatar/face_look.py.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from magicid.avatar.judges import LEAST_SCORE, WEIGHTS, load_judge, mirrored
from magicid.core.device import device_of
from magicid.perception.face import TEMPLATE, overlap
from magicid.perception.networks import CROP, SIZE, HeadDetector, ResNetFace, VideoTextNetwork
from magicid.perception.tracking import LEAST_OVERLAP

TEMPERATURE = 0.1  # of cosines, where one action is told from another; sharper ones are sure of all that is nearly right
SURE = 0.7  # heat from which on a head is found surely enough
SLACK = 0.1  # head widths that a step may be longer than the real clip's longest
STILL = 0.003  # square pixels, added so that roots of what is at rest or in one place have slopes


@dataclass(frozen=True)
class FeedbackWeights:
    """Of the rewards, and of what holds the network to the weights before."""

    identity: float = 0.4  # likeness of a clip's faces among themselves
    across: float = 0.1  # of likeness between clips, as a share of `identity`
    seen: float = 1.5  # of heads half lost, which a detector can still pull back: else rewards are had by hiding them
    leaps: float = 12.0  # of heads that go further from frame to frame than the real clip's ever does, or are in two places
    face: float = 0.5  # of faces that look like no drawn person's (avatar/face_look.py)
    motion: float = 0.1  # squared logarithm of the head's speed over the real one's
    flow: float = 3.0  # Huber's loss of the person's speed by optical flow, set against `aim` times the real one's
    aim: float = 1.5  # above 1, since what a small step wins is less than what it is asked for
    action: float = 0.15  # cross entropy of the sentence's action among all
    anchor: float = 0.5  # squared distance of velocities to those of the weights before
    look: float = 2.0  # the same of their means over a clip's frames: what a clip looks like stays, what frames differ by may go
    swing: float = 0.0  # the weights before have their clips' change over time enlarged so much (avatar/guided.py)


@dataclass(frozen=True)
class Rewards:
    """Of B clips."""

    within_B: Tensor  # mean cosine of two frames' faces
    across_B: Tensor  # mean cosine, where above 0, to the other clips
    speed_B2: Tensor  # logarithm of the speed over the real one's: of landmarks, and of landmarks about their centre
    action_B: Tensor  # cross entropy
    seen_B: Tensor  # share of frames with a head
    real_seen_B: Tensor  # the same of the real clip
    lost_B: Tensor  # 0: a head is surely found in each frame; 1: in none
    leaps_B: Tensor  # head widths, mean over frames: steps beyond the real clip's longest, spread of heat beyond its widest
    boxes_BF4: Tensor  # of each frame's best head, in pixels, without gradients
    crops_BFCHW: Tensor  # its face on the template, in -1..1

    @property
    def followed_B(self) -> Tensor:
        """Whether a head is found in every frame, and near where it was."""
        near = [all(overlap(a, b) >= LEAST_OVERLAP for a, b in pairwise(path)) for path in self.boxes_BF4.tolist()]
        return (self.seen_B == 1) & torch.tensor(near)

    def loss(self, weights: FeedbackWeights) -> Tensor:
        """(B,), to be made small."""
        likeness = weights.across * self.across_B - self.within_B
        known = (self.real_seen_B == 1).float()  # where the real one's head is lost, the made one's may be
        speed = self.speed_B2.square().mean(1) * known * self.followed_B  # a track that breaks off says nothing of it
        said = weights.identity * likeness + weights.motion * speed + weights.action * self.action_B
        return said + (weights.seen * self.lost_B + weights.leaps * self.leaps_B) * known


class Heads(NamedTuple):
    """Of N pictures, in 64ths of them."""

    spots_N52: Tensor  # landmarks of the best head
    heat_N: Tensor  # how surely it is one
    boxes_N4: Tensor
    paths_N3: Tensor  # x and y of where all of the picture's heat has its middle, and how far it spreads about it


class RewardModels:
    """The three networks; nobody trains them, and only what they look at gets a gradient."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        detector, encoder, text = (load_judge(name, folder) for name in ("detector", "face_reward", "video_text_reward"))
        assert isinstance(detector, HeadDetector) and isinstance(encoder, ResNetFace) and isinstance(text, VideoTextNetwork)
        self.detector, self.encoder, self.text = detector, encoder, text

    def __call__(self, video_BCFHW: Tensor, real_BCFHW: Tensor, sentences: list[list[str]], actions_B: Tensor) -> Rewards:
        """Of clips beside real ones of their sentences, in -1..1; each sentence with every action, and which is meant."""
        where = device_of(self.detector)
        video_BCFHW, real_BCFHW, actions_B = (tensor.to(where) for tensor in (video_BCFHW, real_BCFHW, actions_B))
        frames = video_BCFHW.shape[2]
        pictures = video_BCFHW.transpose(1, 2).flatten(0, 1)
        heads = self._heads(pictures)
        with torch.no_grad():  # found, not known: what finding adds to a head's speed is in both
            real_heads = self._heads(real_BCFHW.transpose(1, 2).flatten(0, 1))
        made, real = (speeds(found.spots_N52.reshape(-1, frames, 5, 2)) for found in (heads, real_heads))
        crops = aligned(pictures, heads.spots_N52.detach())
        faces = mirrored(self.encoder, crops)
        seen_BF, real_seen_BF = ((heat >= LEAST_SCORE).float().reshape(-1, frames) for heat in (heads.heat_N, real_heads.heat_N))
        choices = self.text.embed_text([sentence for choice in sentences for sentence in choice])
        said = choices.reshape(len(sentences), len(sentences[0]), -1)
        cosines = torch.einsum("bd,bad->ba", self.text.embed_video(video_BCFHW.transpose(1, 2)), said)
        action = F.cross_entropy(cosines / TEMPERATURE, actions_B, reduction="none")
        within, across = likeness(faces.reshape(-1, frames, faces.shape[1]), seen_BF)
        lost = (SURE - heads.heat_N).relu().reshape(-1, frames).mean(1) / SURE
        widths_B = (real_heads.boxes_N4[:, 2] - real_heads.boxes_N4[:, 0]).reshape(-1, frames).median(1).values
        leaps = leaping(*(found.paths_N3.reshape(-1, frames, 3) / widths_B[:, None, None] for found in (heads, real_heads)))
        boxes, crops_BFCHW = heads.boxes_N4.detach().reshape(-1, frames, 4), crops.unflatten(0, (-1, frames))
        found = (
            within, across, made.log() - real.log(), action, seen_BF.mean(1), real_seen_BF.mean(1), lost, leaps, boxes,
            crops_BFCHW,
        )  # fmt: skip
        return Rewards(*(tensor.cpu() for tensor in found))

    def _heads(self, pictures_NCHW: Tensor) -> Heads:
        logits, places = self.detector(pictures_NCHW)
        heat_N, best_N = logits.flatten(1).sigmoid().max(1)
        numbers = torch.arange(len(best_N), device=best_N.device)
        best = places.flatten(1, 2)[numbers, best_N]
        share = F.normalize(logits.flatten(1).sigmoid().square(), p=1, dim=1)
        middles = (places[..., :2] + places[..., 2:4]).flatten(1, 2) / 2
        mean = torch.einsum("np,npd->nd", share, middles)
        about = (torch.einsum("np,npd->n", share, (middles - mean[:, None]).square()) + STILL).sqrt()
        return Heads(best[:, 4:].reshape(-1, 5, 2), heat_N, best[:, :4], torch.cat((mean, about[:, None]), 1))


def aligned(pictures_NCHW: Tensor, landmarks_N52: Tensor) -> Tensor:
    """Faces (N, C, 32, 32) of pictures in -1..1 on the template, as `perception.face.align` cuts those of less than 64 pixels:
    black outside of the picture. Gradients go to the pixels.
    """
    template = torch.tensor(TEMPLATE * CROP, dtype=torch.float32, device=landmarks_N52.device)
    points, wanted = (torch.view_as_complex(p.contiguous()) for p in (landmarks_N52, template))
    centred = points - points.mean(1, keepdim=True)
    turn = (centred.conj() * (wanted - wanted.mean())).sum(1) / centred.abs().square().sum(1).clamp(min=1e-6)
    shift = wanted.mean() - turn * points.mean(1)
    y, x = torch.meshgrid(*(torch.arange(CROP, device=turn.device).float(),) * 2, indexing="ij")
    sampled = (torch.complex(x, y) - shift[:, None, None]) / turn[:, None, None]
    places = (torch.view_as_real(sampled) + 0.5) * (2 / SIZE) - 1
    return F.grid_sample(pictures_NCHW + 1, places, align_corners=False) - 1


def likeness(faces_BFD: Tensor, seen_BF: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cosines, (B,) each: of two seen frames of a clip; of its mean face to those of the others, where above 0."""
    count = seen_BF.sum(1)
    total = (faces_BFD * seen_BF[..., None]).sum(1)
    within = (total.square().sum(1) - count) / (count * (count - 1)).clamp(min=1)
    mean = F.normalize(total, dim=1)
    others = 1 - torch.eye(len(mean), device=mean.device)
    return within, ((mean @ mean.T).relu() * others).sum(1) / max(1, len(mean) - 1)


def leaping(made_BF3: Tensor, real_BF3: Tensor) -> Tensor:
    """(B,), mean over frames of what a head's path (x, y, how far about it) has beyond the most of the real one's."""
    (step, about), (real_step, real_about) = (
        (path[..., :2].diff(dim=1).norm(dim=2), path[..., 2]) for path in (made_BF3, real_BF3)
    )
    beyond: Tensor = (step - real_step.amax(1, keepdim=True) - SLACK).relu().mean(1)
    return beyond + (about - real_about.amax(1, keepdim=True)).relu().mean(1)


def speeds(landmarks_BF52: Tensor) -> Tensor:
    """(B, 2), pixels a frame, mean over landmarks: as they are, and about their centre. Smoothed, since finding them jitters."""
    smooth = (landmarks_BF52[:, :-2] + 2 * landmarks_BF52[:, 1:-1] + landmarks_BF52[:, 2:]) / 4
    both = torch.stack((smooth, smooth - smooth.mean(2, keepdim=True)), 1)
    return (both.diff(dim=2).square().sum(-1) + STILL).sqrt().mean((2, 3))
