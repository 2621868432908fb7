"""Where in a clip's latents the head is."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from magicid.core.interfaces import Face, Frames
from magicid.perception.subject import Masks, head_masks

LEAST_INSIDE = 0.3  # share of a latent's pixels from which on it belongs to the region


def head_region(frames: Frames, faces: Sequence[Face | None], shape: Sequence[int]) -> Tensor:
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
    return latent_region(head_masks(frames, heads), shape)


def latent_region(inside: Masks, shape: Sequence[int]) -> Tensor:
    """Masks (T, H, W) of pixels on the grid of latents (F, H, W): the first frame alone, the others in equal groups."""
    pixels, (frames, height, width) = torch.from_numpy(inside).float()[None], shape
    parts = [F.adaptive_avg_pool3d(pixels[:, :1], (1, height, width))]
    if frames > 1:
        parts.append(F.adaptive_avg_pool3d(pixels[:, 1:], (frames - 1, height, width)))
    return (torch.cat(parts, 1)[0] > LEAST_INSIDE).float()
