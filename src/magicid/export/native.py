"""diffusers' own layout: our names behind `transformer.`, tensors as they are, the scale in the header alone.

For those who go on in diffusers or PEFT, since rank and alpha stay apart. ComfyUI has no map for these names of
HunyuanVideo or Wan, and a loader that does not read the header takes the scale for 1: the universal layout is the default.
"""

import json
from collections.abc import Mapping

from torch import Tensor

from magicid.export.foreign import DIFFUSERS, METADATA
from magicid.training.lora import LoraSettings


def native(tensors: Mapping[str, Tensor], settings: LoraSettings) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, header) of an adapter by our own names."""
    layers = sorted({name.rpartition(".lora_")[0] for name in tensors})
    config = {"r": settings.rank, "lora_alpha": settings.alpha, "target_modules": layers}
    header = {METADATA: json.dumps({DIFFUSERS + key: value for key, value in config.items()})}
    return {DIFFUSERS + name: tensor.contiguous() for name, tensor in tensors.items()}, header
