"""Layouts that only rename layers: what their exports and imports share."""

from collections.abc import Callable

from torch import Tensor

from magicid.core.errors import DataError

Pair = tuple[Tensor, Tensor]  # A (r, in), B (out, r)


def renamed(tensors: dict[str, Tensor], scale: float, rename: Callable[[str], str]) -> dict[str, Tensor]:
    """Our tensors by other names, `scale` folded into B."""
    return {rename(name): (tensor * scale if ".lora_B." in name else tensor).contiguous() for name, tensor in tensors.items()}


def without_prefix(pairs: dict[str, Pair], prefix: str, model: str) -> dict[str, Pair]:
    """A and B of layers by names without `prefix`; `DataError` for one that lacks it."""
    for name in pairs:
        if not name.startswith(prefix):
            raise DataError(f"{name!r:.100} is unexpected: {model}'s layers are {prefix}NAME. Convert the file to it.")
    return {name.removeprefix(prefix): pair for name, pair in pairs.items()}
