"""Wan's own names for LoRA tensors, which ComfyUI and diffusers both load."""

import re

from torch import Tensor

from magicid.core.errors import DataError
from magicid.export.renamed import Pair, renamed

_PARTS = {
    "attn1": "self_attn", "attn2": "cross_attn", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "o",
    "ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2",
}  # fmt: skip

_UNIVERSAL = re.compile(r"diffusion_model\.blocks\.\d+\.((self|cross)_attn\.[qkvo]|ffn\.[02])\.lora_[AB]\.weight")


def _universal(name: str) -> str:
    """`blocks.0.attn1.to_q.lora_A.weight` becomes `diffusion_model.blocks.0.self_attn.q.lora_A.weight`."""
    for ours, theirs in _PARTS.items():
        name = name.replace(f".{ours}.", f".{theirs}.")
    return f"diffusion_model.{name}"


def exported(tensors: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Our tensors by universal names, `scale` folded into B."""
    if odd := next((name for name in tensors if not _UNIVERSAL.fullmatch(_universal(name))), None):
        raise DataError(f"{odd}: has no place in Wan's layout; train other layers (finetune.targets).")
    return renamed(tensors, scale, _universal)


def imported(pairs: dict[str, Pair]) -> dict[str, Pair]:
    """A (r, in) and B (out, r) of layers by our names, from those by universal ones; the inverse of `exported` at scale 1."""
    found = {}
    for theirs, pair in pairs.items():
        name = theirs.removeprefix("diffusion_model.")
        for ours, part in _PARTS.items():
            name = f"{name}.".replace(f".{part}.", f".{ours}.").removesuffix(".")
        if not _UNIVERSAL.fullmatch(f"{theirs}.lora_A.weight"):
            raise DataError(f"{theirs!r:.100} is unexpected: no layer's name in Wan's layout. Convert the file to it.")
        found[name] = pair
    return found
