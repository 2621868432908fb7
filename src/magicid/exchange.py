"""LoRA files out of runs and into them: `magicid export` and `magicid import`."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tyro.conf import Positional

from magicid._version import __version__
from magicid.core import tables
from magicid.core.errors import UsageError
from magicid.core.files import sha256, writable
from magicid.core.records import Metric
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.core.weights import check_weights
from magicid.export.lora_file import CHECK, Layout, low_file, slot_files, write_lora
from magicid.export.read_lora import accept, place
from magicid.export.result import NAMES, export_result
from magicid.pipeline import open_run

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Export:
    """Write a run's adapter as a LoRA file, load it back through diffusers, and put a script and a workflow beside it."""

    folder: Positional[Path]  # a run whose stage 'optimize' is finished
    # universal: the original model's names (diffusers' for hunyuan_video15 and cogvideox), the scale folded in;
    # diffusers: its own, with rank and alpha in the header
    layout: Layout = "universal"
    out: Path | None = None  # a .safetensors file or a folder; default: the run's folder

    def run(self) -> list[Path]:
        """The files written; scores stand in the header where the run is evaluated.

        `UsageError` where the run has no adapter yet, `DataError` where the file would lose anything.
        """
        with open_run(self.folder) as run:
            metrics = run.dir.read("evaluate", Metric) if run.dir.finished("evaluate") else []
            return export_result(run, _target(self.out or self.folder, NAMES[self.layout]), metrics, self.layout)


@dataclass(frozen=True)
class Import:
    """Write a LoRA file of another trainer in the universal layout, verified on its base model as an export is."""

    file: Positional[Path]  # .safetensors of musubi, kohya, diffusers or magicid; of two experts, the noisy part's
    out: Path  # a .safetensors file or a folder
    low: Path | None = None  # of two experts, the other's; default: FILE_low.safetensors beside FILE
    base: str = Common.base  # what it was made on: a hub id, a folder in the diffusers layout, or "avatar", the package's model
    family: str = Common.family

    def run(self, say: Callable[[str], None]) -> list[Path]:
        """The files written, two for two experts; what the old header does not tell is said, and stays untold in the new."""
        tables.check(tables.IMPORTS, "family", self.family)
        target = _target(self.out, self.file.stem + SUFFIX)
        read = [path for path in (self.file, self.low or low_file(self.file)) if path.exists()]
        if {target.resolve(), low_file(target).resolve()} & {path.resolve() for path in read}:
            raise UsageError(f"{self.out}: is the file that is read; choose another --out.")
        check_weights(self.file)
        with TemporaryDirectory() as nowhere, closing(RunDir(Path(nowhere))) as directory:
            run = Run(directory, Common(Path(nowhere), self.base, self.family))  # for its base model alone
            directory.freeze({"base_digest": run.base_digest})
            if self.low and len(slot_files(run.family, self.file)) == 1:
                raise UsageError(f"{self.low}: the base model has no second expert to take it. Leave out --low.")
            found = accept(run, self.file, say, self.low)
            place(run.family, CHECK, self.file, found, found.targets)
            story = found.story | {"version": __version__, "slot": "", "targets": list(found.targets)}
            story |= {"base": self.base, "imported_sha256": sha256(self.file)} | directory.settings()
            return write_lora(run.family, CHECK, found.size(found.targets), target, story)


def _target(out: Path, name: str) -> Path:
    """The file that --out means: itself, or one called `name` in a folder."""
    path = out if out.suffix == SUFFIX else out / name
    if not writable(path):
        raise UsageError(f"{out}: a LoRA is written as a {SUFFIX} file, in a folder that can be written. Choose another --out.")
    return path
