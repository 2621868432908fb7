"""One LoRA file that loads in diffusers and ComfyUI: universal names, alpha folded in, its story in the header.

Before it gets its name, the file is loaded back through the stock pipeline and its output compared with the adapter in
memory: a file that loses anything never stands there.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

from magicid._version import __version__
from magicid.core import tables
from magicid.core.errors import DataError, out_of_memory
from magicid.core.files import publish, sha256, text_digest
from magicid.core.interfaces import Family
from magicid.core.records import Adapter, Metric
from magicid.core.run import Run
from magicid.core.run_dir import filled
from magicid.core.seeds import noise
from magicid.export.native import native
from magicid.training import lora
from magicid.training.adapters import load_adapter

Layout = Literal["universal", "diffusers"]
CHECK, LOADED = "export_check", "export_loaded"  # names of adapters in memory
SLOT = "person"  # what a LoRA is for; experts of a model will have slots of their own
_REMEDY = "the export is wrong for this family; use finetune.targets that it knows."


def export_adapter(run: Run, record: Adapter, path: Path, metrics: Sequence[Metric] = (), layout: Layout = "universal") -> float:
    """Write the adapter of `record` to `path` and verify it; `DataError` when anything would be lost.

    `metrics` are the evaluation's: those of MagicID stand in the header. Returns what `verify` does.
    """
    settings = run.dir.settings()
    size = filled(lora.LoraSettings, settings, "finetune.")
    story: dict[str, Any] = {"version": __version__, "trigger": run.common.trigger, "base": run.common.base}
    story |= {key: settings[key] for key in ("base_digest", "finetune.steps", "optimize.steps") if key in settings}
    story |= {"slot": SLOT, "subject": subject(run), "targets": settings["finetune.targets"]}
    story["adapter_sha256"] = record.sha256
    if scores := {m.name: round(m.value, 6) for m in metrics if m.method == "magicid" and math.isfinite(m.value)}:
        story["scores"] = scores
    load_adapter(run, CHECK, record)
    try:
        return write_lora(run.family, CHECK, size, path, story, layout)
    finally:
        lora.remove_adapter(run.family, CHECK)


def write_lora(
    family: Family, name: str, size: lora.LoraSettings, path: Path, story: dict[str, Any], layout: Layout = "universal"
) -> float:
    """Write adapter `name`, which is in memory, with its story in the header; it gets its name once it is verified."""
    weights = lora.weights(family, name)
    if layout == "diffusers":
        tensors, header = native(weights, size)  # two keys of the header: safetensors writes them in random order
    else:
        tensors, header = tables.load(tables.EXPORTS, "export of", family.name)(weights, size.alpha / size.rank), {}
    difference = math.nan

    def write(target: Path) -> None:
        nonlocal difference
        save_file(tensors, target, metadata={"magicid": json.dumps(story)} | header)
        difference = verify(family, name, target, path)

    publish(path, write)
    return difference


def subject(run: Run) -> str:
    """Whom a run's adapters show: eight hex digits of the photos that it was trained on, in any order."""
    return text_digest(*sorted(photo.sha256 for photo in run.photos()))


def trained_layers(family: Family, name: str) -> set[str]:
    """The layers that an adapter in memory changes: those whose B is not zero."""
    parameters = lora.parameters(family, name)
    return {key.removesuffix(".lora_B.weight") for key, value in parameters.items() if ".lora_B." in key and value.any()}


@torch.no_grad()
def verify(family: Family, name: str, path: Path, shown: Path | None = None) -> float:
    """The relative difference of two predictions: by the file, loaded by the stock pipeline, and by the adapter `name`.

    `DataError`, which names `shown` or else `path`, when it is more than 1e-3 or when the file reaches other layers than
    the adapter.
    """
    shown = shown or path
    pipeline = family.pipeline
    geometry = family.geometry
    shape = family.latents_shape(geometry.frames, geometry.height, geometry.width)
    device = next(family.transformer.parameters()).device
    x, t = noise((1, *shape), 0, "export").to(device), torch.full((1,), 0.5, device=device)
    condition = family.encode_prompts([""])
    with lora.using(family, name):
        expected = family.predict(x, t, condition)
    trained = trained_layers(family, name)
    try:
        pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=LOADED)
        loaded = trained_layers(family, LOADED)
        if loaded != trained:
            odd = ", ".join(sorted(loaded ^ trained)[:3])
            raise DataError(f"{shown}: {len(loaded & trained)} of {len(trained)} trained layers load ({odd}); {_REMEDY}")
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
    if not difference <= 1e-3:
        raise DataError(f"{shown} (sha256 {sha256(path)[:12]}): predictions differ by {difference:.2g} of 1; {_REMEDY}")
    return difference
