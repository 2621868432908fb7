"""Checkpoints that survive a kill at any instant: a folder is written beside, checked, renamed; only then is an old one pruned.

A checkpoint `step-00000100/` holds one safetensors file a group of tensors and `manifest.json`, written last, with each
file's sha256. A folder whose manifest is missing or does not verify is passed over as a whole.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from magicid.core.errors import DataError
from magicid.core.faults import reach
from magicid.core.files import TEMPORARY, publish_text, sha256, sync_folder
from magicid.core.weights import check_finite, read_weights, write_weights

Groups = dict[str, dict[str, Tensor]]
KEPT = 2  # checkpoints of a training; while one is written there is one more


@dataclass(frozen=True)
class Checkpoint:
    """What a training run needs to go on: the step that comes next and named groups of tensors."""

    step: int
    groups: Groups


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Publish a checkpoint under `folder`, then prune to the newest `KEPT`.

    `DataError` where a tensor is not finite, or where what was written does not read back as it was.
    """
    final = folder / _name(checkpoint.step)
    names = {f"{group}.safetensors": tensors for group, tensors in checkpoint.groups.items()}
    for name, tensors in names.items():
        check_finite(final / name, tensors)
    temporary = folder / f"{TEMPORARY}{final.name}"
    for leftover in (*folder.glob(f"{TEMPORARY}*"), final):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    files = {name: write_weights(temporary / name, tensors) for name, tensors in names.items()}
    publish_text(temporary / "manifest.json", json.dumps({"step": checkpoint.step, "files": files}))
    reach("checkpoint", final.name)
    temporary.rename(final)
    sync_folder(folder)
    reach("saved", final.name)
    for old in _superfluous(folder, final):
        gone = old.rename(old.with_name(f"{TEMPORARY}{old.name}"))  # never a half of one under its own name
        reach("prune", old.name)
        shutil.rmtree(gone)
    return final


def _superfluous(folder: Path, final: Path) -> list[Path]:
    """What is newer than `final`, which `latest` passed over, and what is older than the newest `KEPT` whole ones."""
    past = sorted((path for path in folder.glob("step-*") if path.name <= final.name), reverse=True)
    newer = [path for path in folder.glob("step-*") if path.name > final.name]
    whole = [path for path in past if path == final or _whole(path)]
    return newer + ([path for path in past if path < whole[KEPT - 1]] if len(whole) >= KEPT else [])


def _whole(path: Path) -> bool:
    """Whether a checkpoint's files are those of its manifest; their tensors are not read."""
    try:
        return all(sha256(path / name) == digest for name, digest in _manifest(path)["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _manifest(path: Path) -> dict[str, Any]:
    """{"step": ..., "files": name -> sha256} of a checkpoint; `ValueError` where it is of another step than its folder."""
    manifest = dict(json.loads((path / "manifest.json").read_text()))
    if path.name != _name(manifest["step"]):
        raise ValueError(f"its manifest is of step {manifest['step']}")
    return manifest


def _name(step: int) -> str:
    return f"step-{step:08d}"


def load(path: Path) -> Checkpoint:
    """Read one checkpoint folder; raises `DataError` when any part of it does not verify."""
    try:
        manifest = _manifest(path)
        groups = {Path(name).stem: read_weights(path / name, digest) for name, digest in manifest["files"].items()}
        return Checkpoint(manifest["step"], groups)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a whole checkpoint ({error}).") from error


def latest(folder: Path, say: Callable[[str], None] = lambda line: None) -> Checkpoint | None:
    """The newest checkpoint that verifies, or None; a line is said of each that does not."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            return load(path)
        except DataError as error:
            say(f"{error} This checkpoint is passed over.")
    return None
