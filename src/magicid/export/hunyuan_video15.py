"""diffusers' own names for LoRA tensors of HunyuanVideo 1.5, `transformer.transformer_blocks.0.attn.to_q.lora_A.weight`.

By running (diffusers 0.42): the stock pipeline has no `load_lora_weights`; its transformer's `load_lora_adapter` reads these
names, skips all others without a word, and uses files without alphas at a scale of 1. By reading alone: ComfyUI's map for
Hunyuan video models knows the original layers (`diffusion_model.double_blocks...`) and has none of these names. Left out:
a file for ComfyUI, which nothing here could load back.
"""

from torch import Tensor

from magicid.core.errors import DataError

PREFIX = "transformer."


def exported(tensors: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Our tensors by universal names, `scale` folded into B."""
    return {PREFIX + name: (tensor * scale if ".lora_B." in name else tensor).contiguous() for name, tensor in tensors.items()}


def imported(pairs: dict[str, tuple[Tensor, Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
    """A (r, in) and B (out, r) of layers by our names, from those by universal ones; the inverse of `exported` at scale 1."""
    if odd := next((name for name in pairs if not name.startswith(f"{PREFIX}transformer_blocks.")), None):
        raise DataError(f"{odd!r:.100} is unexpected: no layer's name in diffusers' layout. Convert the file to it.")
    return {name.removeprefix(PREFIX): pair for name, pair in pairs.items()}
