"""A LoRA file from elsewhere, brought into a run: the inverse of the export, with everything that could be wrong said or refused.

Read are universal names with alpha folded in, as the export writes them. Left out on purpose: `.alpha` keys and names of
other trainers; loaders disagree about them, silently.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from magicid.core import tables
from magicid.core.errors import DataError
from magicid.core.interfaces import Family
from magicid.core.run import Run
from magicid.core.weights import check_weights, read_weights
from magicid.export.lora_file import SLOT, slot_files, subject
from magicid.training import lora

MOST_RANK = 1024
Pair = tuple[Tensor, Tensor]  # A (r, in), B (out, r)
_NAME = re.compile(r"(.+)\.lora_([AB])\.weight")
_BLOCK = re.compile(r"blocks\.\d+\.")


@dataclass(frozen=True)
class Lora:
    """What a file holds: by our own names, in fp32, every layer of the same rank, to be used at scale 1."""

    tensors: dict[str, Tensor]
    story: dict[str, Any]  # the header's; empty where magicid did not write the file
    cast_from: tuple[str, ...]  # other dtypes than fp32 that were there


def read_lora(path: Path, family: str) -> Lora:
    """Read a file of a family; `DataError` where it is no such LoRA, or holds what no adapter can."""
    story = _story(path, check_weights(path))
    found = read_weights(path)
    for name, tensor in found.items():
        if not tensor.is_floating_point():
            kind = _kind(tensor)
            raise DataError(f"{path}: {name} is {kind}; a LoRA's tensors are floating point numbers. Export it unquantised.")
    kinds = tuple(sorted({_kind(tensor) for tensor in found.values()} - {"float32"}))
    pairs = _pairs(path, {name: tensor.to(torch.float32) for name, tensor in found.items()})
    layers: dict[str, Pair] = tables.load(tables.IMPORTS, "import for", family)(pairs)
    return Lora(_one_rank(layers), story, kinds)


def read_slots(path: Path, family: Family) -> Lora:
    """What the files of all slots hold, by the names of the family's adapters; `path` is the first of them.

    `DataError` where a file is for another slot, or the files of a model's experts were not written together.
    """
    files = slot_files(family, path)
    found = {slot: _of_slot(slot, file, path, family.name) for slot, file in files.items()}
    first = found[next(iter(files))]
    if len({lora.story.get("adapter_sha256") for lora in found.values()}) > 1:
        named = " and ".join(map(str, files.values()))
        raise DataError(f"{named}: not of one export; experts are trained together. Use the files that one run wrote.")
    if len(found) == 1:
        return first
    tensors = {f"{slot}.{key}": tensor for slot, lora in found.items() for key, tensor in lora.tensors.items()}
    return Lora(tensors, first.story, tuple(sorted({kind for lora in found.values() for kind in lora.cast_from})))


def bring_in(run: Run, name: str, path: Path, say: Callable[[str], None]) -> str:
    """Put the file's LoRA into the family as adapter `name`; its trigger words.

    What is unlike the run's own is said, and what cannot fit is a `DataError`: another slot, another base, other layers.
    """
    found = read_slots(path, run.family)
    story = found.story
    _refuse_other_base(path, story, run.dir.settings().get("base_digest"))
    if found.cast_from:
        say(f"{path}: {', '.join(found.cast_from)} is cast to float32.")
    trigger = story.get("trigger") or run.common.trigger
    if not story:
        say(f"{path}: no magicid story in its header; which base and which person it was made for is unknown.")
    else:
        base = "" if "base_digest" in story else "which base model it was made on is unknown. "
        said = base + _whose(story, subject(run) if run.dir.finished("prepare") else None)
        if said:
            say(f"{path}: {said} Its trigger is {trigger!r:.80}.")
    tensors = found.tensors
    targets = tuple(story["targets"]) or run.family.lora_targets if "targets" in story else _alike(run.family, tensors)
    rank = next((tensor.shape[0] for key, tensor in tensors.items() if ".lora_A." in key), 1)
    lora.add_adapter(run.family, name, lora.LoraSettings(rank, float(rank), targets))
    try:
        own = lora.parameters(run.family, name).keys()
        lora.load_weights(run.family, name, {key: t for key, t in tensors.items() if key in own or _works(key, tensors)})
    except DataError as error:
        lora.remove_adapter(run.family, name)
        raise DataError(f"{path}: {error}") from error
    return str(trigger)


def _of_slot(slot: str, file: Path, path: Path, family: str) -> Lora:
    """The file of a slot, where `path` is the first slot's; of experts, the header must say which it is for."""
    if file != path and not file.is_file():
        raise DataError(f"{path}: the expert {slot!r} has a file of its own, and {file} is not there. Put it beside this one.")
    found = read_lora(file, family)
    own = found.story.get("slot", SLOT)
    if own != slot:
        remedy = "Use one exported for it." if slot == SLOT else "Name the file for 'high'; that for 'low' is found beside it."
        raise DataError(f"{file}: a LoRA for the slot {own!r}; here is one for {slot!r} only. {remedy}")
    return found


def _refuse_other_base(path: Path, story: dict[str, Any], own: str | None) -> None:
    if story.get("base_digest", own) != own:
        digests = f"digest {story['base_digest']:.8}, this run's {own or 'unknown':.8}"
        raise DataError(f"{path}: made on another base model ({digests}); a LoRA fits its own only. Use a run on that base.")


def _whose(story: dict[str, Any], own: str | None) -> str:
    """A sentence for a LoRA of someone else, or of nobody knows whom; empty for this run's own person."""
    if "subject" not in story:
        return "which person it was made for is unknown."
    if story["subject"] != own:
        subjects = f"subject {story['subject']!r:.40}, this run's is {own or 'unknown'}"
        return f"made for another person ({subjects}); the clip shows that person."
    return ""


def _story(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The header's story, its fields of the types that the export writes; empty where there is none."""
    if "magicid" not in metadata:
        return {}
    try:
        story = dict(json.loads(metadata["magicid"]))
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: its magicid header is not what the export writes; export it again.") from error
    fields = {key: story[key] for key in ("slot", "subject", "base_digest", "trigger") if key in story}
    targets = story.get("targets", [])
    listed = isinstance(targets, list) and all(isinstance(target, str) and target for target in targets)
    if not listed or not all(isinstance(value, str) and value for value in fields.values()):
        raise DataError(f"{path}: its magicid header is not what the export writes; export it again.")
    return story


def _pairs(path: Path, tensors: dict[str, Tensor]) -> dict[str, Pair]:
    """A and B of each layer; both must be there, finite, and of one rank."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if not match:
            raise DataError(
                f"{path}: {name!r:.100} is unexpected; tensors are LAYER.lora_A.weight and .lora_B.weight. Convert it."
            )
        if tensor.ndim != 2 or not torch.isfinite(tensor).all():
            raise DataError(f"{path}: {name!r:.100} {tuple(tensor.shape)} is not a matrix of finite numbers. Export it again.")
        found.setdefault(match[1], {})[match[2]] = tensor
    if not found:
        raise DataError(f"{path}: holds no tensors; a LoRA has some. Export it again.")
    for layer, pair in found.items():
        if pair.keys() != {"A", "B"}:
            other = "B" if "A" in pair else "A"
            raise DataError(f"{path}: {layer!r:.100}: lora_{other} is missing; a LoRA has both. Export it again.")
        if pair["A"].shape[0] != pair["B"].shape[1]:
            sizes = f"A {tuple(pair['A'].shape)} and B {tuple(pair['B'].shape)}"
            raise DataError(f"{path}: {layer!r:.100}: {sizes} have two ranks; one is needed. Export it again.")
        if pair["A"].shape[0] > MOST_RANK:
            raise DataError(f"{path}: {layer!r:.100} has rank {pair['A'].shape[0]:,}; at most {MOST_RANK:,} is used. Reduce it.")
    return {layer: (pair["A"], pair["B"]) for layer, pair in found.items()}


def _one_rank(layers: dict[str, Pair]) -> dict[str, Tensor]:
    """Named tensors of one rank; missing rows and columns are zeros, which change nothing."""
    rank = max(1, *(a.shape[0] for a, _ in layers.values()))
    pad = torch.nn.functional.pad
    found = {f"{layer}.lora_A.weight": pad(a, (0, 0, 0, rank - a.shape[0])) for layer, (a, _) in layers.items()}
    return found | {f"{layer}.lora_B.weight": pad(b, (0, rank - b.shape[1])) for layer, (_, b) in layers.items()}


def _alike(family: Family, tensors: dict[str, Tensor]) -> tuple[str, ...]:
    """The model's layers that have, in any block, the name of one that the file changes: each is expected to be changed."""
    layers = [key.removesuffix(".lora_B.weight") for key in tensors if ".lora_B." in key and _works(key, tensors)]
    kinds = {_BLOCK.sub("blocks.", layer) for layer in layers}
    parts = [name for name, part in family.transformer.named_modules() if isinstance(part, nn.Linear) and ".lora_" not in name]
    linear = [name.removesuffix(".base_layer") for name in parts]  # so named where there is another adapter
    return tuple(name for name in linear if _BLOCK.sub("blocks.", name) in kinds) or tuple(layers[:3])


def _works(key: str, tensors: dict[str, Tensor]) -> bool:
    """Whether the layer of a tensor changes anything: a fused layer's other members do not."""
    return bool(tensors[key.replace(".lora_A.", ".lora_B.")].any())


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
