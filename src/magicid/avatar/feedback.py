"""What the world's judges say of clips that are still being drawn, with gradients: reward feedback (arXiv:2304.05977).

The faces of a clip are one person's and those of other clips are not, the head moves as much as in the real clip of the
sentence, and the action is the sentence's. The judges are those of the rewards; reports never look through them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from magicid.avatar.judges import load_judge
from magicid.perception.face import TEMPLATE
from magicid.perception.networks import CROP, SIZE, HeadDetector, ResNetFace, VideoTextNetwork

LEAST_HEAT = 0.3  # of a head that is seen
TEMPERATURE = 0.1  # of cosines, where one action is told from another
STILL = 0.003  # square pixels a frame: below it a landmark is at rest


@dataclass(frozen=True)
class Feedback:
    """Weights of what is fed back, beside `anchor`, that of the distance to the weights before."""

    identity: float = 0.5  # likeness of a clip's faces among themselves
    across: float = 0.1  # of likeness between clips, as a share of `identity`
    motion: float = 0.2  # squared logarithm of the head's speed over the real one's
    action: float = 0.05  # cross entropy of the sentence's action among all
    anchor: float = 0.5  # squared distance of velocities to those of the weights before
    look: float = 5.0  # the same of their means over a clip's frames: what a clip looks like stays, what frames differ by may go
    swing: float = 0.2  # the weights before have their clips' change over time enlarged so much (avatar/guided.py)


@dataclass(frozen=True)
class Heard:
    """What was said of B clips."""

    within_B: Tensor  # mean cosine of two frames' faces
    across_B: Tensor  # mean cosine, where above 0, to the other clips
    speed_B2: Tensor  # logarithm of the speed over the real one's: of landmarks, and of landmarks about their centre
    action_B: Tensor  # cross entropy
    seen_B: Tensor  # share of frames with a head

    def loss(self, weights: Feedback) -> Tensor:
        """(B,), to be made small."""
        likeness = weights.across * self.across_B - self.within_B
        followed = (self.seen_B > 0.9).float()  # a track that breaks off says nothing of speed
        speed = self.speed_B2.square().mean(1) * followed
        return weights.identity * likeness + weights.motion * speed + weights.action * self.action_B


class Listener:
    """The three judges; only what they look at gets a gradient."""

    def __init__(self) -> None:
        detector, encoder, text = (load_judge(name) for name in ("detector", "face_reward", "video_text_reward"))
        assert isinstance(detector, HeadDetector) and isinstance(encoder, ResNetFace) and isinstance(text, VideoTextNetwork)
        self.detector, self.encoder, self.text = detector, encoder, text

    def __call__(self, video_BCFHW: Tensor, landmarks_BF52: Tensor, sentences: list[list[str]], actions_B: Tensor) -> Heard:
        """Of videos in -1..1, the landmarks of real clips of the sentences, one sentence for each action, and which is meant."""
        frames = video_BCFHW.shape[2]
        pictures = video_BCFHW.transpose(1, 2).flatten(0, 1)
        logits_NHW, places = self.detector(pictures)
        heat_N, best_N = logits_NHW.flatten(1).sigmoid().max(1)
        spots = places.flatten(1, 2)[torch.arange(len(pictures)), best_N].reshape(-1, 7, 2)[:, 2:]
        crops = aligned(pictures, spots.detach())
        faces = F.normalize(self.encoder(crops) + self.encoder(crops.flip(-1)), dim=-1)
        faces_BFD = faces.reshape(-1, frames, faces.shape[1])
        seen_BF = (heat_N >= LEAST_HEAT).float().reshape(-1, frames)
        made, real = speeds(spots.reshape(-1, frames, 5, 2)), speeds(landmarks_BF52)
        choices = self.text.embed_text([sentence for choice in sentences for sentence in choice])
        said = choices.reshape(len(sentences), len(sentences[0]), -1)
        cosines = torch.einsum("bd,bad->ba", self.text.embed_video(video_BCFHW.transpose(1, 2)), said)
        action = F.cross_entropy(cosines / TEMPERATURE, actions_B, reduction="none")
        return Heard(*likeness(faces_BFD, seen_BF), made.log() - real.log(), action, seen_BF.mean(1))


def aligned(pictures_NCHW: Tensor, landmarks_N52: Tensor) -> Tensor:
    """Faces (N, C, 32, 32) on the template, as `perception.face.align` cuts them, with gradients to the pictures' pixels."""
    points, template = (torch.view_as_complex(p.contiguous()) for p in (landmarks_N52, torch.tensor(TEMPLATE * CROP).float()))
    centred = points - points.mean(1, keepdim=True)
    turn = (centred.conj() * (template - template.mean())).sum(1) / centred.abs().square().sum(1).clamp(min=1e-6)
    shift = template.mean() - turn * points.mean(1)
    y, x = torch.meshgrid(torch.arange(CROP).float(), torch.arange(CROP).float(), indexing="ij")
    where = (torch.complex(x, y) - shift[:, None, None]) / turn[:, None, None]
    places = (torch.view_as_real(where) + 0.5) * (2 / SIZE) - 1
    return F.grid_sample(pictures_NCHW, places, align_corners=False)


def likeness(faces_BFD: Tensor, seen_BF: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cosines, (B,) each: of two seen frames of a clip; of its mean face to those of the others, where above 0."""
    count = seen_BF.sum(1)
    total = (faces_BFD * seen_BF[..., None]).sum(1)
    within = (total.square().sum(1) - count) / (count * (count - 1)).clamp(min=1)
    mean = F.normalize(total, dim=1)
    others = 1 - torch.eye(len(mean))
    return within, ((mean @ mean.T).relu() * others).sum(1) / max(1, len(mean) - 1)


def speeds(landmarks_BF52: Tensor) -> Tensor:
    """(B, 2), pixels a frame, mean over landmarks: as they are, and about their centre. Smoothed, since finding them jitters."""
    smooth = (landmarks_BF52[:, :-2] + 2 * landmarks_BF52[:, 1:-1] + landmarks_BF52[:, 2:]) / 4
    both = torch.stack((smooth, smooth - smooth.mean(2, keepdim=True)), 1)
    return (both.diff(dim=2).square().sum(-1) + STILL).sqrt().mean((2, 3))
