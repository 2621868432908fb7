"""Which device and precision to compute in: bf16 where the hardware multiplies it faster than fp32, else fp32."""

from contextlib import AbstractContextManager, nullcontext

import torch


def device() -> torch.device:
    """The first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_dtype(where: torch.device) -> torch.dtype:
    """bf16 on GPUs and on CPUs with AMX; fp32 on others, whose bf16 products ran at half the speed of fp32 (measured)."""
    if where.type == "cuda" or torch.cpu._is_amx_tile_supported():
        return torch.bfloat16
    return torch.float32


def autocast(where: torch.device) -> AbstractContextManager[object]:
    """Mixed precision where it pays."""
    if fast_dtype(where) == torch.float32:
        return nullcontext()
    return torch.autocast(where.type, torch.bfloat16)
