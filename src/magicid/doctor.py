"""Will it run here? What the machine has, what each stage will need, and one real step of stage one and of HPO."""

import ctypes
import json
import re
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from magicid import machine
from magicid.core import hub, tables
from magicid.core.cost import measuring_peak, reset_peak
from magicid.core.device import check_device
from magicid.core.errors import DataError, UsageError
from magicid.core.files import nearest, require_room
from magicid.core.placement import Offload, Precision
from magicid.core.run import EMBEDDED, Common, Run, find_base
from magicid.core.run_dir import RunDir
from magicid.forecast import SHARE, Forecast, Row, refuse_too_large
from magicid.media.photo import find_photos, read_photo
from magicid.pipeline import Pipeline, check_settings
from magicid.training import trial
from magicid.training.budget import GIB

MMAP_THRESHOLD = -3  # glibc's M_MMAP_THRESHOLD


@dataclass(frozen=True)
class Asked:
    """A base model, a clip size and a run's settings."""

    model: str = EMBEDDED  # a hub id or a folder in the diffusers layout (its weights need not be there), or "avatar"
    family: str = Common.family
    frames: int = 0  # of the clips that the run would learn from; 0: the base's own number
    size: str = ""  # HEIGHTxWIDTH in pixels, such as 480x832; "": the base's own
    photos: Path | None = None  # a folder; the photos in it are counted
    out: Path = Path()  # where the run would be: its disk must have the room
    precision: Precision = "auto"
    offload: Offload = "none"
    attention: str = ""
    gpu: str = ""  # plan for a GPU that is not here, such as rtx4090 or h100; nothing is run then
    json: bool = False  # the last line is one JSON object
    stages: Annotated[Pipeline, tyro.conf.arg(name="")] = field(default_factory=Pipeline)

    @property
    def common(self) -> Common:
        """As a run has them; checked, with those of the stages."""
        if self.size and not re.fullmatch(r"\d+x\d+", self.size):
            raise UsageError(f"size {self.size!r}: must be HEIGHTxWIDTH in pixels; set --size 480x832.")
        height, width = map(int, self.size.split("x")) if self.size else (0, 0)
        common = Common(
            self.photos or Path(), self.model, self.family, frames=self.frames, height=height, width=width,
            precision=self.precision, offload=self.offload, attention=self.attention,
        )  # fmt: skip
        check_settings(common, self.stages)
        return common


def report(asked: Asked) -> None:
    """Print everything; `ResourceError` with a smaller setting where it does not fit."""
    common = asked.common
    console = Console(stderr=asked.json, width=None if sys.stdout.isatty() else 120)
    for name, value in machine.about().items():
        _say(console, f"{name:>16}  {value}")
    base, whole = _base(common)
    plan = machine.known(asked.gpu) if asked.gpu else machine.here()
    photos = _photos(asked.photos, console) if asked.photos else 0
    forecast = Forecast(base, common, asked.stages, plan, photos or 10)
    size, rows = forecast.learnt, forecast.rows()
    _say(console, f"\n{common.base} ({common.family}), clips of {size.frames} x {size.height} x {size.width}, on {plan.name}")
    weights = sum(path.stat().st_size for path in base.rglob("*.safetensors"))
    if not asked.gpu and (said := check_device(weights)):
        _say(console, said)
    refuse_too_large(forecast, rows)
    require_room(nearest(asked.out), sum(row.disk for row in rows), "the run's files")
    steps = real_steps(forecast) if whole and not asked.gpu else {}
    rate = min((step["flops"] / step["seconds"] for step in steps.values()), default=SHARE * plan.rate)
    _show(console, rows, rate, steps)
    if not steps:
        why = "the machine is another" if asked.gpu else f"there are no weights in {base}"
        _say(console, f"No step was run, since {why}. Hours are at {SHARE:.0%} of the rate of matrix products, not measured.")
    if asked.json:
        needs = {row.stage: asdict(row) | {"hours": row.flops / rate / 3600} for row in rows}
        print(json.dumps({"machine": asdict(plan), "stages": needs, "steps": steps}))


def _base(common: Common) -> tuple[Path, bool]:
    """The base model's folder, and whether its weights are there."""
    path = hub.fetch(common.base, weights=False) if hub.is_id(common.base) else Path(common.base)
    if common.base == EMBEDDED or not (path / "model_index.json").is_file():
        return find_base(common), True  # or its error
    parts = [part for part in path.iterdir() if (part / "config.json").is_file()]
    whole = all(any(part.glob("*.safetensors")) for part in parts)
    return (find_base(common) if whole else path), whole


def _photos(folder: Path, console: Console) -> int:
    """How many photos of a folder can be read; the others are named."""
    count, paths = 0, find_photos(folder)
    for path in paths:
        try:
            read_photo(path)
            count += 1
        except DataError as error:
            _say(console, str(error))
    _say(console, f"{'photos':>16}  {count} of {len(paths)} can be read")
    return count


def real_steps(forecast: Forecast) -> dict[str, dict[str, float]]:
    """Seconds, FLOPs and measured peak (bytes) of one step of stage one and of one of HPO, on noise.

    The peak is what CUDA's allocator gave out at most; on a CPU by how much the process's resident memory grew over what
    it was before the weights were read, in a process whose allocator gives freed memory back at once. (Left alone, glibc
    keeps freed blocks, and a step may hold twice of what it needs where there is room.)
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 2**17)
    tables.load(tables.FAMILIES, "family", forecast.common.family)  # imported before memory is measured
    found: dict[str, dict[str, float]] = {}
    photo, shape, stages = forecast.shape(forecast.photo), forecast.shape(forecast.learnt), forecast.stages
    with tempfile.TemporaryDirectory() as folder, measuring_peak() as peak:
        run = Run(RunDir(Path(folder)), forecast.common, Console(quiet=True))
        family = run.family
        sizes = {
            "finetune": trial.Size(photo, stages.finetune.batch, stages.finetune.recompute, stages.finetune.lora),
            "optimize": trial.Size(
                shape, stages.optimize.batch, stages.optimize.recompute, stages.finetune.lora, stages.optimize.chunk
            ),
        }
        for name, step in (("finetune", trial.finetune_step), ("optimize", trial.pair_step)):
            reset_peak()
            found[name] = {"seconds": step(family, sizes[name]), "flops": forecast.step(name), "peak": peak()}
        run.dir.close()
    return found


def _show(console: Console, rows: list[Row], rate: float, steps: dict[str, dict[str, float]]) -> None:
    table = Table("stage", "peak memory", "measured", "hours", "disk")
    for row in rows:
        step = steps.get(row.stage)
        measured = f"{step['peak'] / GIB:.2f} GiB, a step {step['seconds']:.1f} s" if step else ""
        hours = row.flops / rate / 3600
        table.add_row(row.stage, f"{row.memory / GIB:.2f} GiB", measured, f"{hours:.2f}", f"{row.disk / 10**6:,.0f} MB")
    console.print(table)


def _say(console: Console, line: str) -> None:
    """Print a line as it is."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
