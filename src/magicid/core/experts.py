"""Two transformers on one path from noise to clean, the first for its noisy part (Wan 2.2): to all others, one module.

Their weights are told apart by name, "high.blocks.0..." and "low.blocks.0...". Left out: more than two, and weights shared.
"""

from typing import Any

import torch
from torch import Tensor, nn


class Experts(nn.Module):
    """Sends each row of a batch to the expert of its time; any other call, as for adapters, goes to both."""

    def __init__(self, high: nn.Module, low: nn.Module, boundary: float) -> None:
        super().__init__()
        self.high, self.low = high, low
        self.boundary = boundary  # timestep, of 1,000, from which on `high` works

    def forward(self, hidden_states: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, **named: Any) -> tuple[Tensor]:
        """The predictions (B, C, F, H, W) at `timestep` (B,)."""
        found, noisy = torch.empty_like(hidden_states), timestep >= self.boundary
        for expert, rows in ((self.high, noisy), (self.low, ~noisy)):
            if rows.any():
                found[rows] = expert(hidden_states[rows], timestep[rows], encoder_hidden_states[rows], **named)[0].to(found.dtype)
        return (found,)

    def __getattr__(self, name: str) -> Any:
        """A method calls both experts'; what is no method is that of `high`."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            own = [getattr(expert, name) for expert in (self.high, self.low)]

        def both(*given: Any, **named: Any) -> Any:
            first, _ = [call(*given, **named) for call in own]
            return first

        return both if callable(own[0]) else own[0]


def networks(transformer: nn.Module) -> tuple[nn.Module, ...]:
    """The experts, or the transformer itself where it has none."""
    return (transformer.high, transformer.low) if isinstance(transformer, Experts) else (transformer,)
