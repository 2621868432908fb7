"""Wan 2.1 text-to-video (`WanPipeline`): one UMT5 encoder, a causal video autoencoder, flow matching with true guidance.

The embedded world's base model is a small checkpoint of this family; nothing here knows which of the two it serves.
"""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import torch
from diffusers import WanPipeline
from torch import Tensor, nn

from magicid.core.diffusion import FlowMatching
from magicid.core.errors import DataError
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
        scheduler = pipeline.scheduler.config
        self.law = FlowMatching(shift=float(scheduler.get("flow_shift") or scheduler.get("shift") or 1.0))
        for module in (pipeline.transformer, pipeline.vae, pipeline.text_encoder):
            module.requires_grad_(False).eval()
        config = pipeline.vae.config
        self._mean: Tensor = torch.tensor(config.latents_mean).reshape(1, -1, 1, 1, 1)
        self._std: Tensor = torch.tensor(config.latents_std).reshape(1, -1, 1, 1, 1)
        self._tokens = min(512, pipeline.tokenizer.model_max_length)

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> "Wan":
        """Load a folder; `geometry.json` beside `model_index.json` overrides the family's clip size."""
        pipeline = open_pipeline(WanPipeline, path, dtype, "Wan")
        if pipeline.config.get("boundary_ratio") is not None:
            rule = "a Wan 2.2 checkpoint with two transformers; one is served here. Choose Wan 2.1 or a 2.2 with one."
            raise DataError(f"{path}: boundary_ratio {pipeline.config.boundary_ratio}, {rule}")
        return cls(pipeline, read_geometry(path, DEFAULT)[0])

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return next(self.transformer.parameters()).device

    def to(self, device: torch.device) -> None:
        """Move every part to a device."""
        self.pipeline.to(device)

    @property
    def text_encoders(self) -> tuple[tuple[Any, nn.Module], ...]:
        """UMT5 alone."""
        return ((self.pipeline.tokenizer, self.pipeline.text_encoder),)

    def encode_prompts(self, prompts: Sequence[str]) -> Condition:
        """{"encoder_hidden_states": (B, L, D)}, zeros after each prompt's last token, as the stock pipeline does."""
        embeds, _ = self.pipeline.encode_prompt(
            prompt=list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self._tokens,
            device=self.pipeline.text_encoder.device,
        )
        return {"encoder_hidden_states": embeds.to(self.device)}

    @torch.no_grad()
    def encode(self, videos_BCFHW: Tensor) -> Tensor:
        """The mode of the posterior, standardised by the autoencoder's own statistics."""
        vae = self._vae()
        latents: Tensor = vae.encode(videos_BCFHW.to(vae.device, vae.dtype)).latent_dist.mode().float()
        return (latents - self._mean.to(latents.device)) / self._std.to(latents.device)

    @torch.no_grad()
    def decode(self, latents_BCFHW: Tensor) -> Tensor:
        """Videos in -1..1, fp32."""
        vae = self._vae()
        latents = latents_BCFHW.float() * self._std.to(latents_BCFHW.device) + self._mean.to(latents_BCFHW.device)
        video: Tensor = vae.decode(latents.to(vae.device, vae.dtype)).sample.float()
        return video

    def _vae(self) -> Any:
        """The autoencoder, which keeps its cache of frames in itself, for one thread's use: the same weights."""
        return copy(self.pipeline.vae)

    def latents_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, F, H, W); frames must be a multiple of the time compression plus 1."""
        config = self.pipeline.vae.config
        time, space = config.scale_factor_temporal, config.scale_factor_spatial
        if (frames - 1) % time or height % space or width % space:
            raise DataError(f"{frames}x{height}x{width}: frames must be {time}n+1 and sides multiples of {space}.")
        return config.z_dim, (frames - 1) // time + 1, height // space, width // space

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
