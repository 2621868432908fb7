"""The folder of a training: its checkpoints are of that one alone, since another would go on from what it never did."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.progress import Progress
from torch import Tensor, nn

from magicid.core.errors import UsageError
from magicid.core.files import publish_folder, publish_text
from magicid.training.log import Log
from magicid.training.loop import LoopSettings, Loss, train


def hold(folder: Path, asked: Mapping[str, Any], start: Path | None) -> Path | None:
    """Write down what is trained here and keep a copy of the weights that it begins with; returns that copy.

    The copy, since a training may write its outcome over its start, and must still go on. `asked` holds settings and the
    digests of what else goes in; what an older folder does not name is taken as it is. `UsageError` where it was something else.
    """
    path, kept = folder / "settings.json", folder / "start"
    asked = _flat({**asked, "start": str(start.resolve()) if start else None})
    if path.exists():
        begun = _flat(json.loads(path.read_text(encoding="utf-8")))
        if changed := [f"{key} {begun[key]}, not {asked.get(key)}" for key in sorted(begun) if asked.get(key) != begun[key]]:
            raise UsageError(f"{folder}: has begun with {'; '.join(changed[:3])}; give what it began with, or another --work.")
    elif start:
        publish_folder(kept, lambda new: shutil.copytree(start, new, dirs_exist_ok=True))
    publish_text(path, json.dumps(asked, indent=1, sort_keys=True))
    return kept if start else None


def train_with_bar(
    name: str, parameters: Mapping[str, nn.Parameter], loss: Loss, settings: LoopSettings, work: Path
) -> dict[str, Tensor]:
    """Train to the end in the folder of that name under `work`; the moving average."""
    with Progress() as bar:
        task = bar.add_task(name, total=settings.steps)
        return train(
            parameters, loss, settings, work / name, Log(work / name / "log.jsonl"),
            progress=lambda step: bar.update(task, completed=step), say=bar.console.print,
        )  # fmt: skip


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """One level, names joined by dots, tuples as lists: as a file gives them back."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found
