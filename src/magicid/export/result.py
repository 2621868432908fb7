"""What a run gives to the world: the LoRA file, and beside it a diffusers script and a ComfyUI workflow that use it."""

import json
from collections.abc import Sequence
from pathlib import Path

from magicid.core.files import publish_text
from magicid.core.records import Adapter, Metric
from magicid.core.run import Run
from magicid.export.lora_file import Layout, export_adapter
from magicid.export.recipe import sample_recipe
from magicid.export.snippet import snippet
from magicid.export.workflow import workflow

NAMES: dict[Layout, str] = {"universal": "adapter.safetensors", "diffusers": "adapter_native.safetensors"}


def beside(adapter: Path) -> tuple[Path, Path]:
    """Where the script and the workflow of an adapter's file stand."""
    return adapter.with_name(f"{adapter.stem}_diffusers.py"), adapter.with_name(f"{adapter.stem}_comfyui.json")


def exports(folder: Path) -> list[Path]:
    """The exported files in a run's folder: one or two LoRA files (two experts have two), the script, the workflow."""
    return sorted(path for path in folder.glob("adapter*") if path.suffix in (".safetensors", ".py", ".json"))


def export_result(run: Run, path: Path, metrics: Sequence[Metric] = (), layout: Layout = "universal") -> list[Path]:
    """Write and verify `path`, then what stands beside it; the files written.

    No workflow is among them for a family that has none, or for diffusers' layout, which ComfyUI does not read.
    """
    files = export_adapter(run, run.dir.read("optimize", Adapter)[0], path, metrics, layout)
    recipe = sample_recipe(run, *files)
    script, nodes = beside(path)
    publish_text(script, snippet(recipe))
    graph = workflow(recipe) if layout == "universal" else None
    if graph is None:
        return [*files, script]
    publish_text(nodes, json.dumps(graph, indent=1) + "\n")
    return [*files, script, nodes]
