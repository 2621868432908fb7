"""Wan text-to-video (`WanPipeline`): one UMT5 encoder, a causal video autoencoder, flow matching with true guidance.

A 2.2 checkpoint with two transformers, one for the noisy part of the path, is served as one (core/experts.py). Left out:
2.2's image-and-text model of 5B, whose frames have times of their own (`expand_timesteps`).

The embedded world's base model is a small checkpoint of this family; nothing here knows which of the two it serves.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import WanPipeline
from torch import Tensor, nn

from magicid.core import autoencoder
from magicid.core.diffusion import FlowMatching
from magicid.core.errors import DataError
from magicid.core.experts import Experts
from magicid.core.interfaces import Condition, Geometry
from magicid.core.model_folder import open_pipeline, read_geometry

DEFAULT = Geometry(frames=81, height=480, width=832, fps=16.0, guidance=5.0)


class Wan:
    """One Wan checkpoint in memory."""

    name = "wan"
    lora_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def __init__(self, pipeline: WanPipeline, geometry: Geometry = DEFAULT) -> None:
        self.pipeline = pipeline
        self.geometry = geometry
        self.transformer: nn.Module = pipeline.transformer
        boundary = pipeline.config.get("boundary_ratio")
        if boundary is not None:
            self.transformer = Experts(pipeline.transformer, pipeline.transformer_2, boundary * 1000)
        scheduler = pipeline.scheduler.config
        self.law = FlowMatching(shift=float(scheduler.get("flow_shift") or scheduler.get("shift") or 1.0))
        for module in (self.transformer, pipeline.vae, pipeline.text_encoder):
            module.requires_grad_(False).eval()
        config = pipeline.vae.config
        self._mean: Tensor = torch.tensor(config.latents_mean).reshape(1, -1, 1, 1, 1)
        self._std: Tensor = torch.tensor(config.latents_std).reshape(1, -1, 1, 1, 1)
        self.tokens = min(512, pipeline.tokenizer.model_max_length)

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> "Wan":
        """Load a folder; `geometry.json` beside `model_index.json` overrides the family's clip size."""
        pipeline = open_pipeline(WanPipeline, path, dtype, "Wan")
        boundary = pipeline.config.get("boundary_ratio")
        if pipeline.config.get("expand_timesteps"):
            rule = "a time for each frame, as image-and-text models have, is not served; choose a text-to-video one"
            raise DataError(f"{path}: expand_timesteps, {rule}.")
        if boundary is not None and None in (pipeline.transformer, pipeline.transformer_2):
            raise DataError(f"{path}: boundary_ratio {boundary} needs both transformer and transformer_2. Fetch it again.")
        return cls(pipeline, read_geometry(path, _default(boundary))[0])

    @property
    def text_encoders(self) -> tuple[tuple[Any, nn.Module], ...]:
        """UMT5 alone."""
        return ((self.pipeline.tokenizer, self.pipeline.text_encoder),)

    def encode_prompts(self, prompts: Sequence[str]) -> Condition:
        """{"encoder_hidden_states": (B, L, D)}, zeros after each prompt's last token, as the stock pipeline does."""
        embeds, _ = self.pipeline.encode_prompt(
            prompt=list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self.tokens,
            device=self.pipeline.text_encoder.device,
        )
        return {"encoder_hidden_states": embeds.to(self.pipeline.transformer.device)}

    def encode(self, videos_BCFHW: Tensor) -> Tensor:
        """The mode of the posterior, standardised by the autoencoder's own statistics."""
        latents = autoencoder.encode(self._vae(), videos_BCFHW)
        return (latents - self._mean.to(latents.device)) / self._std.to(latents.device)

    def decode(self, latents_BCFHW: Tensor) -> Tensor:
        """Videos in -1..1, fp32."""
        latents = latents_BCFHW.float() * self._std.to(latents_BCFHW.device) + self._mean.to(latents_BCFHW.device)
        return autoencoder.decode(self._vae(), latents)

    def _vae(self) -> Any:
        """The autoencoder, which keeps its cache of frames in itself, for one thread's use: the same weights."""
        return copy(self.pipeline.vae)

    def latents_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, F, H, W); frames must be a multiple of the time compression plus 1, sides hold whole patches."""
        config, patch = self.pipeline.vae.config, self.pipeline.transformer.config.patch_size[-1]
        time, space = config.scale_factor_temporal, config.scale_factor_spatial
        return config.z_dim, *autoencoder.compressed((frames, height, width), time, space, space * patch)

    def predict(self, x_t: Tensor, t_B: Tensor, condition: Condition) -> Tensor:
        """The velocity, fp32."""
        dtype = self.pipeline.transformer.dtype
        velocity: Tensor = self.transformer(
            hidden_states=x_t.to(dtype),
            timestep=t_B * 1000,
            encoder_hidden_states=condition["encoder_hidden_states"].to(dtype),
            return_dict=False,
        )[0]
        return velocity.float()


def _default(boundary: float | None) -> Geometry:
    """The family's clips; two experts are guided by two scales, as Wan 2.2's authors recommend."""
    if boundary is None:
        return DEFAULT
    until = float(torch.tensor(boundary))  # as a time of sampling, fp32
    return replace(DEFAULT, guidance=4.0, guidance_until=until, guidance_after=3.0)
