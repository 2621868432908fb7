"""Other trainers' names for LoRA tensors, brought to ours: the prefix of a key tells the layout, the model's own layers the rest.

| keys | whose |
|---|---|
| `diffusion_model.double_blocks.0.img_attn_qkv.lora_A.weight` | ours, diffusion-pipe, ComfyUI: the original model's names |
| `transformer.transformer_blocks.0.attn.to_q.lora_A.weight` | diffusers; with the original names, diffusion-pipe |
| `lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight` | musubi-tuner and kohya: dots written as underscores |

`.lora_down` and `.lora_up` are A and B everywhere. A `.alpha` scales its layer by alpha / rank, as all of these trainers
mean it; diffusers' own header does the same for its names. Left out on purpose: text encoders, convolutions, DoRA, LoHa,
LoKr and biases, whose keys are refused by name.
"""

import json
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from magicid.core import tables
from magicid.core.errors import DataError
from magicid.core.experts import networks
from magicid.core.interfaces import Family
from magicid.export.renamed import Pair
from magicid.training import lora

UNIVERSAL, DIFFUSERS, UNDERSCORED = "diffusion_model.", "transformer.", "lora_unet_"
METADATA = "lora_adapter_metadata"  # diffusers' header: the settings of a PEFT LoraConfig, each behind "transformer."


def own_layers(pairs: dict[str, Pair], family: Family) -> dict[str, Pair]:
    """A and B of layers by our names, from those by any known layout's; `DataError` names a key that has no place.

    A model's experts have the same layers: names are those of one.
    """
    groups: dict[str, dict[str, Pair]] = defaultdict(dict)
    for name, pair in pairs.items():
        prefix = next((prefix for prefix in LAYOUTS if name.startswith(prefix)), None)
        if prefix is None:
            raise DataError(f"{name!r:.100} is unexpected: its prefix is none of {', '.join(LAYOUTS)}. Convert the file to one.")
        groups[prefix][name] = pair
    found: dict[str, Pair] = {}
    for prefix, group in groups.items():
        for layer, pair in LAYOUTS[prefix](group, family).items():
            if layer in found:
                raise DataError(f"{layer!r:.100} is there twice, by two layouts' names. Keep one of them.")
            found[layer] = pair
    return found


def header_scale(metadata: dict[str, str]) -> Callable[[str], float]:
    """What diffusers multiplies the layer of a key by: alpha / rank of its header, and 1 where there is none."""
    if METADATA not in metadata:
        return lambda name: 1.0
    try:
        config = {key.removeprefix(DIFFUSERS): value for key, value in dict(json.loads(metadata[METADATA])).items()}
        ranks = {"": float(config["r"])} | _numbers(config.get("rank_pattern"))
        alphas = {"": float(config["lora_alpha"])} | _numbers(config.get("alpha_pattern"))
        if not all(rank >= 1 for rank in ranks.values()):
            raise ValueError("a rank is at least 1")
        return partial(_scale, ranks, alphas, bool(config.get("use_rslora")))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"its {METADATA} is not a LoRA's settings (r, lora_alpha, ...). Save it with diffusers again.") from error


def _numbers(pattern: Any) -> dict[str, float]:
    return {str(layer).removeprefix("^"): float(value) for layer, value in dict(pattern or {}).items()}


def _scale(ranks: dict[str, float], alphas: dict[str, float], root: bool, name: str) -> float:
    """Of one layer. Patterns name those that differ by their last parts; "" is all others. No stranger's regex is run."""
    if not name.startswith(DIFFUSERS):
        return 1.0
    rank, alpha = (
        next((value for layer, value in found.items() if layer and f".{name}".endswith(f".{layer}")), found[""])
        for found in (ranks, alphas)
    )
    return alpha / rank**0.5 if root else alpha / rank


def _universal(pairs: dict[str, Pair], family: Family) -> dict[str, Pair]:
    """By the original model's names."""
    found: dict[str, Pair] = tables.load(tables.IMPORTS, "import for", family.name)(pairs)
    return found


def _diffusers(pairs: dict[str, Pair], family: Family) -> dict[str, Pair]:
    """By names of the model's own layers, or else the original model's behind the same prefix."""
    known, own, original = _names(family), dict[str, Pair](), dict[str, Pair]()
    for name, pair in pairs.items():
        layer = name.removeprefix(DIFFUSERS)
        if layer in known:
            own[layer] = pair
        elif UNIVERSAL + layer in known:
            original[UNIVERSAL + layer] = pair
        else:
            raise DataError(f"{name!r:.100} is unexpected: no layer's name in {family.name}'s layout. Convert the file to it.")
    return own | _universal(original, family)


def _underscored(pairs: dict[str, Pair], family: Family) -> dict[str, Pair]:
    """By either, with underscores for dots: matched with the names that this model can have, never split by guessing."""
    known: dict[str, set[str]] = defaultdict(set)
    for name in _names(family):
        known[name.removeprefix(UNIVERSAL).replace(".", "_")].add(name)
    found: dict[str, Pair] = {}
    for name, pair in pairs.items():
        meant = sorted(known.get(name.removeprefix(UNDERSCORED), ()))
        layers = [_universal({m: pair}, family) if m.startswith(UNIVERSAL) else {m: pair} for m in meant]
        if not layers or any(other.keys() != layers[0].keys() for other in layers):
            said = f"can mean {' or '.join(meant)}" if meant else f"is unexpected: no layer's name in {family.name}'s layout"
            raise DataError(f"{name!r:.100} {said}. Convert the file to names with dots.")
        found |= layers[0]
    return found


def _names(family: Family) -> set[str]:
    """What a layer of this model can be called: its own name, and the original model's with its prefix."""
    own = lora.linear_layers(networks(family.transformer)[0])
    return {
        name
        for layer, part in own.items()
        for name in (layer, *_universal_names(family, layer, part.in_features, part.out_features))
    }


def _universal_names(family: Family, layer: str, width: int, rows: int) -> set[str]:
    """What the export calls an adapter of one layer; empty where it has no name there."""
    tensors = {f"{layer}.lora_A.weight": torch.zeros(1, width), f"{layer}.lora_B.weight": torch.zeros(rows, 1)}
    try:
        exported = tables.load(tables.EXPORTS, "export of", family.name)(tensors, 1.0)
    except DataError:
        return set()
    return {name.rpartition(".lora_")[0] for name in exported if name.startswith(UNIVERSAL)}


LAYOUTS: dict[str, Callable[[dict[str, Pair], Family], dict[str, Pair]]] = {
    UNIVERSAL: _universal,
    DIFFUSERS: _diffusers,
    UNDERSCORED: _underscored,
}
