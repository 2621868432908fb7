"""Draw clips from a family by deterministic DDIM (Euler on the flow path) with classifier-free guidance."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from magicid.core.device import autocast, device_of
from magicid.core.diffusion import ddim_step
from magicid.core.interfaces import Condition, Family, Geometry, Predict
from magicid.core.pulse import pulse
from magicid.core.seeds import noise


def repeat(condition: Condition, count: int) -> Condition:
    """A condition of batch 1 repeated `count` times."""
    return {name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in condition.items()}


def stack(conditions: Sequence[Condition]) -> Condition:
    """Conditions one after the other in the batch."""
    return {name: torch.cat([c[name] for c in conditions]) for name in conditions[0]}


def guidances(geometry: Geometry, guidance: float | None) -> tuple[float, float]:
    """The scales down to `guidance_until` and below it; `guidance` None: the family's own."""
    if guidance is None:
        return geometry.guidance, geometry.guidance_after
    return guidance, 1.0 if geometry.guidance_after == 1 else guidance


@torch.no_grad()
def sample(
    family: Family,
    condition: Condition,
    negative: Condition,
    seeds: Sequence[int],
    shape: tuple[int, int, int, int],
    steps: int = 50,
    guidance: float | None = None,
    start: tuple[Tensor, float] | None = None,
    predict: Predict | None = None,
) -> Tensor:
    """Latents (B, C, F, H, W), one a seed; each seed names its own noise, whatever the batch.

    `condition` has batch B, `negative` batch 1; `guidance` defaults to the family's, and 1 skips the negative pass. Past
    `geometry.guidance_until` it is `guidance_after`: 1 for a guidance interval (arXiv:2404.07724: guidance sets what is
    shown while all is noise; on nearly clean latents it hardens errors and costs half of the time), another for a second
    expert, in whose place a `guidance` that is given stands too. `start`, clean latents (B, ...)
    and a time, noises these to the first sampling time that is not later, and goes on from there (arXiv:2108.01073).
    `predict` stands in the place of the family's.
    """
    predict = predict or family.predict
    device = device_of(family.transformer)
    geometry = family.geometry
    scale, after = guidances(geometry, guidance)
    x = torch.stack([noise(shape, seed, "sample") for seed in seeds]).to(device)
    both = condition if scale == after == 1 else stack([condition, repeat(negative, len(seeds))])
    times = family.law.times(steps).to(device)
    if start:
        times = times[times <= start[1] + 1e-6]
        x = family.law.add_noise(start[0].to(device), x, times[:1].expand(len(seeds)))
    for now, then in pairwise(times):
        pulse("denoise")
        t, following = now.expand(len(seeds)), then.expand(len(seeds))
        with autocast(device):
            if (by := after if float(now) < geometry.guidance_until else scale) == 1:
                prediction = predict(x, t, condition)
            else:
                wanted, unwanted = predict(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
                prediction = unwanted + by * (wanted - unwanted)
        x = ddim_step(family.law, x, prediction.float(), t, following)
    return x
