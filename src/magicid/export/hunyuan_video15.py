"""diffusers' own names for LoRA tensors of HunyuanVideo 1.5, `transformer.transformer_blocks.0.attn.to_q.lora_A.weight`.

By running (diffusers 0.42): the stock pipeline has no `load_lora_weights`; its transformer's `load_lora_adapter` reads these
names, skips all others without a word, and uses files without alphas at a scale of 1. By reading alone: ComfyUI's map for
Hunyuan video models knows the original layers (`diffusion_model.double_blocks...`) and has none of these names. Left out:
a file for ComfyUI, which nothing here could load back.
"""

from torch import Tensor

from magicid.export.renamed import Pair, renamed, without_prefix

PREFIX = "transformer."


def exported(tensors: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Our tensors by diffusers' names, `scale` folded into B."""
    return renamed(tensors, scale, lambda name: PREFIX + name)


def imported(pairs: dict[str, Pair]) -> dict[str, Pair]:
    """A and B of layers by our names; the inverse of `exported` at scale 1."""
    return without_prefix(pairs, PREFIX, "HunyuanVideo 1.5")
