"""HunyuanVideo text-to-video (`HunyuanVideoPipeline`): Llama and CLIP text encoders, a causal video autoencoder, flow matching.

The released weights are guidance-distilled: the scale is an input of the network (embedded guidance), and there is no
second pass (`geometry.guidance` is 1). Left out: the image-conditioned variants and the prompt rewriter.

`geometry.json` beside `model_index.json` may hold, besides the clip size, `embedded_guidance` (default 6) and
`prompt_template`, {"template": "... {} ...", "crop_start": tokens before the prompt}; the stock template crops 95 tokens
of Llama 3's tokenizer, so a checkpoint with another tokenizer needs its own.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import HunyuanVideoPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from torch import Tensor, nn

from magicid.core import autoencoder
from magicid.core.diffusion import FlowMatching
from magicid.core.interfaces import Condition, Geometry
from magicid.core.model_folder import open_pipeline, read_geometry

DEFAULT = Geometry(frames=61, height=720, width=1280, fps=24.0, guidance=1.0)
# The text refiner's layers have the same short names, but diffusers cannot load an adapter of theirs by Tencent's names.
_ATTENTION = re.compile(r"(single_)?transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)")


class HunyuanVideo:
    """One HunyuanVideo checkpoint in memory."""

    name = "hunyuan_video"

    def __init__(
        self,
        pipeline: HunyuanVideoPipeline,
        geometry: Geometry = DEFAULT,
        embedded_guidance: float = 6.0,
        prompt_template: dict[str, Any] = DEFAULT_PROMPT_TEMPLATE,
    ) -> None:
        self.pipeline = pipeline
        self.geometry = geometry
        self.embedded_guidance = embedded_guidance
        self.prompt_template = prompt_template
        self.transformer: nn.Module = pipeline.transformer
        self.law = FlowMatching(shift=float(pipeline.scheduler.config.get("shift") or 1.0))
        self.lora_targets: tuple[str, ...] = tuple(
            name for name, _ in pipeline.transformer.named_modules() if _ATTENTION.fullmatch(name)
        )
        for module in (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
            module.requires_grad_(False).eval()
        pipeline.vae.enable_tiling()  # sides over 256 pixels, as the released code does; whole, 720p does not fit a GPU
        self.tokens = min(256, pipeline.tokenizer.model_max_length - (prompt_template.get("crop_start") or 0))

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> "HunyuanVideo":
        """Load a folder, with the settings in its `geometry.json` if there is one."""
        pipeline = open_pipeline(HunyuanVideoPipeline, path, dtype, "HunyuanVideo")
        geometry, own = read_geometry(path, DEFAULT, ("embedded_guidance", "prompt_template"))
        return cls(pipeline, geometry, **own)

    @property
    def text_encoders(self) -> tuple[tuple[Any, nn.Module], ...]:
        """Llama, then CLIP."""
        pipeline = self.pipeline
        return ((pipeline.tokenizer, pipeline.text_encoder), (pipeline.tokenizer_2, pipeline.text_encoder_2))

    def encode_prompts(self, prompts: Sequence[str]) -> Condition:
        """Llama's states (B, L, D) two layers under the top, their mask (B, L), and CLIP's pooled state (B, D)."""
        embeds, pooled, mask = self.pipeline.encode_prompt(
            prompt=list(prompts),
            prompt_template=self.prompt_template,
            max_sequence_length=self.tokens,
            device=self.pipeline.text_encoder.device,
        )
        condition = {"encoder_hidden_states": embeds, "encoder_attention_mask": mask, "pooled_projections": pooled}
        return {name: tensor.to(self.pipeline.transformer.device) for name, tensor in condition.items()}

    def encode(self, videos_BCFHW: Tensor) -> Tensor:
        """The mode of the posterior, scaled to about unit deviation."""
        return autoencoder.encode_scaled(self.pipeline.vae, videos_BCFHW)

    def decode(self, latents_BCFHW: Tensor) -> Tensor:
        """Videos in -1..1, fp32."""
        return autoencoder.decode_scaled(self.pipeline.vae, latents_BCFHW)

    def latents_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, F, H, W); frames must be a multiple of the time compression plus 1, latents' sides multiples of a patch."""
        patch = self.pipeline.transformer.config.patch_size
        return autoencoder.patched(self.pipeline.vae, (frames, height, width), patch)

    def predict(self, x_t: Tensor, t_B: Tensor, condition: Condition) -> Tensor:
        """The velocity, fp32."""
        transformer = self.pipeline.transformer
        dtype, embedded = transformer.dtype, transformer.config.guidance_embeds
        velocity: Tensor = transformer(
            hidden_states=x_t.to(dtype),
            timestep=t_B * 1000,
            encoder_hidden_states=condition["encoder_hidden_states"].to(dtype),
            encoder_attention_mask=condition["encoder_attention_mask"],
            pooled_projections=condition["pooled_projections"].to(dtype),
            guidance=torch.full_like(t_B, self.embedded_guidance * 1000) if embedded else None,
            return_dict=False,
        )[0]
        return velocity.float()
