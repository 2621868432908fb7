"""What pretraining asks of the middle of the transformer: who is seen, and where the head is in each frame.

A network that denoises well must know both, and learns them late from pictures alone. A small probe that reads them from
every frame's tokens tells it early (arXiv:2410.06940 does so with another network's features; here the world is known).
The probe is not saved: what is trained is the stock transformer.
"""

from dataclasses import astuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from magicid.avatar.dataset import ClipStore
from magicid.avatar.identity import BEARDS, HAIR_STYLES, Identity

NARROW, HIDDEN = 48, 384


def traits(identity: Identity) -> NDArray[np.float32]:
    """A person as one row of numbers: lengths as they are, colours by channel, styles one-hot."""
    numbers: list[float] = []
    for value in astuple(identity):
        if isinstance(value, str):
            styles = HAIR_STYLES if value in HAIR_STYLES else BEARDS
            numbers += [float(value == style) for style in styles]
        else:
            numbers += list(value) if isinstance(value, tuple) else [float(value)]
    return np.array(numbers, np.float32)


def standard(values: NDArray[np.float32]) -> Tensor:
    """Columns (last axis) with mean 0 and deviation 1, fp16."""
    flat = values.reshape(-1, values.shape[-1])
    return torch.from_numpy((values - flat.mean(0)) / (flat.std(0) + 1e-6)).half()


def probe_targets(store: ClipStore) -> tuple[Tensor, Tensor]:
    """Who, (N, D), and where, (N, F, 14): box and landmarks of every frame; both standardised."""
    people = np.stack([traits(store.item(i).identity) for i in range(len(store))])
    places = np.concatenate((store.boxes, store.landmarks.reshape(*store.boxes.shape[:2], -1)), -1)
    return standard(people), standard(places)


class Probe(nn.Module):
    """Reads one frame's tokens at a time: (B, F * P, C) to (B, F, who + where)."""

    def __init__(self, width: int, tokens_per_frame: int, who: int, where: int) -> None:
        super().__init__()
        self.tokens, self.who = tokens_per_frame, who
        self.norm, self.narrow = nn.LayerNorm(width), nn.Linear(width, NARROW)
        self.read = nn.Sequential(nn.Linear(NARROW * tokens_per_frame, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, who + where))

    def forward(self, hidden_BLC: Tensor) -> Tensor:
        narrow = self.narrow(self.norm(hidden_BLC.float()))
        read: Tensor = self.read(narrow.unflatten(1, (-1, self.tokens)).flatten(2))
        return read

    def loss(self, read_BFD: Tensor, who_BD: Tensor, where_BFD: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared errors of who and of where; 1 is what knowing nothing costs."""
        who_BFD = who_BD[:, None].expand(-1, read_BFD.shape[1], -1)
        return F.mse_loss(read_BFD[..., : self.who], who_BFD), F.mse_loss(read_BFD[..., self.who :], where_BFD)
