"""CogVideoX's names for LoRA tensors: diffusers' own behind `transformer.`.

diffusers loads no others (`CogVideoXLoraLoaderMixin` converts nothing), and the ComfyUI nodes of CogVideoXWrapper load
these through diffusers' loader. ComfyUI itself serves CogVideoX since 2026 with layers of other names (`blocks.0.q`, in its
comfy/ldm/cogvideo/model.py) and has no map to them from these in its comfy/lora.py: it warns, and loads nothing.
"""

from torch import Tensor

from magicid.export.renamed import Pair, renamed, without_prefix

PREFIX = "transformer."


def exported(tensors: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Our tensors by diffusers' names, `scale` folded into B."""
    return renamed(tensors, scale, lambda name: PREFIX + name)


def imported(pairs: dict[str, Pair]) -> dict[str, Pair]:
    """A and B of layers by our names; the inverse of `exported` at scale 1."""
    return without_prefix(pairs, PREFIX, "CogVideoX")
