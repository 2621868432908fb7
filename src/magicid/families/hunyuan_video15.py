"""HunyuanVideo 1.5 text-to-video (`HunyuanVideo15Pipeline`): Qwen2.5-VL, and ByT5 for text to be shown, true guidance.

The network also takes an image: its latents and their mask are zeros here, and its tokens none, where the stock pipeline
gives zeros that a mask hides. Text tokens that are hidden in the whole batch are left away as well: 1,256 a clip in the
stock pipeline, most of them padding. Left out: image-to-video, super-resolution, other guiders than the classifier-free.

`geometry.json` beside `model_index.json` may hold, besides the clip size, `system_message` and `crop_start`, how many
tokens stand before the prompt: 108 by the stock message and Qwen's tokenizer; with another, a checkpoint needs its own.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import HunyuanVideo15Pipeline
from torch import Tensor, nn

from magicid.core import autoencoder
from magicid.core.diffusion import FlowMatching
from magicid.core.interfaces import Condition, Geometry
from magicid.core.model_folder import open_pipeline, read_geometry

DEFAULT = Geometry(frames=121, height=480, width=848, fps=24.0, guidance=6.0)
_ATTENTION = re.compile(r"transformer_blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)")


class HunyuanVideo15:
    """One HunyuanVideo 1.5 checkpoint in memory."""

    name = "hunyuan_video15"

    def __init__(
        self,
        pipeline: HunyuanVideo15Pipeline,
        geometry: Geometry = DEFAULT,
        system_message: str | None = None,  # None: the stock pipeline's
        crop_start: int | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.geometry = geometry
        self.transformer: nn.Module = pipeline.transformer
        self.law = FlowMatching(shift=float(pipeline.scheduler.config.get("shift") or 1.0))
        last = f"transformer_blocks.{len(pipeline.transformer.transformer_blocks) - 1}.attn."
        unread = {last + "add_q_proj", last + "to_add_out"}  # nobody reads the text states of the last block
        names = [name for name, _ in pipeline.transformer.named_modules() if _ATTENTION.fullmatch(name)]
        self.lora_targets: tuple[str, ...] = tuple(name for name in names if name not in unread)
        for module in (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
            module.requires_grad_(False).eval()
        pipeline.vae.enable_slicing()  # its attention fails on several clips at once (diffusers 0.42)
        pipeline.vae.enable_tiling()  # sides over 256 pixels, as the stock example does
        if system_message is not None:
            pipeline.system_message = system_message
        if crop_start is not None:
            pipeline.prompt_template_encode_start_idx = crop_start
        room = pipeline.tokenizer.model_max_length - pipeline.prompt_template_encode_start_idx
        pipeline.tokenizer_max_length = min(pipeline.tokenizer_max_length, room)

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> "HunyuanVideo15":
        """Load a folder, with the settings in its `geometry.json` if there is one; guidance is else the checkpoint's own."""
        pipeline = open_pipeline(HunyuanVideo15Pipeline, path, dtype, "HunyuanVideo 1.5")
        guider = pipeline.guider.config
        own_scale = float(guider.get("guidance_scale", DEFAULT.guidance)) if guider.get("enabled", True) else 1.0
        geometry, own = read_geometry(path, replace(DEFAULT, guidance=own_scale), ("system_message", "crop_start"))
        return cls(pipeline, geometry, **own)

    @property
    def text_encoders(self) -> tuple[tuple[Any, nn.Module], ...]:
        """Qwen2.5-VL alone: ByT5 reads no prompt, only what stands in quotes."""
        return ((self.pipeline.tokenizer, self.pipeline.text_encoder),)

    def encode_prompts(self, prompts: Sequence[str]) -> Condition:
        """Qwen's states (B, L, D) two layers under the top, ByT5's of what stands in quotes (B, 256, D), and their masks."""
        device = self.pipeline.text_encoder.device
        found = self.pipeline.encode_prompt(prompt=list(prompts), device=device, batch_size=len(prompts))
        names = ("encoder_hidden_states", "encoder_attention_mask", "encoder_hidden_states_2", "encoder_attention_mask_2")
        return {name: tensor.to(self.pipeline.transformer.device) for name, tensor in zip(names, found, strict=True)}

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
        x = x_t.to(transformer.dtype)
        text, text_mask = _seen(condition["encoder_hidden_states"], condition["encoder_attention_mask"])
        glyphs, glyphs_mask = _seen(condition["encoder_hidden_states_2"], condition["encoder_attention_mask_2"])
        velocity: Tensor = transformer(
            hidden_states=torch.cat([x, torch.zeros_like(x), torch.zeros_like(x[:, :1])], 1),
            timestep=(t_B * 1000).to(x.dtype),
            encoder_hidden_states=text.to(x.dtype),
            encoder_attention_mask=text_mask,
            encoder_hidden_states_2=glyphs.to(x.dtype),
            encoder_attention_mask_2=glyphs_mask,
            image_embeds=x.new_zeros(len(x), 0, transformer.config.image_embed_dim),
            return_dict=False,
        )[0]
        return velocity.float()


def _seen(states_BLD: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
    """States and mask of the tokens that some row of the batch sees."""
    columns = mask_BL.any(0)
    return states_BLD[:, columns], mask_BL[:, columns]
