"""One look of a model at noised videos, and the reference's looks, which may be kept for good."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from magicid.core.device import autocast, device_of
from magicid.core.interfaces import Family
from magicid.training import lora
from magicid.training.objectives import video_error
from magicid.training.pair_data import PairData
from magicid.training.timesteps import Draws


class Look(NamedTuple):
    """What is looked at: a video, a prompt and a draw, as rows of the pair data and of the draws."""

    video: int
    prompt: int
    draw: int


class Seen(NamedTuple):
    """What is seen: e(x), and the mean square of the prediction; both (B,)."""

    error: Tensor
    square: Tensor


def see(family: Family, data: PairData, looks: Sequence[Look], draws: Draws) -> Seen:
    """One forward pass of the adapter at work."""
    device, law = device_of(family.transformer), family.law
    videos, prompts, taken = map(list, zip(*looks, strict=True))
    x0, eps, t = (tensor.to(device) for tensor in (data.latents[videos], draws.eps[taken], draws.t[taken]))
    with autocast(device):
        prediction = family.predict(law.add_noise(x0, eps, t), t, data.condition(prompts))
    square = prediction.detach().float().square().flatten(1).mean(1)
    return Seen(video_error(prediction, law.target(x0, eps, t)), square)


class Reference:
    """The frozen side. With `keep`, what it said is kept: for fixed draws, and videos that are looked at alone."""

    def __init__(self, family: Family, data: PairData, adapter: str | None, keep: bool = False) -> None:
        self._family, self._data, self._adapter, self._keep = family, data, adapter, keep
        self._bank: dict[tuple[Look, ...], Seen] = {}

    def ask(self, batches: Sequence[Sequence[Look]], draws: Draws) -> list[Seen]:
        """What it sees in each batch, made up as the policy's: the shape changes the last bits."""
        found = {batch: seen for batch in map(tuple, batches) if (seen := self._bank.get(batch))}
        if unknown := dict.fromkeys(batch for batch in map(tuple, batches) if batch not in found):
            with lora.using(self._family, self._adapter), torch.no_grad():
                found |= {batch: see(self._family, self._data, batch, draws) for batch in unknown}
        if self._keep:
            self._bank |= found
        return [found[tuple(batch)] for batch in batches]
