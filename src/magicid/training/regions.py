"""Where in a clip's latents the head is, and an adapter that works in such a region alone."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from magicid.core.interfaces import Condition, Face, Family, Frames, Predict
from magicid.perception.subject import Masks, head_masks
from magicid.training import lora

LEAST_INSIDE = 0.3  # share of a latent's pixels from which on it belongs to the region
MOST_GAIN = 4.0  # a head that all but stands still would be made of noise


def head_region(frames: Frames, faces: Sequence[Face | None], shape: Sequence[int], alone: int = 1) -> Tensor:
    """1 where a latent of `shape` (F, H, W) shows the head in frames (T, H, W, 3), else 0.

    In a frame without a face the head is where it was last seen, or will first be; without any there is no region.
    """
    seen = [face for face in faces if face is not None]
    if not seen:
        return torch.zeros(*shape)
    heads, last = [], seen[0]
    for face in faces:
        last = face or last
        heads.append(last.box)
    return latent_region(head_masks(frames, heads), shape, alone)


def latent_region(inside: Masks, shape: Sequence[int], alone: int = 1) -> Tensor:
    """Masks (T, H, W) of pixels on the grid of latents (F, H, W).

    As causal autoencoders have it: the first `alone` latents show the first frame, the others equal groups of those after it.
    """
    pixels, (frames, height, width) = torch.from_numpy(inside).float()[None], shape
    parts = [F.adaptive_avg_pool3d(pixels[:, :1], (1, height, width)).expand(-1, alone, -1, -1)]
    if frames > alone:
        parts.append(F.adaptive_avg_pool3d(pixels[:, 1:], (frames - alone, height, width)))
    return (torch.cat(parts, 1)[0] >= LEAST_INSIDE).float()


def regional(family: Family, adapter: str, region_BFHW: Tensor) -> Predict:
    """Predictions that are the base model's outside a region (0) and inside (1) the adapter's, moving more, in two passes.

    An adapter that was learnt from photos shrinks what it sees move, so inside `moving_like` enlarges that towards what the
    base model predicts of the same noised clip. Under guidance each half is enlarged by itself. For as many rows
    (B, C, F, H, W) as there are regions, or twice as many, as guidance stacks them.
    """
    law = family.law

    def predict(x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        with lora.using(family, None):
            outside = family.predict(x_t, t, condition)
        with lora.using(family, adapter):
            inside = family.predict(x_t, t, condition)
        region = region_BFHW.repeat(len(x_t) // len(region_BFHW), 1, 1, 1)[:, None].to(x_t.device)
        base, own = (law.clean_and_noise(x_t, said.float(), t)[0] for said in (outside, inside))
        inside = law.prediction_of(x_t, moving_like(own, base, region), t)
        return torch.where(region > 0, inside, outside)

    return predict


def moving_like(clips: Tensor, others: Tensor, region_B1FHW: Tensor) -> Tensor:
    """Clips (B, C, F, H, W) whose departure from their mean frame is enlarged, over a region, to the power of that of `others`.

    By `MOST_GAIN` at most, and never made less. The mean is that of all frames, also of those in which the region is elsewhere;
    untested on autoencoders that compress time, whose first latent stands for one frame. After the rescaled guidance of
    arXiv:2305.08891, which brings back the spread of a whole prediction.
    """

    def departure(x: Tensor) -> Tensor:
        return x - x.mean(2, keepdim=True)

    own, wanted = ((departure(x).square() * region_B1FHW).sum((1, 2, 3, 4), keepdim=True) for x in (clips, others))
    gain = (wanted / own.clamp_min(1e-12)).sqrt().clamp(1, MOST_GAIN)
    return clips + (gain - 1) * departure(clips)
