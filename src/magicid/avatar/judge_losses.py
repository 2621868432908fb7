"""What the judges are trained on: one loss a kind, each a function of (step, micro-batch) for the training loop."""

from collections.abc import Sequence
from dataclasses import replace
from math import cos, pi, sin

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from magicid.avatar.judge_data import FaceStore, Views, damaged
from magicid.avatar.prompts import describe
from magicid.avatar.truth import VOCABULARIES, Truth, pick
from magicid.core.device import autocast, device
from magicid.core.seeds import item_seed
from magicid.perception.networks import CELL, SIZE, TruthClassifier, VideoTextNetwork

VARIED = ("scene", "outfit", "action")  # what hard negatives differ in, and what makes two clips say the same


class DetectorLoss:
    """CenterNet's focal loss on the heat, L1 on box and landmarks of the cells near the head's centre."""

    def __init__(self, network: nn.Module, seen: Views, batch: int = 48) -> None:
        self.network, self.seen, self.batch = network, seen, batch

    def __call__(self, step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng(item_seed(0, "detector", step, micro))
        drawn = [self._picture(rng) for _ in range(self.batch)]
        pictures = torch.cat([damaged(rng, picture[None]) for picture, _ in drawn]).to(device())
        places = torch.from_numpy(np.stack([spots for _, spots in drawn])).float().to(device())
        heat = heat_map(places)
        logits, found = self.network(pictures)
        focal = focal_loss(logits, heat)
        near = (heat > 0.5)[..., None]
        target = places.nan_to_num()[:, None, None].expand_as(found)
        misses = F.smooth_l1_loss(found, target, reduction="none", beta=0.5)
        error = (misses * near).sum() / (14 * near.sum()).clamp(min=1)
        return focal + 0.5 * error, {"heat": float(focal.detach()), "pixels": float(error.detach())}

    def _picture(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """A moved and scaled frame, its box and landmarks (14,); one in ten has its head rubbed out, and NaN places."""
        index, frames = self.seen.draw(rng)
        t = int(rng.integers(len(frames)))
        frame = np.array(frames[t])
        spots = np.concatenate((self.seen.store.boxes[index, t], self.seen.store.landmarks[index, t].ravel()))
        if rng.random() < 0.1:
            x0, y0, x1, y1 = (int(v) for v in np.clip(spots[:4] + np.array([-2, -4, 3, 3]), 0, SIZE))
            frame[y0:y1, x0:x1] = frame[y0:y1, : x0 + 1].mean((0, 1)) if rng.random() < 0.5 else rng.integers(0, 255, 3)
            spots = np.full(14, np.nan)
        scale, shift = rng.uniform(0.65, 1.35), rng.uniform(-10, 10, 2)
        move = shift + (1 - scale) * SIZE / 2
        warp = np.array([[scale, 0, move[0]], [0, scale, move[1]]])
        frame = np.asarray(cv2.warpAffine(frame, warp, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        return frame, (spots.reshape(7, 2) * scale + move).ravel()


def heat_map(places: Tensor) -> Tensor:
    """(B, h, w) Gaussians at the centres of the boxes places[:, :4], 1 in the centre's own cell; none where NaN."""
    middle = (places[:, :2] + places[:, 2:4]) / 2
    own = (middle / CELL).floor()  # cell numbers x, y
    cells = torch.arange(SIZE // CELL, device=places.device)
    squared = (cells - own[:, :1])[:, None, :] ** 2 + (cells - own[:, 1:])[:, :, None] ** 2
    return torch.exp(-squared / 2).nan_to_num(0)


def focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """CenterNet's penalty-reduced focal loss (Zhou et al. 2019, Eq. 1), per head."""
    probability, positive = logits.sigmoid(), heat == 1
    hit = -(1 - probability).square() * F.logsigmoid(logits) * positive
    false = -((1 - heat) ** 4) * probability.square() * F.logsigmoid(-logits) * ~positive
    return (hit + false).sum() / positive.sum().clamp(min=1)


class FaceLoss:
    """ArcFace (Deng et al. 2019, Eq. 3) over a store's people; the margin grows over the first `ramp` steps."""

    def __init__(self, network: nn.Module, store: FaceStore, name: str, batch: int = 128, ramp: int = 500) -> None:
        self.network, self.store, self.name, self.batch, self.ramp = network, store, name, batch, ramp
        self.head = nn.Parameter(torch.randn(len(store.landmarks), 128, device=device()) / 128**0.5)

    def __call__(self, step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng(item_seed(0, self.name, step, micro))
        people = rng.choice(len(self.head), self.batch, replace=self.batch > len(self.head))
        crops = torch.cat([damaged(rng, self.store.crop(rng, person)[None]) for person in people]).to(device())
        labels = torch.from_numpy(people).to(device())
        with autocast(crops.device):
            cosines = self.network(crops).float() @ F.normalize(self.head, dim=-1).T
        loss = F.cross_entropy(arc_face(cosines, labels, 0.35 * min(1, step / self.ramp)), labels)
        right = (cosines.argmax(-1) == labels).float().mean()
        return loss, {"right": float(right)}


def arc_face(cosines: Tensor, labels: Tensor, margin: float, scale: float = 32.0) -> Tensor:
    """Logits (B, P) in which the angle to the right person is larger by `margin` radians."""
    right = cosines.gather(1, labels[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    moved = right * cos(margin) - (1 - right.square()).sqrt() * sin(margin)
    moved = torch.where(right > cos(pi - margin), moved, right - margin * sin(margin))  # beyond pi: still falling
    return scale * cosines.scatter(1, labels[:, None], moved)


def hard_negatives(truth: Truth, rng: np.random.Generator) -> list[Truth]:
    """Three truths, each different from `truth` in exactly one field: scene, outfit, action."""
    return [replace(truth, **{name: pick(rng, [v for v in VOCABULARIES[name] if v != getattr(truth, name)])}) for name in VARIED]


def same(a: Sequence[Truth], b: Sequence[Truth]) -> Tensor:
    """(A, B) bool: equal in scene, outfit and action."""
    keys = [[tuple(getattr(truth, name) for name in VARIED) for truth in truths] for truths in (a, b)]
    return torch.tensor([[x == y for y in keys[1]] for x in keys[0]])


class VideoTextLoss:
    """InfoNCE both ways, hard negatives on the text side; clips and sentences that say the same are not contrasted."""

    def __init__(self, network: VideoTextNetwork, seen: Views, name: str, batch: int = 32) -> None:
        self.network, self.seen, self.name, self.batch = network, seen, name, batch

    def __call__(self, step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng(item_seed(0, self.name, step, micro))
        drawn = [self.seen.draw(rng) for _ in range(self.batch)]
        clips = torch.stack([damaged(rng, frames) for _, frames in drawn]).to(device())
        truths = [self.seen.store.item(index).truth for index, _ in drawn]
        others = [other for truth in truths for other in hard_negatives(truth, rng)]
        sentences = [describe(truth, rng) for truth in truths + others]
        with autocast(clips.device):
            videos, texts = self.network.embed_video(clips), self.network.embed_text(sentences)
        logits = self.network.log_scale.exp().clamp(max=100) * (videos.float() @ texts.float().T)
        own = torch.eye(self.batch, len(sentences), dtype=torch.bool)
        logits = logits.masked_fill((same(truths, truths + others) & ~own).to(device()), -torch.inf)
        labels = torch.arange(self.batch, device=device())
        loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits[:, : self.batch].T, labels)) / 2
        right = (logits.argmax(-1) == labels).float().mean()
        return loss, {"right": float(right), "scale": float(self.network.log_scale.detach().exp())}


class ClassifierLoss:
    """Mean cross entropy over the fields of the truth."""

    def __init__(self, network: TruthClassifier, seen: Views, batch: int = 32) -> None:
        self.network, self.seen, self.batch = network, seen, batch

    def __call__(self, step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng(item_seed(0, "classifier", step, micro))
        drawn = [self.seen.draw(rng) for _ in range(self.batch)]
        clips = torch.stack([damaged(rng, frames) for _, frames in drawn]).to(device())
        labels = torch.tensor([self.seen.store.item(index).truth.labels for index, _ in drawn], device=device())
        with autocast(clips.device):
            logits = self.network(clips)
        losses, numbers = [], {}
        for column, name in enumerate(VOCABULARIES):
            losses.append(F.cross_entropy(logits[name].float(), labels[:, column], label_smoothing=0.05))
            numbers[name] = float((logits[name].argmax(-1) == labels[:, column]).float().mean())
        return torch.stack(losses).mean(), numbers
