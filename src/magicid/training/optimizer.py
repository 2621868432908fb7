"""The optimiser of the loop: AdamW, and Muon for the matrices that a pattern names; its state travels as named tensors.

Muon (Jordan 2024, scaled as in arXiv:2502.16982) makes each matrix's momentum orthogonal before it is added: networks
trained from nothing need fewer steps. Adapters, thin matrices of which one starts at zero, keep AdamW. Left out on
purpose: `torch.optim.Muon`, which iterates one matrix at a time, in bf16 everywhere, also where that is slow.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from magicid.core.device import fast_dtype


def orthogonalize(matrices_NRC: Tensor, iterations: int = 5) -> Tensor:
    """About the nearest matrix with orthonormal rows of each (N, R, C) with R <= C, by Newton-Schulz iterations."""
    a, b, c = 3.4445, -4.7750, 2.0315  # steepest at 0: singular values end within 0.7..1.2
    x: Tensor = matrices_NRC / (matrices_NRC.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.to(fast_dtype(x.device))  # Newton-Schulz is robust to rounding: bf16 is what Muon's author iterates in
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(matrices_NRC.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; matrices of one shape are updated as one batch. The rate is that of AdamW."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(tuple(sorted(parameter.shape)), []).append(parameter)
            for shape, matrices in shapes.items():
                directions = torch.stack([_wide(self._momentum(matrix, group["momentum"])) for matrix in matrices])
                scale = group["lr"] * 0.2 * max(shape) ** 0.5  # as large as AdamW's update is
                for matrix, direction in zip(matrices, orthogonalize(directions), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(direction if matrix.shape[0] <= matrix.shape[1] else direction.mT, alpha=-scale)

    def _momentum(self, matrix: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov's look-ahead of the running mean."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        running: Tensor = state["momentum"].lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(running, momentum)


def _wide(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT


class Optimizer:
    """Updates `parameters` (name -> tensor) in place; those whose name matches the pattern `muon` must be matrices."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.999),
        muon: str = "",
    ) -> None:
        matrices = [name for name in parameters if muon and re.search(muon, name)]
        others = [name for name in parameters if name not in set(matrices)]
        self._parts: list[tuple[list[str], torch.optim.Optimizer]] = []
        if others:
            values = [parameters[name] for name in others]
            adam = torch.optim.AdamW(values, lr=learning_rate, weight_decay=weight_decay, betas=betas, fused=True)
            self._parts.append((others, adam))
        if matrices:
            self._parts.append((matrices, Muon([parameters[name] for name in matrices], learning_rate, weight_decay)))

    def step(self, rate: float) -> None:
        """One update with this learning rate."""
        for _, optimizer in self._parts:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for _, optimizer in self._parts:
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """All that a resumed run needs: "parameter:key" -> tensor."""
        return {
            f"{names[index]}:{key}": torch.as_tensor(value)
            for names, optimizer in self._parts
            for index, entry in optimizer.state_dict()["state"].items()
            for key, value in entry.items()
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave."""
        entries: dict[str, dict[str, Tensor]] = {}
        for label, tensor in tensors.items():
            name, key = label.rsplit(":", 1)
            entries.setdefault(name, {})[key] = tensor
        for names, optimizer in self._parts:
            state = {index: entries[name] for index, name in enumerate(names) if name in entries}
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
