"""Step one of pretraining: a small `AutoencoderKLWan` (8x in space, 30 channels) trained on rendered clips.

All of its blocks work on the 8x8 grid that the stock class's own patching makes, so it needs no upsampling, and it can
start as the principal components of the patches: 23 dB before the first step, where a random start needed an hour.
Its convolutions are causal in time; called on a whole clip at once they give what the stock class gives in chunks.
"""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import patchify, unpatchify
from torch import Tensor, nn

from magicid.avatar.dataset import HELD_OUT, ClipStore, render
from magicid.core.device import autocast
from magicid.core.files import publish_folder
from magicid.core.seeds import generator, item_seed
from magicid.media.video import to_tensor

CHANNELS, PATCH = 30, 8
CONSTANT = 12.0  # a channel held at this value makes the normalisation before the last layer nearly a constant factor


def new_autoencoder() -> AutoencoderKLWan:
    """An untrained autoencoder whose residual blocks start as the identity."""
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=64, decoder_base_dim=112, z_dim=CHANNELS, dim_mult=[1], num_res_blocks=1, temperal_downsample=[],
        patch_size=PATCH, in_channels=3 * PATCH**2, out_channels=3 * PATCH**2, scale_factor_temporal=1,
        scale_factor_spatial=PATCH, latents_mean=[0.0] * CHANNELS, latents_std=[1.0] * CHANNELS,
    )  # fmt: skip
    for module in vae.modules():
        last = {"WanResidualBlock": "conv2", "WanAttentionBlock": "proj"}.get(type(module).__name__)
        if last:
            nn.init.zeros_(getattr(module, last).weight)
            nn.init.zeros_(getattr(module, last).bias)
    return vae


@torch.no_grad()
def start_as_principal_components(vae: AutoencoderKLWan, frames: np.ndarray) -> None:
    """Set the layers so that the latents are the leading components of 8x8 patches, each divided by sqrt of its deviation.

    `frames` (N, H, W, 3) uint8. Half-way between whitened and raw, the latents keep a coarse-to-fine order, which
    diffusion learns more easily. SiLU stands between: a component travels as the pair (x, -x), since
    silu(x) - silu(-x) = x.
    """
    patches = patchify(to_tensor(frames[:, None]), patch_size=PATCH).permute(0, 2, 3, 4, 1).reshape(-1, 3 * PATCH**2)
    mean = patches.mean(0)
    variance, basis = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    basis, scale = basis.flip(1)[:, :CHANNELS], variance.flip(0)[:CHANNELS].pow(0.25)
    down = (basis / scale).T
    encoder, decoder, identity = vae.encoder, vae.decoder, torch.eye(CHANNELS)
    _spread(encoder.conv_in, down, -down @ mean)
    _gather(encoder.conv_out, torch.cat([identity, 0 * identity]), torch.tensor([0.0, -7.0]).repeat_interleave(CHANNELS))
    for convolution in (vae.quant_conv, vae.post_quant_conv):
        nn.init.zeros_(convolution.bias)
        convolution.weight.copy_(torch.eye(convolution.out_channels)[:, :, None, None, None])
    _spread(decoder.conv_in, identity, torch.zeros(CHANNELS))
    _gather(decoder.conv_out, basis * scale, mean)


def _spread(convolution: nn.Conv3d, rows: Tensor, bias: Tensor) -> None:
    """The first channels become +-(rows x + bias) and one constant; the others stay as they are."""
    count = 2 * len(rows)
    convolution.weight[: count + 1] = 0
    convolution.weight[0:count:2, :, -1, 1, 1], convolution.weight[1:count:2, :, -1, 1, 1] = rows, -rows
    offset = cast(Tensor, convolution.bias)
    offset[0:count:2], offset[1:count:2], offset[count] = bias, -bias, CONSTANT


def _gather(convolution: nn.Conv3d, columns: Tensor, bias: Tensor) -> None:
    """The inverse: columns x + bias, from the pairs; the other channels start without influence."""
    count = 2 * columns.shape[1]
    columns = columns * CONSTANT / convolution.in_channels**0.5
    nn.init.zeros_(convolution.weight)
    convolution.weight[:, 0:count:2, -1, 1, 1], convolution.weight[:, 1:count:2, -1, 1, 1] = columns, -columns
    cast(Tensor, convolution.bias).copy_(bias)


def encode(vae: AutoencoderKLWan, video_BCFHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log variance of the latents, (B, z, F, H/8, W/8) each, of a video in -1..1."""
    moments = vae.quant_conv(vae.encoder(patchify(video_BCFHW, patch_size=PATCH)))
    mean, log_variance = moments.chunk(2, 1)
    return mean, log_variance.clamp(-30, 20)


def decode(vae: AutoencoderKLWan, latents_BCFHW: Tensor) -> Tensor:
    """The video, not clamped."""
    video: Tensor = unpatchify(vae.decoder(vae.post_quant_conv(latents_BCFHW)), patch_size=PATCH)
    return video


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
        video = to_tensor(np.stack(windows))
        weight = torch.from_numpy(np.stack(weights))[:, None]
        noise = torch.randn(
            (self.batch, CHANNELS, self.frames, *(s // PATCH for s in video.shape[-2:])),
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
    """Write each channel's mean and the deviation of all channels together into the configuration."""
    latents = torch.cat([encode(vae, to_tensor(store.frames[i : i + 8]))[0] for i in range(0, count, 8)])
    means = latents.mean((0, 2, 3, 4), keepdim=True)
    deviation = float((latents - means).square().mean().sqrt())
    vae.register_to_config(latents_mean=means.flatten().tolist(), latents_std=[deviation] * CHANNELS)


def autoencoder_figures(folder: Path, clips: int = 64) -> dict[str, float]:
    """dB of the autoencoder saved under `folder`, on clips that nothing was trained on; {} where there is none yet."""
    if not (folder / "config.json").exists():
        return {}
    vae = AutoencoderKLWan.from_pretrained(folder, dtype=torch.float32).eval()
    drawn = [render(HELD_OUT, index) for index in range(clips)]
    frames, boxes, landmarks = (np.stack([getattr(clip, name) for clip in drawn]) for name in ("frames", "boxes", "landmarks"))
    whole, heads = reconstruction_psnr(vae, ClipStore(HELD_OUT, frames, boxes, landmarks))
    return {"autoencoder_psnr": whole, "autoencoder_psnr_head": heads}


@torch.inference_mode()
def reconstruction_psnr(vae: AutoencoderKLWan, store: ClipStore) -> tuple[float, float]:
    """Mean dB over whole clips, and over their heads alone."""
    whole, heads = [], []
    for i in range(len(store)):
        video = to_tensor(store.frames[i : i + 1])
        squared = (decode(vae, encode(vae, video)[0]).clamp(-1, 1) - video).square().mean(1) / 4
        head = torch.from_numpy(head_weight(store.boxes[i], video.shape[-1], 2.0))[None] > 1.5
        whole.append(-10 * float(squared.mean().log10()))
        heads.append(-10 * float(squared[head].mean().log10()))
    return float(np.mean(whole)), float(np.mean(heads))


def save_autoencoder(vae: AutoencoderKLWan, folder: Path) -> None:
    """Save in the diffusers layout, bf16."""
    publish_folder(folder, vae.to(torch.bfloat16).save_pretrained)
    vae.to(torch.float32)
