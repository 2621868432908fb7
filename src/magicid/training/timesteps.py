"""Where on the noise path a step looks: laws of its times, and draws (a noise and a time), fresh or from a fixed few."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from magicid.core.diffusion import NoiseLaw
from magicid.core.seeds import generator, item_seed, noise

Times = Literal["uniform", "logit_normal", "stratified"]


def positions(times: str, count: int, drawn: torch.Generator) -> Tensor:
    """`count` positions in 0..1 from clean to noise, before the model's own warp.

    uniform:      independent.
    logit_normal: sigmoid of a standard normal, arXiv:2403.03206: the middle of the path more often.
    stratified:   one in each of `count` equal parts, arXiv:2107.00630: the same mean, less variance; in any order.
    """
    if times == "logit_normal":
        return torch.randn(count, generator=drawn).sigmoid()
    uniform = torch.rand(count, generator=drawn)
    if times == "uniform":
        return uniform
    if times == "stratified":
        return (torch.randperm(count, generator=drawn) + uniform) / count
    raise ValueError(f"times {times!r} are unknown; choose uniform, logit_normal or stratified.")


def by_kind(u_G: Tensor, identity_G: Tensor) -> Tensor:
    """Identity pairs to the cleaner half of the path, where faces are made; dynamic ones to the noisier, where motion is."""
    return torch.where(identity_G, u_G / 2, (1 + u_G) / 2)


@dataclass(frozen=True)
class Draws:
    """Noise (D, C, F, H, W) and time (D,), 0..1."""

    eps: Tensor
    t: Tensor


class Drawing:
    """Gives each group of pairs its draw: fresh ones at every step, or one of `fixed` whose errors can be kept."""

    def __init__(
        self, law: NoiseLaw, shape: tuple[int, ...], times: str = "uniform", split: bool = False, fixed: int = 0, seed: int = 0
    ) -> None:
        self._law, self._shape, self._times, self._split, self._fixed, self._seed = law, shape, times, split, fixed, seed
        if fixed:
            u = positions(times, fixed, generator(seed, "optimize", "draws", "time"))
            if split:  # the first half for identity pairs, the second for dynamic ones
                u = by_kind(u.repeat(2), torch.arange(2 * fixed) < fixed)
            self._draws = Draws(noise((len(u), *shape), seed, "optimize", "draws"), law.warp(u))

    def __call__(self, identity: list[bool], step: int, micro: int) -> tuple[Draws, list[int]]:
        """Draws, and which of them each of a step's groups takes; `identity`: whether a group is of identity pairs."""
        key, groups = ("optimize", step, micro), len(identity)
        if not self._fixed:
            u = positions(self._times, groups, generator(self._seed, *key, "time"))
            if self._split:
                u = by_kind(u, torch.tensor(identity))
            return Draws(noise((groups, *self._shape), self._seed, *key), self._law.warp(u)), list(range(groups))
        order = torch.randperm(self._fixed, generator=generator(item_seed(self._seed, *key), "draws")).tolist()
        dynamic = [self._fixed * (self._split and not of_identity) for of_identity in identity]
        return self._draws, [order[group % self._fixed] + offset for group, offset in enumerate(dynamic)]
