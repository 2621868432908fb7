"""Randomness belongs to the item: every draw comes from a seed and the item's own name, never from a carried generator."""

import hashlib

import torch
from torch import Tensor


def item_seed(seed: int, *key: object) -> int:
    """A 63-bit seed for one item, e.g. `item_seed(0, "optimize", step, "noise")`; equal keys give equal seeds."""
    digest = hashlib.sha256(repr((seed, *key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *key: object) -> torch.Generator:
    """A CPU generator for one item; draw on the CPU and move, so that every device sees the same numbers."""
    return torch.Generator().manual_seed(item_seed(seed, *key))


def noise(shape: tuple[int, ...], seed: int, *key: object) -> Tensor:
    """Standard normal fp32 noise of `shape` for one item."""
    return torch.randn(shape, generator=generator(seed, *key))
