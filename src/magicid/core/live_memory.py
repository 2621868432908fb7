"""The most bytes of tensors that are alive at once inside a block of code, counted as they are made and freed, and its FLOPs.

Unlike the process's resident memory this is exact and the same on every machine: no allocator, no other thread. What a
kernel allocates for itself inside is not seen. Tensors without data (torch's fake ones) are counted like others.
"""

import weakref
from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class LiveMemory(TorchDispatchMode):
    """`peak`: of all tensors that are not in `known`; `peak_of_activations`: of those, the ones whose shape is not in `apart`.

    `flops`: of matrix products, convolutions and attentions, a multiplication and an addition being two.
    """

    def __init__(self, known: Iterable[Tensor], apart: Collection[tuple[int, ...]] = ()) -> None:
        super().__init__()
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._apart = set(apart)
        self._alive: dict[int, tuple[int, int]] = {}  # storage -> bytes, and bytes that are activations
        self._now = [0, 0]
        self.peak = self.peak_of_activations = self.flops = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        """Do what was asked and note what came out."""
        result = function(*arguments, **(named or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor)
        self.flops += _flops(getattr(function, "_overloadpacket", None), arguments, named or {}, result)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive or key in self._known:
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


def _flops(packet: Any, arguments: Any, named: Any, result: Any) -> int:
    """Of one operation; torch's table lacks the CPU's fused attention."""
    if packet == FORWARD:
        return int(sdpa_flop_count(*(tensor.shape for tensor in arguments[:3])))
    if packet == BACKWARD:
        return int(sdpa_backward_flop_count(*(tensor.shape for tensor in arguments[:4])))
    return int(flop_registry[packet](*arguments, **named, out_val=result)) if packet in flop_registry else 0
