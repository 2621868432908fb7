"""LTX-Video's names for LoRA tensors, which ComfyUI and diffusers both load: the layers' own behind `diffusion_model.`.

ComfyUI reads every layer by its own name (comfy/lora.py, "generic lora format"), and its blocks are named as diffusers'
are (comfy/ldm/lightricks/model.py); diffusers swaps the prefix for `transformer.` and renames nothing
(`_convert_non_diffusers_ltxv_lora_to_diffusers`). With `transformer.` ComfyUI loads nothing (huggingface/finetrainers issue
133). Two layers outside the blocks have a name of their own in each, `proj_in` and `time_embed`: no file serves both.
"""

import re

from torch import Tensor

from magicid.core.errors import DataError
from magicid.export.renamed import Pair, renamed, without_prefix

PREFIX = "diffusion_model."
_SHARED = re.compile(r"(transformer_blocks\.\d+\.(attn[12]|ff)|caption_projection|proj_out)\..+")


def _universal(name: str) -> str:
    """`transformer_blocks.0.attn1.to_q.lora_A.weight` with the prefix."""
    if not _SHARED.fullmatch(name):
        raise DataError(f"{name}: named differently by ComfyUI and diffusers; train other layers (finetune.targets).")
    return PREFIX + name


def exported(tensors: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Our tensors by universal names, `scale` folded into B."""
    return renamed(tensors, scale, _universal)


def imported(pairs: dict[str, Pair]) -> dict[str, Pair]:
    """A and B of layers by our names; the inverse of `exported` at scale 1."""
    return without_prefix(pairs, PREFIX, "LTX-Video")
