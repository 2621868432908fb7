"""Runs on the disk: what is there and in which state, going on with one, and a fork of one with other settings."""

import dataclasses
import fcntl
import shutil
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from magicid.core import tables
from magicid.core.errors import UsageError
from magicid.core.files import publish, require_room
from magicid.core.pulse import pulse
from magicid.core.run_dir import FREE, RunDir
from magicid.export.result import exports
from magicid.pipeline import Pipeline, flatten, run_pipeline, stored

MORE = ("finetune", "distill", "optimize")  # parts whose training a fork with more steps goes on with


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
    return [state_of(path.parent) for path in sorted(folder.glob("*/settings.yaml"))]


def state_of(root: Path) -> State:
    """Where one run stands."""
    left = [name for name in tables.STAGES if not (root / name / "manifest.jsonl").exists()]
    steps = [int(path.name.split("-")[1]) for path in (root / left[0] / "checkpoints").glob("step-*")] if left else []
    return State(root, len(tables.STAGES) - len(left), left[0] if left else "", max(steps, default=0), _user(root / ".lock"))


def _user(lock: Path) -> str:
    """Who holds a run; it is held for an instant to find out, which `RunDir` allows for."""
    if not lock.exists():
        return ""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return file.read().strip()
    return ""


def resume(folder: Path) -> RunDir:
    """Bring a run to its end with its own settings."""
    common, pipeline = stored(folder)
    return run_pipeline(common, pipeline, folder)


def fork(folder: Path, out: Path, pipeline: Pipeline) -> str:
    """Copy a run up to the first stage whose settings differ, into `out`; returns that stage, or "" where none differs.

    Where that stage is a training and only its number of steps grew, its checkpoints and log come along: the training
    goes on, at the rate that the new number gives; one in rounds, or whose step is chosen, begins anew. No stage of the old
    run is changed. A fork that is stopped goes on with the same command; in a folder that holds another run it is refused.
    """
    common, old = stored(folder)
    if out.resolve() == folder.resolve():
        raise UsageError(f"{out}: a fork is a run of its own; choose another --out.")
    stages = list(tables.STAGES)
    changed = [name for name in stages if _what(getattr(old, name)) != _what(getattr(pipeline, name))]
    before = stages[: stages.index(changed[0])] if changed else stages
    with closing(RunDir(folder, create=False)) as source:  # held, so that it does not change under the copy
        parts = [folder / name for name in before if source.finished(name)]
        if folder / stages[-1] in parts:
            parts += exports(folder)
        if changed and changed[0] in MORE and _more_steps(getattr(old, changed[0]), getattr(pipeline, changed[0])):
            parts += [folder / changed[0] / part for part in ("checkpoints", "snapshots", "log.jsonl")]
        files = [path for part in parts for path in sorted([part, *part.rglob("*")], key=_manifest_last) if path.is_file()]
        with closing(RunDir(out)) as target:
            target.freeze(source.settings() | {k: v for k, v in flatten(common, pipeline).items() if "." in k})
            there = {name for name in stages if target.finished(name)}
            if changed and (out / changed[0] / "log.jsonl").exists():  # the last of it: its training may have gone on
                there.add(changed[0])
            files = [path for path in files if path.relative_to(folder).parts[0] not in there]
            require_room(out, sum(path.stat().st_size for path in files), "copies of its stages")
            for path in files:
                relative = path.relative_to(folder)
                pulse("copy", relative.as_posix())
                publish(out / relative, partial(shutil.copyfile, path))
    return changed[0] if changed else ""


def _manifest_last(path: Path) -> tuple[bool, Path]:
    return path.name.startswith(("manifest.", "log.")), path


def _more_steps(old: Any, new: Any) -> bool:
    if getattr(new, "rounds", 1) > 1 or getattr(new, "validate", 0):
        return False  # where rounds begin, and which steps can be chosen, depends on the number of steps
    return bool(new.steps > old.steps and _what(dataclasses.replace(old, steps=new.steps)) == _what(new))


def _what(stage: Any) -> dict[str, Any]:
    """A stage's settings, but for those of how alone."""
    return {name: value for name, value in dataclasses.asdict(stage).items() if name not in FREE}
