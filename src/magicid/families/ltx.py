"""LTX-Video text-to-video (`LTXPipeline`): one T5 encoder, an autoencoder of 8 x 32 x 32, flow matching over its tokens.

The times' shift grows with the number of tokens: it is the one of the geometry's clips, so of those that a run learns from,
and clips of another size that are asked of the same family keep it. Left out: conditions on images and clips
(`LTXConditionPipeline`, whose weights are named so in their model index), the upsampler, schedulers with other than shifted
times, and the noise that some decoders want mixed in (0.9.1's `decoder_inject_noise`, and `decode_noise_scale`): a decoded
clip depends on its latents alone.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import LTXPipeline
from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift
from torch import Tensor, nn

from magicid.core import autoencoder
from magicid.core.diffusion import FlowMatching
from magicid.core.interfaces import Condition, Geometry
from magicid.core.model_folder import open_pipeline, read_geometry

DEFAULT = Geometry(frames=161, height=512, width=704, fps=25.0, guidance=3.0)
TOKENS = 128  # of a prompt, as the stock pipeline cuts it


class LTX:
    """One LTX-Video checkpoint in memory."""

    name = "ltx"
    lora_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def __init__(self, pipeline: LTXPipeline, geometry: Geometry = DEFAULT) -> None:
        self.pipeline = pipeline
        self.geometry = geometry
        self.transformer: nn.Module = pipeline.transformer
        for module in (pipeline.transformer, pipeline.vae, pipeline.text_encoder):
            module.requires_grad_(False).eval()
        for module in pipeline.vae.decoder.modules():
            if hasattr(module, "per_channel_scale1"):  # of the noise that it would inject
                module.per_channel_scale1 = module.per_channel_scale2 = None
        self.tokens = min(TOKENS, pipeline.tokenizer.model_max_length)
        self.latents_shape(geometry.frames, geometry.height, geometry.width)  # or its error, at once

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> "LTX":
        """Load a folder; `geometry.json` beside `model_index.json` overrides the family's clip size."""
        pipeline = open_pipeline(LTXPipeline, path, dtype, "LTX-Video")
        return cls(pipeline, read_geometry(path, DEFAULT)[0])

    @property
    def law(self) -> FlowMatching:
        """Flow matching with the shift of the geometry's clips, as it is now."""
        size = self.geometry
        _, *latents = self.latents_shape(size.frames, size.height, size.width)
        return law_of(self.pipeline.scheduler.config, math.prod(latents))

    @property
    def text_encoders(self) -> tuple[tuple[Any, nn.Module], ...]:
        """T5 alone."""
        return ((self.pipeline.tokenizer, self.pipeline.text_encoder),)

    def encode_prompts(self, prompts: Sequence[str]) -> Condition:
        """T5's states (B, L, D) and their mask (B, L)."""
        embeds, mask, _, _ = self.pipeline.encode_prompt(
            prompt=list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self.tokens,
            device=self.pipeline.text_encoder.device,
        )
        condition = {"encoder_hidden_states": embeds, "encoder_attention_mask": mask}
        return {name: tensor.to(self.pipeline.transformer.device) for name, tensor in condition.items()}

    def encode(self, videos_BCFHW: Tensor) -> Tensor:
        """The mode of the posterior, standardised by the autoencoder's own statistics."""
        latents = autoencoder.encode(self.pipeline.vae, videos_BCFHW)
        standardised: Tensor = self.pipeline._normalize_latents(latents, *self._statistics())
        return standardised

    def decode(self, latents_BCFHW: Tensor) -> Tensor:
        """Videos in -1..1, fp32; a decoder that takes a time is told 0, clean, the stock pipeline's default."""
        vae = self.pipeline.vae
        latents = self.pipeline._denormalize_latents(latents_BCFHW.float(), *self._statistics())
        clean = [latents.new_zeros(len(latents))] if vae.config.timestep_conditioning else []
        return autoencoder.decode(vae, latents, *clean)

    def _statistics(self) -> tuple[Tensor, Tensor, float]:
        """Mean and deviation of each channel (C,), and the scale of what is standardised."""
        vae = self.pipeline.vae
        return vae.latents_mean.float(), vae.latents_std.float(), float(vae.config.scaling_factor)

    def latents_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, F, H, W); frames must be a multiple of the time compression plus 1. A token is one latent pixel."""
        time, space = self.pipeline.vae_temporal_compression_ratio, self.pipeline.vae_spatial_compression_ratio
        channels = self.pipeline.transformer.config.in_channels
        return channels, *autoencoder.compressed((frames, height, width), time, space, space)

    def predict(self, x_t: Tensor, t_B: Tensor, condition: Condition) -> Tensor:
        """The velocity, fp32. Positions are in seconds and pixels, so that the clips' frame rate counts."""
        transformer, space = self.pipeline.transformer, self.pipeline.vae_spatial_compression_ratio
        frames, height, width = x_t.shape[2:]
        velocity: Tensor = transformer(
            hidden_states=x_t.flatten(2).transpose(1, 2).to(transformer.dtype),  # (B, F H W, C)
            encoder_hidden_states=condition["encoder_hidden_states"].to(transformer.dtype),
            timestep=t_B * 1000,
            encoder_attention_mask=condition["encoder_attention_mask"],
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=(self.pipeline.vae_temporal_compression_ratio / self.geometry.fps, space, space),
            return_dict=False,
        )[0]
        return velocity.float().transpose(1, 2).reshape(x_t.shape)


def law_of(config: Any, tokens: int) -> FlowMatching:
    """Flow matching as a scheduler's configuration says, for clips of `tokens`: SD3's shift by size (arXiv:2403.03206, 5.3.2)."""
    terminal = float(config.get("shift_terminal") or 0.0)
    if not config.get("use_dynamic_shifting"):
        return FlowMatching(float(config.get("shift") or 1.0), terminal)
    limits = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
    mu = calculate_shift(tokens, *(config.get(name, default) for name, default in limits.items()))
    return FlowMatching(mu if config.get("time_shift_type") == "linear" else math.exp(mu), terminal)
