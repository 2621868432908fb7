"""Runs on the disk: what is there and in which state, going on with one, and a fork of one with other settings."""

import dataclasses
import fcntl
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicid.core import tables
from magicid.core.errors import DataError, UsageError
from magicid.core.files import TEMPORARY, publish_text, sync_folder
from magicid.core.run import Common
from magicid.core.run_dir import RunDir
from magicid.pipeline import Pipeline, flatten, run_pipeline

MORE = ("finetune", "optimize")  # parts whose training a fork with more steps goes on with


@dataclass(frozen=True)
class State:
    """A run in one line."""

    folder: Path
    finished: int  # stages
    stopped_in: str  # the first unfinished stage; "" where there is none
    step: int  # that its training has checkpoints of
    user: str  # the process at work on it, or ""

    def __str__(self) -> str:
        if self.user:
            return f"at work: {self.user}"
        if not self.stopped_in:
            return "finished"
        return f"stopped in {self.stopped_in}" + (f" after step {self.step}" if self.step else "")


def states(folder: Path) -> list[State]:
    """The runs of a folder, by name; nothing is written."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; runs are folders in one. Name it: magicid runs FOLDER.")
    return [_state(path.parent) for path in sorted(folder.glob("*/settings.yaml"))]


def _state(root: Path) -> State:
    left = [name for name in tables.STAGES if not (root / name / "manifest.jsonl").exists()]
    steps = [int(path.name.split("-")[1]) for path in (root / left[0] / "checkpoints").glob("step-*")] if left else []
    return State(root, len(tables.STAGES) - len(left), left[0] if left else "", max(steps, default=0), _user(root / ".lock"))


def _user(lock: Path) -> str:
    """Who holds a run, asked without taking it."""
    if not lock.exists():
        return ""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return file.read().strip()
    return ""


def stored(folder: Path) -> tuple[Common, Pipeline]:
    """The settings that a run was made with; what its file lacks, since it is older than the setting, is at its default."""
    found = RunDir.read_settings(folder)
    try:
        common = _filled(Common, found | {"photos": Path(found["photos"])}, "")
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder}/settings.yaml: no {error}; bring it back, or make the run again.") from error
    stages = {name: _filled(type(getattr(Pipeline(), name)), found, f"{name}.") for name in tables.STAGES}
    return common, Pipeline(**stages)


def _filled(kind: Callable[..., Any], found: dict[str, Any], prefix: str) -> Any:
    """A dataclass from what stands under its prefix; lists become tuples again."""
    values = {f.name: found[prefix + f.name] for f in dataclasses.fields(kind) if prefix + f.name in found}  # type: ignore[arg-type]
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def resume(folder: Path) -> RunDir:
    """Bring a run to its end with its own settings."""
    common, pipeline = stored(folder)
    return run_pipeline(common, pipeline, folder)


def fork(folder: Path, out: Path, pipeline: Pipeline) -> str:
    """Copy a run up to the first stage whose settings differ, into `out`; returns that stage, or "" where none differs.

    Where that stage is a training and only its number of steps grew, its checkpoints and log come along: the training
    goes on, at the rate that the new number gives. Nothing of the old run is changed.
    """
    common, old = stored(folder)
    if out.exists():
        raise UsageError(f"{out}: is there already; a fork is a run of its own. Choose another --out.")
    changed = [name for name in tables.STAGES if getattr(old, name) != getattr(pipeline, name)]
    source = RunDir(folder, create=False)  # held, so that it does not change under the copy
    done = [name for name in tables.STAGES if source.finished(name)]
    kept = [name for name in done if not changed or list(tables.STAGES).index(name) < list(tables.STAGES).index(changed[0])]
    temporary = out.with_name(f"{TEMPORARY}{out.name}"[:200])
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name in kept:
        shutil.copytree(folder / name, temporary / name)
    if changed and changed[0] in MORE and _more_steps(getattr(old, changed[0]), getattr(pipeline, changed[0])):
        for part in ("checkpoints", "snapshots", "log.jsonl"):
            _copy(folder / changed[0] / part, temporary / changed[0] / part)
    settings = source.settings() | {k: v for k, v in flatten(common, pipeline).items() if "." in k}
    publish_text(temporary / "settings.yaml", RunDir.written(settings))
    source.close()
    temporary.rename(out)
    sync_folder(out.parent)
    return changed[0] if changed else ""


def _more_steps(old: Any, new: Any) -> bool:
    return bool(new.steps > old.steps and dataclasses.replace(old, steps=new.steps) == new)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copy2(source, target)
