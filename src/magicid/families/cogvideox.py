"""CogVideoX text-to-video (`CogVideoXPipeline`, 2B, 5B and 1.5): one T5 encoder, a causal video autoencoder, v prediction.

The noise law is the checkpoint's own scheduler's: 1,000 levels, shifted, of which the last is pure noise. Sampling is DDIM
at "trailing" levels, as the released configurations say. Guidance is 7.5, with 50 steps of DDIM the MagicID paper's; the
stock pipeline's default is 6. Left out: the image-conditioned variants (and with them `invert_scale_latents`, which is
about the image alone), the DPM solver, and guidance that grows while sampling, which the solver wants.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import CogVideoXPipeline
from torch import Tensor, nn

from magicid.core import autoencoder
from magicid.core.diffusion import VariancePreserving
from magicid.core.errors import DataError
from magicid.core.interfaces import Condition, Geometry
from magicid.core.model_folder import open_pipeline, read_geometry

DEFAULT = Geometry(frames=49, height=480, width=720, fps=8.0, guidance=7.5)
DEFAULT_1_5 = Geometry(frames=81, height=768, width=1360, fps=16.0, guidance=7.5)


class CogVideoX:
    """One CogVideoX checkpoint in memory."""

    name = "cogvideox"
    lora_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def __init__(self, pipeline: CogVideoXPipeline, geometry: Geometry = DEFAULT) -> None:
        self.pipeline = pipeline
        self.geometry = geometry
        self.transformer: nn.Module = pipeline.transformer
        self.law = VariancePreserving("v", tuple(pipeline.scheduler.alphas_cumprod.tolist()))
        for module in (pipeline.transformer, pipeline.vae, pipeline.text_encoder):
            module.requires_grad_(False).eval()
        self.tokens = int(pipeline.transformer.config.max_text_seq_length)
        pipeline.vae.enable_tiling()  # sides over half of the training clips'; whole, 480p takes 18 GB
        self._padding = (pipeline.transformer.config.patch_size_t or 1) - 1  # latent frames before the clip's own; 1 in 1.5

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> "CogVideoX":
        """Load a folder; `geometry.json` beside `model_index.json` overrides the version's clip size."""
        pipeline = open_pipeline(CogVideoXPipeline, path, dtype, "CogVideoX")
        if (prediction := pipeline.scheduler.config.prediction_type) != "v_prediction":
            rule = "all released checkpoints predict 'v_prediction'. Fetch it again."
            raise DataError(f"{path}: the scheduler's prediction_type is {prediction!r}; {rule}")
        default = DEFAULT_1_5 if pipeline.transformer.config.patch_size_t else DEFAULT
        return cls(pipeline, read_geometry(path, default)[0])

    @property
    def text_encoders(self) -> tuple[tuple[Any, nn.Module], ...]:
        """T5 alone."""
        return ((self.pipeline.tokenizer, self.pipeline.text_encoder),)

    def encode_prompts(self, prompts: Sequence[str]) -> Condition:
        """{"encoder_hidden_states": (B, L, D)}, L as long as the model was trained with; padding is attended to."""
        embeds, _ = self.pipeline.encode_prompt(
            prompt=list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self.tokens,
            device=self.pipeline.text_encoder.device,
        )
        return {"encoder_hidden_states": embeds.to(self.pipeline.transformer.device)}

    def encode(self, videos_BCFHW: Tensor) -> Tensor:
        """The mode of the posterior, scaled to about unit deviation; in 1.5 its first frame twice, as it was trained."""
        latents = autoencoder.encode_scaled(self.pipeline.vae, videos_BCFHW)
        return torch.cat([latents[:, :, :1].repeat(1, 1, self._padding, 1, 1), latents], 2)

    def decode(self, latents_BCFHW: Tensor) -> Tensor:
        """Videos in -1..1, fp32."""
        return autoencoder.decode_scaled(self.pipeline.vae, latents_BCFHW[:, :, self._padding :])

    def latents_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, F, H, W); the decoder makes pairs of latent frames after the first, sides hold whole patches."""
        config = self.pipeline.transformer.config
        time, space = self.pipeline.vae_scale_factor_temporal, self.pipeline.vae_scale_factor_spatial
        pairs, *sides = autoencoder.compressed((frames, height, width), 2 * time, space, space * config.patch_size)
        return config.in_channels, 2 * pairs - 1 + self._padding, *sides

    def predict(self, x_t: Tensor, t_B: Tensor, condition: Condition) -> Tensor:
        """v, fp32."""
        transformer = self.pipeline.transformer
        v: Tensor = transformer(
            hidden_states=x_t.transpose(1, 2).to(transformer.dtype),  # (B, F, C, H, W)
            encoder_hidden_states=condition["encoder_hidden_states"].to(transformer.dtype),
            timestep=(self.law.level(t_B) - 1).clamp(min=0),
            image_rotary_emb=self._rotary(x_t),
            return_dict=False,
        )[0]
        return v.float().transpose(1, 2)

    def _rotary(self, x_t: Tensor) -> tuple[Tensor, Tensor] | None:
        """Rotary positions of the clip's patches; 2B adds fixed ones to its input instead."""
        if not self.pipeline.transformer.config.use_rotary_positional_embeddings:
            return None
        frames, height, width = x_t.shape[2:]
        space = self.pipeline.vae_scale_factor_spatial
        positions: tuple[Tensor, Tensor] = self.pipeline._prepare_rotary_positional_embeddings(
            height * space, width * space, frames, x_t.device
        )
        return positions
