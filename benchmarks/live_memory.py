"""The most bytes of tensors that are alive at once inside a block of code, counted as they are made and freed.

Unlike the process's resident memory this is exact and the same on every machine: no allocator, no other thread. What a
kernel allocates for itself inside is not seen.
"""

import weakref
from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """`peak`: of all tensors that are not in `known`; `peak_of_activations`: of those, the ones whose shape is not in `apart`."""

    def __init__(self, known: Iterable[Tensor], apart: Collection[tuple[int, ...]] = ()) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self._apart = set(apart)
        self._alive: dict[int, tuple[int, int]] = {}  # storage -> bytes, and bytes that are activations
        self._now = [0, 0]
        self.peak = self.peak_of_activations = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        """Do what was asked and note what came out."""
        result = function(*arguments, **(named or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive or storage.data_ptr() in self._known:
            return
        size = storage.nbytes()
        self._alive[key] = (size, 0 if tuple(tensor.shape) in self._apart else size)
        self._add(key, 1)
        self.peak, self.peak_of_activations = max(self.peak, self._now[0]), max(self.peak_of_activations, self._now[1])
        weakref.finalize(storage, self._free, key)

    def _add(self, key: int, sign: int) -> None:
        for i, size in enumerate(self._alive[key]):
            self._now[i] += sign * size

    def _free(self, key: int) -> None:
        self._add(key, -1)
        del self._alive[key]
