"""What this machine has, and what some well-known GPUs have."""

import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

import torch

from magicid._version import __version__
from magicid.core.device import device, fast_dtype
from magicid.core.errors import UsageError
from magicid.core.run import WEIGHTS
from magicid.forecast import Machine
from magicid.training.budget import GIB

GPUS = {  # GB of memory, and dense bf16 TFLOPS with fp32 sums by the maker's data sheet
    "h200": (141, 989),
    "h100": (80, 989),
    "a100": (80, 312),
    "l40s": (48, 362),
    "rtx5090": (32, 209),
    "rtx4090": (24, 165),
    "rtx3090": (24, 71),
    "rtx3060": (12, 25),
}
CONTEXT = GIB // 2  # bytes that CUDA itself takes of a GPU's memory


def about() -> dict[str, str]:
    """Versions, device, precision, memory and disk, and whether the embedded models are in place."""
    where = device()
    files = sorted(WEIGHTS.rglob("*.safetensors"))
    size = sum(file.stat().st_size for file in files) / 2**20
    return {
        "magicid": __version__,
        "python, torch": f"{platform.python_version()}, {torch.__version__}",
        "device": f"{where} ({torch.get_num_threads()} threads)" if where.type == "cpu" else torch.cuda.get_device_name(),
        "precision": str(fast_dtype(where)).removeprefix("torch."),
        "driver": driver(),
        "free memory": f"{free_memory() / GIB:.1f} GiB",
        "free disk here": f"{shutil.disk_usage('.').free / GIB:.1f} GiB",
        "embedded models": f"{len(files)} files, {size:.1f} MiB in {WEIGHTS}",
    }


def driver() -> str:
    """The GPU driver's version, and CUDA's that torch was built for."""
    built = f"torch built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch built without CUDA"
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return f"none ({built})"
    return f"{found} ({built})"


def free_memory() -> int:
    """Bytes: of the GPU where there is one, else of the machine, as far as its control group lets us have them."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    info = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", info.read_text()) if info.exists() else None
    free = int(found[1]) * 2**10 if found else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # none, or "max"
        return free
    return min(free, limit - used)


def here() -> Machine:
    """This one, its rate measured."""
    where = device()
    name = "this machine" if where.type == "cpu" else torch.cuda.get_device_name()
    return Machine(name, where.type, free_memory(), matrix_rate(where))


def known(name: str) -> Machine:
    """A GPU of the table."""
    if name.lower() not in GPUS:
        raise UsageError(f"gpu {name!r} is unknown; choose one of: {', '.join(GPUS)}.")
    gigabytes, teraflops = GPUS[name.lower()]
    return Machine(f"a {name}", "cuda", gigabytes * 10**9 - CONTEXT, teraflops * 1e12)


def matrix_rate(where: torch.device) -> float:
    """FLOPs a second of a large matrix product in the fast precision: the best of five."""
    side = 8192 if where.type == "cuda" else 1024
    a = torch.ones(side, side, dtype=fast_dtype(where), device=where)
    seconds = []
    for _ in range(5):
        _wait(where)
        start = time.perf_counter()
        a @ a
        _wait(where)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)


def _wait(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize()
