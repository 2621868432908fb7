"""A LoRA file from elsewhere, brought into a run: the inverse of the export, with everything that could be wrong said or refused.

Read are the layouts of `export/foreign`, with or without `.alpha`; an adapter comes out at scale 1, alpha folded in.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from magicid.core.errors import DataError
from magicid.core.experts import networks
from magicid.core.interfaces import Family
from magicid.core.run import Run
from magicid.core.weights import check_weights, read_weights
from magicid.export.foreign import header_scale, own_layers
from magicid.export.lora_file import SLOT, slot_files, subject
from magicid.export.renamed import Pair
from magicid.training import lora

MOST_RANK = 1024
_NAME = re.compile(r"(.+)\.(?:lora_(A|B|down|up)\.weight|(alpha))")
_PART = {"down": "A", "up": "B"}
_BLOCK = re.compile(r"blocks\.\d+\.")
_SLOT = re.compile(r"^(high|low)\.")


@dataclass(frozen=True)
class Lora:
    """What a file holds: by our own names, in fp32, every layer of the same rank, to be used at scale 1."""

    tensors: dict[str, Tensor]
    story: dict[str, Any]  # the header's; empty where magicid did not write the file
    cast_from: tuple[str, ...]  # other dtypes than fp32 that were there

    @property
    def rank(self) -> int:
        """Of every layer."""
        return next((tensor.shape[0] for key, tensor in self.tensors.items() if ".lora_A." in key), 1)

    @property
    def layers(self) -> tuple[str, ...]:
        """Those that change anything."""
        return tuple(key.removesuffix(".lora_B.weight") for key in self.tensors if ".lora_B." in key and self.works(key))

    @property
    def targets(self) -> tuple[str, ...]:
        """The same by their names in a network: those of either expert."""
        return _targets(self.layers)

    def size(self, targets: tuple[str, ...]) -> lora.LoraSettings:
        """Of an adapter on `targets` that holds all of it, at scale 1."""
        return lora.LoraSettings(self.rank, float(self.rank), targets)

    def works(self, key: str) -> bool:
        """Whether the layer of a tensor changes anything: a fused layer's other members do not."""
        return bool(self.tensors[key.replace(".lora_A.", ".lora_B.")].any())


def read_lora(path: Path, family: Family) -> Lora:
    """Read a file for a family; `DataError` where it is no such LoRA, or holds what no adapter can."""
    metadata = check_weights(path)
    story = _story(path, metadata)
    found = read_weights(path)
    for name, tensor in found.items():
        if not tensor.is_floating_point():
            kind = _kind(tensor)
            raise DataError(f"{path}: {name} is {kind}; a LoRA's tensors are floating point numbers. Export it unquantised.")
    kinds = tuple(sorted({_kind(tensor) for tensor in found.values()} - {"float32"}))
    tensors = {name: tensor.to(torch.float32) for name, tensor in found.items()}
    try:
        pairs = _pairs(tensors, header_scale(metadata))
        return Lora(_one_rank(own_layers(pairs, family)), story, kinds)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_slots(path: Path, family: Family, low: Path | None = None) -> Lora:
    """What the files of all slots hold, by the names of the family's adapters; `path` is the first of them (`slot_files`).

    `DataError` where a file is for another slot, or the files of a model's experts were not written together.
    """
    files = slot_files(family, path, low)
    found = {slot: _of_slot(slot, file, path, family) for slot, file in files.items()}
    first = found[next(iter(files))]
    if len({lora.story.get("adapter_sha256") for lora in found.values()}) > 1:
        named = " and ".join(map(str, files.values()))
        raise DataError(f"{named}: not of one export; experts are trained together. Use the files that one run wrote.")
    if len(found) == 1:
        return first
    tensors = {f"{slot}.{key}": tensor for slot, lora in found.items() for key, tensor in lora.tensors.items()}
    return Lora(tensors, first.story, tuple(sorted({kind for lora in found.values() for kind in lora.cast_from})))


def accept(run: Run, path: Path, say: Callable[[str], None], low: Path | None = None) -> Lora:
    """Read a file for a run's base model and slot, others are refused; what is cast or unknown of it is said."""
    found = read_slots(path, run.family, low)
    story = found.story
    _refuse_other_base(path, story, run.dir.settings().get("base_digest"))
    if found.cast_from:
        say(f"{path}: {', '.join(found.cast_from)} is cast to float32.")
    if not story:
        say(f"{path}: no magicid story in its header; which base and which person it was made for is unknown.")
    elif "base_digest" not in story:
        say(f"{path}: which base model it was made on is unknown.")
    return found


def bring_in(run: Run, name: str, path: Path, say: Callable[[str], None]) -> str:
    """Put the file's LoRA into the family as adapter `name`; its trigger words.

    What is unlike the run's own is said, and what cannot fit is a `DataError`: another slot, another base, other layers.
    """
    found = accept(run, path, say)
    story = found.story
    trigger = story.get("trigger") or run.common.trigger
    if story and (said := _whose(story, subject(run) if run.dir.finished("prepare") else None)):
        say(f"{path}: {said} Its trigger is {trigger!r:.80}.")
    told = tuple(story["targets"]) or run.family.lora_targets if "targets" in story else None
    place(run.family, name, path, found, told or _alike(run.family, found))
    return str(trigger)


def place(family: Family, name: str, path: Path, found: Lora, targets: tuple[str, ...]) -> None:
    """Make an adapter on `targets` of what the file holds; `DataError` unless they match both ways."""
    lora.add_adapter(family, name, found.size(targets))
    try:
        own = lora.parameters(family, name).keys()
        lora.load_weights(family, name, {key: t for key, t in found.tensors.items() if key in own or found.works(key)})
    except DataError as error:
        lora.remove_adapter(family, name)
        raise DataError(f"{path}: {error}") from error


def start_from(run: Run, name: str, path: Path, settings: lora.LoraSettings, say: Callable[[str], None]) -> None:
    """Give adapter `name`, new and of those settings, what the file's does; layers that the file lacks start at nothing.

    `DataError`, with the setting that would do, where the adapter has a lower rank or not all of the file's layers.
    """
    found = accept(run, path, say)
    own = lora.weights(run.family, name)
    tensors = {key: tensor for key, tensor in found.tensors.items() if found.works(key)}
    if found.rank > settings.rank:
        raise DataError(
            f"{path}: has rank {found.rank}, finetune.rank {settings.rank}; set --finetune.rank {found.rank} or more."
        )
    if odd := _targets(layer for layer in found.layers if f"{layer}.lora_B.weight" not in own):
        targets = " ".join([*(settings.targets or run.family.lora_targets[:8]), *odd[:3]])
        raise DataError(
            f"{path}: changes {len(odd)} layers that finetune.targets does not train ({', '.join(odd[:3])}); name them too: "
            f"--finetune.targets {targets} ..."
        )
    scale, more = settings.rank / settings.alpha, settings.rank - found.rank
    for key, tensor in tensors.items():
        own[key] = torch.cat([tensor, own[key][found.rank :]]) if ".lora_A." in key else pad(tensor * scale, (0, more))
    lora.load_weights(run.family, name, own)


def _of_slot(slot: str, file: Path, path: Path, family: Family) -> Lora:
    """The file of a slot, where `path` is the first slot's; its place says which that is, unless its header does."""
    if file != path and not file.is_file():
        raise DataError(
            f"{path}: the expert {slot!r} has a file of its own, and {file} is not there. Put it there, or name "
            "both: magicid import FILE --low FILE."
        )
    found = read_lora(file, family)
    own = found.story.get("slot", slot)
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
    fields = {key: story[key] for key in ("slot", "subject", "base_digest", "trigger", "adapter_sha256") if key in story}
    targets = story.get("targets", [])
    listed = isinstance(targets, list) and all(isinstance(target, str) and target for target in targets)
    if not listed or not all(isinstance(value, str) and value for value in fields.values()):
        raise DataError(f"{path}: its magicid header is not what the export writes; export it again.")
    return story


def _pairs(tensors: dict[str, Tensor], header: Callable[[str], float]) -> dict[str, Pair]:
    """A and B of each layer, scaled by its alpha or the header's; both must be there, finite, and of one rank."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if not match:
            raise DataError(
                f"{name!r:.100} is unexpected; tensors are LAYER.lora_A.weight and .lora_B.weight (or .lora_down, .lora_up, "
                ".alpha). Convert it."
            )
        if (tensor.numel() != 1 if match[3] else tensor.ndim != 2) or not torch.isfinite(tensor).all():
            kind = "finite number" if match[3] else "matrix of finite numbers"
            raise DataError(f"{name!r:.100} {tuple(tensor.shape)} is not a {kind}. Export it again.")
        part = match[3] or _PART.get(match[2], match[2])
        if part in found.setdefault(match[1], {}):
            raise DataError(f"{match[1]!r:.100} has lora_{part} twice, by two names; a LoRA has one. Export it again.")
        found[match[1]][part] = tensor
    if not found:
        raise DataError("holds no tensors; a LoRA has some. Export it again.")
    return {layer: _pair(layer, parts, header) for layer, parts in found.items()}


def _pair(layer: str, parts: dict[str, Tensor], header: Callable[[str], float]) -> Pair:
    """A and B of one layer, its scale folded into B."""
    if missing := [part for part in "AB" if part not in parts]:
        raise DataError(f"{layer!r:.100}: lora_{missing[0]} is missing; a LoRA has both. Export it again.")
    a, b = parts["A"], parts["B"]
    if a.shape[0] != b.shape[1]:
        raise DataError(
            f"{layer!r:.100}: A {tuple(a.shape)} and B {tuple(b.shape)} have two ranks; one is needed. Export it again."
        )
    if not 1 <= a.shape[0] <= MOST_RANK:
        raise DataError(f"{layer!r:.100} has rank {a.shape[0]:,}; 1 to {MOST_RANK:,} are used. Reduce it.")
    scaled = b * (float(parts["alpha"]) / a.shape[0] if "alpha" in parts else header(layer))
    if not torch.isfinite(scaled).all():
        raise DataError(f"{layer!r:.100}: scaled by its alpha, lora_B is not finite. Export it again.")
    return a, scaled


def _one_rank(layers: dict[str, Pair]) -> dict[str, Tensor]:
    """Named tensors of one rank; missing rows and columns are zeros, which change nothing."""
    rank = max(1, *(a.shape[0] for a, _ in layers.values()))
    found = {f"{layer}.lora_A.weight": pad(a, (0, 0, 0, rank - a.shape[0])) for layer, (a, _) in layers.items()}
    return found | {f"{layer}.lora_B.weight": pad(b, (0, rank - b.shape[1])) for layer, (_, b) in layers.items()}


def _alike(family: Family, found: Lora) -> tuple[str, ...]:
    """The model's layers that have, in any block, the name of one that the file changes: each is expected to be changed."""
    kinds = {_BLOCK.sub("blocks.", layer) for layer in found.targets}
    linear = lora.linear_layers(networks(family.transformer)[0])
    return tuple(name for name in linear if _BLOCK.sub("blocks.", name) in kinds) or found.targets[:3]


def _targets(layers: Iterable[str]) -> tuple[str, ...]:
    """The names of layers without an expert's slot, each once."""
    return tuple(dict.fromkeys(_SLOT.sub("", layer) for layer in layers))


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
