"""LoRA files out of runs and into them: `magicid export` and `magicid import`."""

import os
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tyro.conf import Positional

from magicid._version import __version__
from magicid.core import tables
from magicid.core.errors import UsageError
from magicid.core.files import sha256
from magicid.core.records import Metric
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.core.weights import check_weights
from magicid.export.lora_file import CHECK, SLOT, Layout, write_lora
from magicid.export.read_lora import accept, place
from magicid.export.result import NAMES, export_result
from magicid.pipeline import open_run

SUFFIX = ".safetensors"


def export_run(folder: Positional[Path], layout: Layout = "universal", out: Path | None = None) -> list[Path]:
    """Write a run's adapter as a LoRA file, load it back through diffusers, and put a script and a workflow beside it.

    Scores stand in its header where the run is evaluated. `UsageError` where the run has no adapter yet, and `DataError`
    where the file would lose anything.

    Args:
        folder: a run whose stage 'optimize' is finished
        layout: the original model's names, for diffusers and ComfyUI; or diffusers' own, with rank and alpha in the header
        out: a .safetensors file or a folder; default: the run's folder

    Returns:
        the files written
    """
    run = open_run(folder)
    with closing(run.dir):
        metrics = run.dir.read("evaluate", Metric) if run.dir.finished("evaluate") else []
        return export_result(run, _target(out or folder, NAMES[layout]), metrics, layout)


def import_lora(file: Positional[Path], out: Path, base: str = Common.base, family: str = Common.family) -> Path:
    """Write a LoRA file of another trainer in the universal layout, verified on its base model as an export is.

    What its header does not tell is said on stderr, and stays untold in the new one.

    Args:
        file: .safetensors of musubi, kohya, diffusers or magicid
        out: a .safetensors file or a folder
        base: the model that it was made on: a folder in the diffusers layout, or "avatar", the small one in the package
        family: of the base model

    Returns:
        the file written
    """
    say = partial(print, file=sys.stderr)
    tables.check(tables.IMPORTS, "family", family)
    target = _target(out, file.stem + SUFFIX)
    if target.resolve() == file.resolve():
        raise UsageError(f"{out}: is the file that is read; choose another --out.")
    check_weights(file)
    with TemporaryDirectory() as nowhere, closing(RunDir(Path(nowhere))) as directory:
        run = Run(directory, Common(Path(nowhere), base, family))  # for its base model alone
        directory.freeze({"base_digest": run.models["base_digest"]})
        found = accept(run, file, say)
        place(run.family, CHECK, file, found, found.layers)
        story = found.story | {"version": __version__, "slot": SLOT, "targets": list(found.layers)}
        story |= {"base": base, "imported_sha256": sha256(file)} | directory.settings()
        write_lora(run.family, CHECK, found.size(found.layers), target, story)
    return target


def _target(out: Path, name: str) -> Path:
    """The file that --out means: itself, or one called `name` in a folder."""
    path = out if out.suffix == SUFFIX else out / name
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not there.is_dir() or not os.access(there, os.W_OK):
        raise UsageError(f"{out}: a LoRA is written as a {SUFFIX} file, in a folder that can be written. Choose another --out.")
    return path
