"""What a part of a run costs: wall seconds and peak memory, kept as `cost.json` in its folder and added up over interruptions.

A kill that leaves no time to write loses its own process's share.
"""

import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from magicid.core.errors import DataError, ResourceError
from magicid.core.files import damaged, publish_text, read_json

_PROC = Path("/proc/self")


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time, and the highest memory (of the GPU where there is one, else of the process) in MiB."""

    seconds: float = 0.0
    peak_memory_mb: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.seconds + other.seconds, max(self.peak_memory_mb, other.peak_memory_mb))


@contextmanager
def measured(folder: Path) -> Iterator[None]:
    """Add the cost of the block to that of `folder`, however it ends, if the folder is there by then."""
    start = time.monotonic()
    reset_peak()
    try:
        yield
    finally:
        if folder.is_dir():
            with suppress(DataError, ResourceError, OSError):  # what the block itself raises says more; a damaged file stays
                total = read_cost(folder) + Cost(time.monotonic() - start, _peak_mb())
                publish_text(folder / "cost.json", json.dumps(asdict(total)))


@contextmanager
def measuring_peak() -> Iterator[Callable[[], float]]:
    """Gives a function: the highest memory in bytes, of the GPU, else what the process grew by since the block began."""
    reset_peak()
    before = 0.0 if torch.cuda.is_available() else _peak_mb()
    yield lambda: (_peak_mb() - before) * 2**20


def read_cost(folder: Path) -> Cost:
    """What was spent on the folder so far; `DataError` where its file is damaged."""
    path, remedy = folder / "cost.json", "delete it: what was spent before is then not counted"
    found = read_json(path, remedy) if path.exists() else {}
    try:
        return Cost(**found)
    except TypeError as error:
        raise damaged(path, error, remedy) from error


def memory_mb() -> tuple[float, float]:
    """Highest use so far, and all there is, in MiB: of the GPU where there is one, else of the machine."""
    if torch.cuda.is_available():
        return _peak_mb(), torch.cuda.get_device_properties(0).total_memory / 2**20
    return _peak_mb(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def reset_peak() -> None:
    """Let the highest memory be that from now on."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # without /proc the peak is the process's whole life's
        (_PROC / "clear_refs").write_text("5")


def _peak_mb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    status = (_PROC / "status").read_text() if (_PROC / "status").exists() else ""
    if found := re.search(r"VmHWM:\s+(\d+) kB", status):
        return int(found[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
