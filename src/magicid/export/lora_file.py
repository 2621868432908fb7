"""One LoRA file that loads in diffusers and ComfyUI: universal names, alpha folded in, its story in the header.

Before it gets its name, the file is loaded back through the stock pipeline and its output compared with the adapter in
memory: a file that loses anything never stands there. A model of two experts has two files, the second named `..._low`.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save
from torch import Tensor

from magicid._version import __version__
from magicid.core import tables
from magicid.core.device import device_of
from magicid.core.errors import DataError, out_of_memory
from magicid.core.experts import networks
from magicid.core.files import publish, sha256, text_digest
from magicid.core.interfaces import Family
from magicid.core.records import Adapter, Metric
from magicid.core.run import Run
from magicid.core.run_dir import filled
from magicid.core.seeds import noise
from magicid.core.weights import in_order
from magicid.export.native import native
from magicid.training import lora
from magicid.training.adapters import loaded

Layout = Literal["universal", "diffusers"]
CHECK, LOADED = "export_check", "export_loaded"  # names of adapters in memory
SLOT = "person"  # what a LoRA is for, where a model has no experts; these have slots of their own
ROUNDED = 3e-2  # of a prediction: what sums in another order come to on a base in bf16 or less
_REMEDY = "the export is wrong for this family; use finetune.targets that it knows."


def export_adapter(
    run: Run, record: Adapter, path: Path, metrics: Sequence[Metric] = (), layout: Layout = "universal"
) -> list[Path]:
    """Write the adapter of `record` to `path`, or `slot_files` of it, and verify; `DataError` when anything would be lost.

    `metrics` are the evaluation's: those of MagicID stand in the header. Returns the files.
    """
    settings = run.dir.settings()
    story: dict[str, Any] = {"version": __version__, "trigger": run.common.trigger, "base": run.common.base}
    story |= {
        key: settings[key] for key in ("base_digest", "finetune.steps", "distill.steps", "optimize.steps") if key in settings
    }
    story |= {"slot": "", "subject": subject(run), "targets": settings["finetune.targets"]}
    story["adapter_sha256"] = record.sha256
    if scores := {m.name: round(m.value, 6) for m in metrics if m.method == "magicid" and math.isfinite(m.value)}:
        story["scores"] = scores
    with loaded(run, {CHECK: record}):
        return write_lora(run.family, CHECK, filled(lora.LoraSettings, settings, "finetune."), path, story, layout)


def write_lora(
    family: Family, name: str, size: lora.LoraSettings, path: Path, story: dict[str, Any], layout: Layout = "universal"
) -> list[Path]:
    """Write adapter `name`, which is in memory and of that size, with its story in the header; the files, once verified."""
    exported = tables.load(tables.EXPORTS, "export of", family.name)
    weights, files = lora.weights(family, name), slot_files(family, path)

    def put(left: list[tuple[str, Path]], written: list[Path]) -> None:
        """One file inside the other: none has its name before all are verified."""
        if not left:
            verify(family, name, written[0], path, *written[1:])
            return
        (slot, file), *rest = left
        tensors, header = of_slot(weights, slot), {"magicid": json.dumps(story | {"slot": slot})}
        if layout == "diffusers":
            tensors, more = native(tensors, size)
            header |= more
        else:
            tensors = exported(tensors, size.alpha / size.rank)

        def write(target: Path) -> None:
            target.write_bytes(in_order(save(tensors, header)))
            put(rest, [*written, target])

        publish(file, write)

    put(list(files.items()), [])
    return list(files.values())


def slot_files(family: Family, path: Path, low: Path | None = None) -> dict[str, Path]:
    """The files of one adapter by their slots: for the person alone, or for each expert of the model (None: beside `path`)."""
    if len(networks(family.transformer)) == 1:
        return {SLOT: path}
    return {"high": path, "low": low or low_file(path)}


def low_file(path: Path) -> Path:
    """Beside the first expert's file, the second's."""
    return path.with_stem(f"{path.stem}_low")


def of_slot(tensors: dict[str, Tensor], slot: str) -> dict[str, Tensor]:
    """The weights of a slot, named as if there were no other."""
    start = "" if slot == SLOT else f"{slot}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def subject(run: Run) -> str:
    """Whom a run's adapters show: eight hex digits of the photos that it was trained on, in any order."""
    return text_digest(*sorted(photo.sha256 for photo in run.photos()))


def trained_layers(family: Family, name: str) -> set[str]:
    """The layers that an adapter in memory changes: those whose B is not zero."""
    parameters = lora.parameters(family, name)
    return {key.removesuffix(".lora_B.weight") for key, value in parameters.items() if ".lora_B." in key and value.any()}


@torch.no_grad()
def verify(family: Family, name: str, path: Path, shown: Path | None = None, *others: Path) -> float:
    """The relative difference of two predictions: by the file, loaded by the stock pipeline, and by the adapter `name`.

    `others` are the files of a model's other experts, each of which is asked. `DataError`, which names `shown` or else
    `path`, when the files reach other layers than the adapter, change one otherwise by more than 1e-3 of its change, or when
    the predictions differ by more than 1e-3, or by what is left of it after rounding on a base that is not in fp32.
    """
    shown = shown or path
    geometry = family.geometry
    shape = family.latents_shape(geometry.frames, geometry.height, geometry.width)
    device = device_of(family.transformer)
    times = torch.tensor([0.999, 0.001] if others else [0.5])  # of both experts, wherever they part
    x, t = noise((len(times), *shape), 0, "export").to(device), times.to(device)
    condition = family.encode_prompts([""] * len(times))
    with lora.using(family, name):
        expected = family.predict(x, t, condition)
    trained = trained_layers(family, name)
    try:
        for file in (path, *others):
            if foreign := [key for key in load_file(file) if ".lora_" not in key]:  # which some loaders skip without a word
                raise DataError(f"{shown}: {foreign[0]} is no tensor of a LoRA; {_REMEDY}")
            _load(family.pipeline, file, **({"load_into_transformer_2": True} if file in others else {}))
        _unround(family, path, *others)
        loaded = trained_layers(family, LOADED)
        if loaded != trained:
            odd = ", ".join(sorted(loaded ^ trained)[:3])
            raise DataError(f"{shown}: {len(loaded & trained)} of {len(trained)} trained layers load ({odd}); {_REMEDY}")
        if changed := _otherwise(family, name):
            raise DataError(f"{shown}: {changed[0]} and {len(changed) - 1} more layers are changed otherwise; {_REMEDY}")
        with lora.using(family, LOADED):
            found = family.predict(x, t, condition)
    except (KeyError, RuntimeError, ValueError) as error:
        if out_of_memory(error):
            raise
        raise DataError(f"{shown}: the stock pipeline refuses it ({str(error).strip().splitlines()[0]}); {_REMEDY}") from error
    finally:
        if LOADED in getattr(family.transformer, "peft_config", {}):
            lora.remove_adapter(family, LOADED)
    difference = float((found - expected).abs().max() / expected.abs().max())
    exact = all(p.dtype == torch.float32 for key, p in family.transformer.named_parameters() if ".lora_" not in key)
    if not difference <= (1e-3 if exact else ROUNDED):
        raise DataError(f"{shown} (sha256 {sha256(path)[:12]}): predictions differ by {difference:.2g} of 1; {_REMEDY}")
    return difference


def _unround(family: Family, *files: Path) -> None:
    """What the stock loader rounded to the dtype of the base's weights, as its own reading of the files has it, in fp32.

    A LoRA of fp32 in bf16 is another by a few thousandths, and in fp8 mostly zeros: what is compared is the file.
    """
    parameters, where = lora.parameters(family, LOADED), device_of(family.transformer)
    stock, values = getattr(family.pipeline, "lora_state_dict", None), dict[str, Tensor]()
    for slot, file in zip(slot_files(family, files[0]), files, strict=False):
        read = stock(str(file.parent), weight_name=file.name) if stock else load_file(file)
        start = "" if slot == SLOT else f"{slot}."
        values |= {start + name.removeprefix("transformer."): tensor for name, tensor in read.items()}
    for name, parameter in parameters.items():
        value = parameter.data if parameter.dtype == torch.float32 else values[name]
        parameter.data = value.to(where, torch.float32)


def _otherwise(family: Family, name: str) -> list[str]:
    """The layers that the loaded adapter does not change as the adapter `name` does."""
    odd = []
    for layer, part in family.transformer.named_modules():
        if isinstance(part, LoraLayer) and name in part.lora_A and LOADED in part.lora_A:
            ours, theirs = (part.get_delta_weight(one) for one in (name, LOADED))  # type: ignore[operator]
            if not (theirs - ours).abs().max() <= 1e-3 * ours.abs().max():
                odd.append(layer)
    return odd


def _load(pipeline: Any, path: Path, **more: bool) -> None:
    """Load a file as a user of diffusers does; a pipeline without a LoRA loader leaves it to its transformer's."""
    load = getattr(pipeline, "load_lora_weights", None) or pipeline.transformer.load_lora_adapter
    load(str(path.parent), weight_name=path.name, adapter_name=LOADED, **more)
