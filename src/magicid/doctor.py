"""What this machine has, in a few lines: what to send along with a question."""

import platform
import shutil

import torch
from rich.console import Console

from magicid._version import __version__
from magicid.core.device import device, fast_dtype
from magicid.core.run import WEIGHTS


def report() -> None:
    """Print versions, device, precision, memory on disk, and whether the embedded models are in place."""
    where = device()
    free = shutil.disk_usage(".").free / 2**30
    files = sorted(WEIGHTS.rglob("*.safetensors"))
    size = sum(file.stat().st_size for file in files) / 2**20
    lines = {
        "magicid": __version__,
        "python, torch": f"{platform.python_version()}, {torch.__version__}",
        "device": f"{where} ({torch.get_num_threads()} threads)" if where.type == "cpu" else torch.cuda.get_device_name(),
        "precision": str(fast_dtype(where)).removeprefix("torch."),
        "free disk here": f"{free:.1f} GiB",
        "embedded models": f"{len(files)} files, {size:.1f} MiB in {WEIGHTS}",
    }
    for name, value in lines.items():
        Console().print(f"{name:>16}  {value}", highlight=False, markup=False)
