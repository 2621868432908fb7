"""Which device and precision to compute in: bf16 where the hardware multiplies it faster than fp32, else fp32."""

import os
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path

import torch

from magicid.core.errors import ResourceError


def device() -> torch.device:
    """The first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(network: torch.nn.Module) -> torch.device:
    """Where a network is, by its first weights."""
    return next(network.parameters()).device


def deterministic(asked: bool | None) -> None:
    """Let torch use kernels only that give the same bits every time, on the same hardware; None: on a CPU."""
    wanted = device().type == "cpu" if asked is None else asked
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time, and nothing here reads such memory


def fast_dtype(where: torch.device) -> torch.dtype:
    """bf16 on GPUs and on CPUs that multiply it faster (AMX, AMD's AVX-512 BF16: four times fp32 and more, measured); fp32
    on others: the AVX-512 BF16 of an Intel CPU without AMX ran at half the speed of fp32.
    """
    native = torch.cpu._is_avx512_bf16_supported() and not _of_intel()
    if where.type == "cuda" or torch.cpu._is_amx_tile_supported() or native:
        return torch.bfloat16
    return torch.float32


@lru_cache
def _of_intel() -> bool:
    """Whether the CPU is one of Intel's, as far as Linux says."""
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def autocast(where: torch.device) -> AbstractContextManager[object]:
    """Mixed precision where it pays."""
    if fast_dtype(where) == torch.float32:
        return nullcontext()
    return torch.autocast(where.type, torch.bfloat16)


OLDEST = (7, 0)  # compute capability of the GPUs that torch still serves
LARGE = 2 * 10**9  # bytes of weights, from which a CPU takes days


def check_device(weights: int) -> str:
    """What to know before a base model of so many bytes is loaded, or ""; `ResourceError` on a GPU that is too old."""
    if torch.cuda.is_available():
        if (found := torch.cuda.get_device_capability()) < OLDEST:
            raise ResourceError(
                f"{torch.cuda.get_device_name()}: compute capability {found[0]}.{found[1]}, need {OLDEST[0]}.{OLDEST[1]} or "
                "newer; use another GPU, or none (CUDA_VISIBLE_DEVICES= magicid ...)."
            )
    elif weights > LARGE:
        return f"no GPU: {weights / 1e9:.0f} GB of weights on the CPU take days; use a machine with one."
    return ""
