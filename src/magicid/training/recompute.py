"""Activations computed again in the backward pass instead of being kept: less memory for more time.

As torch.utils.checkpoint does it without re-entry, each tensor that would be kept passes through Python; on small models
that took as long as computing again. Here a block is one node of the graph. Nothing in these models is random.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from magicid.core.experts import networks
from magicid.core.placement import blocks

Level = Literal["nothing", "blocks", "attention"]
LATE = 10  # blocks: the attentions of one keep about as much as the inputs of ten


@contextmanager
def recomputing(transformer: nn.Module, level: Level) -> Iterator[None]:
    """Inside the block (of code), forward passes that record gradients keep less.

    nothing:   all is kept.
    blocks:    a block's input is kept, and the block computed again when its gradient is due; but for the last block,
               whose gradient is due at once.
    attention: as well, and in late blocks, behind which the most inputs wait, only the inputs of attentions are kept
               when the block is computed again; each is computed once more.

    What comes out has the same bits, but for "attention" where a block adds an attention's output to the very input of it
    (LTX's cross-attention): that input's gradients are summed in another order.
    """
    with ExitStack() as stack:
        for network in networks(transformer) if level != "nothing" else ():
            stack.enter_context(_recomputing(network, level))
        yield


@contextmanager
def _recomputing(model: Any, level: Level) -> Iterator[None]:
    names = blocks(model)
    late = [model.get_submodule(name) for name in names[-LATE:]] if level == "attention" else []
    inner = [module for block in late for module in block.children() if hasattr(module, "set_processor")]
    last = model.get_submodule(names[-1])
    model.enable_gradient_checkpointing(
        lambda block, *arguments: block(*arguments) if block is last else _again(block, block, *arguments)
    )
    try:
        for module in inner:
            module.forward = partial(_again, module, module.forward)
        yield
    finally:
        for module in inner:
            del module.forward  # the class's own shows again
        model.disable_gradient_checkpointing()


def _again(module: nn.Module, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """`function(*arguments, **named)`, whose graph is one node if there is to be one."""
    if not torch.is_grad_enabled():
        return function(*arguments, **named)
    leaves, spec = tree_flatten((arguments, named))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def call(*tensors: Tensor) -> Any:
        for place, tensor in zip(places, tensors, strict=True):
            leaves[place] = tensor
        arguments, named = tree_unflatten(leaves, spec)
        result = function(*arguments, **named)
        for place in places:
            leaves[place] = None  # the graph alone decides how long they live
        return result

    weights = [p for p in module.parameters() if p.requires_grad]
    return _Again.apply(call, len(places), *(leaves[i] for i in places), *weights)  # type: ignore[no-untyped-call]


class _Again(torch.autograd.Function):
    """A call as one node: of tensors, and of weights that it reads by itself."""

    @staticmethod
    def forward(context: Any, call: Callable[..., Any], count: int, *tensors: Tensor) -> Any:  # type: ignore[override]
        """The call, without a record."""
        context.call, context.weights = call, tensors[count:]
        context.save_for_backward(*tensors[:count])
        kind = tensors[0].device.type
        cached = False  # else a given fp32 tensor is cast once for all its uses, and their gradients are summed in bf16
        context.precision = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind), cached
        return call(*tensors[:count])

    @staticmethod
    def backward(context: Any, *outer: Tensor | None) -> Any:  # type: ignore[override]
        """The call again, with a record, and its gradient."""
        given = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in context.saved_tensors]
        with torch.enable_grad(), torch.autocast(*context.precision):
            result = context.call(*given)
        results = result if isinstance(result, tuple) else (result,)
        pairs = [(value, gradient) for value, gradient in zip(results, outer, strict=True) if gradient is not None]
        values, gradients = zip(*((value, gradient) for value, gradient in pairs if value.requires_grad), strict=True)
        wanted = [tensor for tensor in given if tensor.requires_grad]
        found = iter(torch.autograd.grad(values, [*wanted, *context.weights], gradients, allow_unused=True))
        of_given = [next(found) if tensor.requires_grad else None for tensor in given]
        return None, None, *of_given, *found
