"""What families ask of their autoencoders, which compute in a dtype and a place of their own.

`vae` is a stock autoencoder; the two `scaled` are for those whose latents one factor brings to about unit deviation.
"""

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
def decode(vae: Any, latents_BCFHW: Tensor, *times_B: Tensor) -> Tensor:
    """Videos in -1..1, fp32; `times_B` for a decoder that takes one."""
    video: Tensor = vae.decode(*(tensor.to(vae.device, vae.dtype) for tensor in (latents_BCFHW, *times_B))).sample.float()
    return video


def encode_scaled(vae: Any, videos_BCFHW: Tensor) -> Tensor:
    """The posterior's mode, fp32, scaled to about unit deviation."""
    return encode(vae, videos_BCFHW) * float(vae.config.scaling_factor)


def decode_scaled(vae: Any, latents_BCFHW: Tensor) -> Tensor:
    """The inverse: videos in -1..1, fp32."""
    return decode(vae, latents_BCFHW.float() / vae.config.scaling_factor)


def patched(vae: Any, size: tuple[int, int, int], patch: int) -> tuple[int, int, int, int]:
    """(C, F, H, W) of latents, as HunyuanVideo's autoencoders say; their sides hold whole patches of `patch` latent pixels."""
    config, space = vae.config, vae.config.spatial_compression_ratio
    return config.latent_channels, *compressed(size, config.temporal_compression_ratio, space, space * patch)


def compressed(size: tuple[int, int, int], time: int, space: int, side: int) -> tuple[int, int, int]:
    """(F, H, W) of latents; `DataError` unless frames are a multiple of `time` plus 1, and sides multiples of `side` pixels."""
    frames, height, width = size
    if (frames - 1) % time or height % side or width % side:
        raise DataError(f"{frames}x{height}x{width}: frames must be {time}n+1 and sides multiples of {side}.")
    return (frames - 1) // time + 1, height // space, width // space
