"""Step one of pretraining: a small `AutoencoderKLWan` (8x in space, 2x in time, 16 channels) trained on rendered clips.

The stock class encodes a clip in chunks of four frames, to save memory. Its convolutions are causal, so two chunks,
the first frame and all the others, give the same numbers with fewer and larger calls: that is what is trained.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import patchify, unpatchify
from torch import Tensor

from magicid.avatar.dataset import ClipStore
from magicid.core.device import autocast
from magicid.core.seeds import generator, item_seed

CHANNELS = 16


def new_autoencoder() -> AutoencoderKLWan:
    """An untrained autoencoder whose residual blocks start as the identity (which trains faster)."""
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=32, decoder_base_dim=48, z_dim=CHANNELS, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[True],
        patch_size=4, in_channels=48, out_channels=48, scale_factor_temporal=2, scale_factor_spatial=8,
        latents_mean=[0.0] * CHANNELS, latents_std=[1.0] * CHANNELS,
    )  # fmt: skip
    for module in vae.modules():
        if type(module).__name__ == "WanResidualBlock":
            torch.nn.init.zeros_(module.conv2.weight)
    return vae


def encode(vae: AutoencoderKLWan, video_BCFHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance of the latents, (B, z, 1 + (F-1)/2, H/8, W/8) each, of a video in -1..1."""
    vae.clear_cache()
    x = patchify(video_BCFHW, patch_size=vae.config.patch_size)
    chunks = [vae.encoder(chunk, feat_cache=vae._enc_feat_map, feat_idx=[0]) for chunk in (x[:, :, :1], x[:, :, 1:])]
    mean, log_variance = vae.quant_conv(torch.cat(chunks, 2)).chunk(2, 1)
    return mean, log_variance.clamp(-30, 20)


def decode(vae: AutoencoderKLWan, latents_BCFHW: Tensor) -> Tensor:
    """The video, not clamped."""
    vae.clear_cache()
    z = vae.post_quant_conv(latents_BCFHW)
    chunks = [
        vae.decoder(chunk, feat_cache=vae._feat_map, feat_idx=[0], first_chunk=first)
        for chunk, first in ((z[:, :, :1], True), (z[:, :, 1:], False))
    ]
    video: Tensor = unpatchify(torch.cat(chunks, 2), patch_size=vae.config.patch_size)
    return video


def to_video(frames: np.ndarray) -> Tensor:
    """uint8 frames (B, F, H, W, 3) to (B, 3, F, H, W) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


class AutoencoderLoss:
    """Reconstruction, weighted towards the head, with a small KL term; `batch` windows of `frames` frames a step."""

    def __init__(self, vae: AutoencoderKLWan, store: ClipStore, batch: int = 4, frames: int = 9) -> None:
        self.vae, self.store, self.batch, self.frames = vae, store, batch, frames

    def __call__(self, step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng(item_seed(0, "autoencoder", step, micro))
        length = self.store.frames.shape[1]
        windows, weights = [], []
        for index in rng.integers(len(self.store), size=self.batch):
            start = int(rng.integers(length - self.frames + 1))
            window = slice(start, start + self.frames)
            windows.append(self.store.frames[index, window])
            weights.append(head_weight(self.store.boxes[index, window], self.store.frames.shape[2]))
        video = to_video(np.stack(windows))
        weight = torch.from_numpy(np.stack(weights))[:, None]
        noise = torch.randn(
            (self.batch, CHANNELS, 1 + (self.frames - 1) // 2, *(s // 8 for s in video.shape[-2:])),
            generator=generator(0, "autoencoder", step, micro, "noise"),
        )
        with autocast(video.device):
            mean, log_variance = encode(self.vae, video)
            output = decode(self.vae, mean + torch.exp(0.5 * log_variance) * noise)
        error = output.float() - video
        squared = error.square()
        mean, log_variance = mean.float(), log_variance.float()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = (weight * (2 * squared + 0.5 * error.abs())).mean() + 1e-4 * kl
        psnr = -10 * torch.log10(squared.detach().mean((1, 2, 3, 4)) / 4).mean()
        return loss, {"psnr": float(psnr), "kl": float(kl.detach())}


def head_weight(boxes: np.ndarray, size: int, inside: float = 3.0) -> np.ndarray:
    """(F, size, size) fp32 weights: `inside` in the head's box, 1 elsewhere; from boxes (F, 4)."""
    weight = np.ones((len(boxes), size, size), np.float32)
    for plane, (x0, y0, x1, y1) in zip(weight, boxes.astype(int), strict=True):
        plane[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = inside
    return weight


@torch.inference_mode()
def measure_latents(vae: AutoencoderKLWan, store: ClipStore, count: int = 256) -> None:
    """Write the channels' mean and deviation into the configuration, so that latents of the family are standardised."""
    latents = torch.cat([encode(vae, to_video(store.frames[i : i + 8]))[0] for i in range(0, count, 8)])
    vae.register_to_config(
        latents_mean=latents.mean((0, 2, 3, 4)).tolist(), latents_std=latents.std((0, 2, 3, 4)).tolist()
    )


@torch.inference_mode()
def reconstruction_psnr(vae: AutoencoderKLWan, store: ClipStore, count: int = 64) -> tuple[float, float]:
    """Mean dB over whole clips, and over their heads alone."""
    whole, heads = [], []
    for i in range(count):
        video = to_video(store.frames[i : i + 1])
        squared = (decode(vae, encode(vae, video)[0]).clamp(-1, 1) - video).square().mean(1) / 4
        head = torch.from_numpy(head_weight(store.boxes[i], video.shape[-1], 2.0))[None] > 1.5
        whole.append(-10 * float(squared.mean().log10()))
        heads.append(-10 * float(squared[head].mean().log10()))
    return float(np.mean(whole)), float(np.mean(heads))


def save_autoencoder(vae: AutoencoderKLWan, folder: Path) -> None:
    """Save in the diffusers layout, bf16."""
    vae.to(torch.bfloat16).save_pretrained(folder)
    vae.to(torch.float32)
