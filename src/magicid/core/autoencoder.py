"""What families ask of their autoencoders, which compute in a dtype and a place of their own."""

from typing import Any

import torch
from torch import Tensor

from magicid.core.errors import DataError


@torch.no_grad()
def encode(vae: Any, videos_BCFHW: Tensor) -> Tensor:
    """The posterior's mode, fp32, not standardised."""
    latents: Tensor = vae.encode(videos_BCFHW.to(vae.device, vae.dtype)).latent_dist.mode().float()
    return latents


@torch.no_grad()
def decode(vae: Any, latents_BCFHW: Tensor) -> Tensor:
    """Videos in -1..1, fp32."""
    video: Tensor = vae.decode(latents_BCFHW.to(vae.device, vae.dtype)).sample.float()
    return video


def compressed(size: tuple[int, int, int], time: int, space: int, side: int) -> tuple[int, int, int]:
    """(F, H, W) of latents; `DataError` unless frames are a multiple of `time` plus 1, and sides multiples of `side` pixels."""
    frames, height, width = size
    if (frames - 1) % time or height % side or width % side:
        raise DataError(f"{frames}x{height}x{width}: frames must be {time}n+1 and sides multiples of {side}.")
    return (frames - 1) // time + 1, height // space, width // space
