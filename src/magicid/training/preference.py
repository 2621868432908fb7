"""The engine of stage two: a step's pairs in, the HPO loss and its gradient in the policy's weights out.

One base model in memory with two adapters, policy and reference. Winner and loser of a pair share noise and time. Policy
and reference go through the same kernels in batches of the same shape, so that at theta = reference the logit is 0 to the
last bit. What the loss asks of the model is a weighted sum of the gradients of e(w) and e(l). With `chunk` 1 these are
taken apart, video by video, the winner's before its weight is known: no more than one video's activations are in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from magicid.core.interfaces import Family
from magicid.training import lora
from magicid.training.objectives import Errors, Objective, loser_scale, measures, weighed
from magicid.training.pair_data import PairData
from magicid.training.reference import Look, Reference, Seen, see
from magicid.training.timesteps import Draws

POLICY, REFERENCE = "policy", "reference"


@dataclass(frozen=True)
class Part:
    """Pairs that are evaluated together, and what the reference sees in them. Video by video, they have one winner."""

    pairs: list[int]
    winners: list[Look]
    losers: list[Look]
    reference_winners: Seen
    reference_losers: Seen


class PairStep:
    """Evaluates batches of pairs."""

    def __init__(
        self,
        family: Family,
        data: PairData,
        objective: Objective,
        reference: str | None = REFERENCE,  # an adapter; None: the base model alone
        chunk: int = 0,  # pairs whose activations are in memory together; 0: all of a step, 1: video by video
        safeguard: float = 0.0,  # mu of `loser_scale`; 0: none
        keep: bool = False,  # the reference's errors; for fixed draws and chunk 1
    ) -> None:
        self.objective = objective
        self._family, self._data, self._chunk, self._safeguard = family, data, chunk, safeguard
        self._reference = Reference(family, data, reference, keep)
        self._parameters = list(lora.parameters(family, POLICY).values())

    def __call__(self, groups: Sequence[list[int]], draws: Draws, taken: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
        """Mean loss of the pairs in `groups`, each of which took one of the draws, and numbers for the log.

        The loss's gradient in the policy's weights is worked out already: `backward` only hands it over.
        """
        parts = self._ask(groups, draws, taken)
        through_winners = [torch.zeros_like(p) for p in self._parameters]
        through_losers = [torch.zeros_like(p) for p in self._parameters] if self._safeguard else through_winners
        evaluate = self._apart if self._chunk == 1 else self._together
        with lora.using(self._family, POLICY):
            shown = [evaluate(part, draws, through_winners, through_losers) for part in parts]
        loss, win, lose, win_square, lose_square = torch.cat(shown, 1)
        guarded = {}
        if self._safeguard:
            guarded["loser_scale"] = float(loser_scale(through_winners, through_losers, self._safeguard))
            torch._foreach_add_(through_winners, through_losers, alpha=guarded["loser_scale"])
        torch._foreach_div_(through_winners, len(loss))

        winners, losers = _joined([part.reference_winners for part in parts]), _joined([part.reference_losers for part in parts])
        t = draws.t[[look.draw for part in parts for look in part.winners]].to(loss.device)
        numbers = measures(Errors(win, lose, winners.error, losers.error), t, self.objective)
        squares = (win_square + lose_square).sum() / (winners.square + losers.square).sum()
        numbers |= guarded | {"norm_ratio": float(squares.sqrt()), "beta": self.objective.beta}
        return _Given.apply(loss.mean(), through_winners, *self._parameters), numbers  # type: ignore[no-untyped-call]

    def reference_errors(self, groups: Sequence[list[int]], draws: Draws, taken: Sequence[int]) -> Tensor:
        """e_ref of all winners and losers of some pairs."""
        parts = self._ask(groups, draws, taken)
        return torch.cat([seen.error for part in parts for seen in (part.reference_winners, part.reference_losers)])

    def _ask(self, groups: Sequence[list[int]], draws: Draws, taken: Sequence[int]) -> list[Part]:
        """The pairs in parts; the reference has been asked about them."""
        drawn = [[(pair, draw) for pair in group] for group, draw in zip(groups, taken, strict=True)]
        if self._chunk != 1:
            flat = list(chain.from_iterable(drawn))
            size = self._chunk or len(flat)
            drawn = [flat[start : start + size] for start in range(0, len(flat), size)]
        data = self._data
        sides = [
            [[Look(videos[pair], data.prompts[pair], draw) for pair, draw in part] for videos in (data.winners, data.losers)]
            for part in drawn
        ]
        answers = iter(self._reference.ask([batch for part in sides for looks in part for batch in self._batches(looks)], draws))

        def known(looks: list[Look]) -> Seen:
            batches = self._batches(looks)
            seen = _joined([next(answers) for _ in batches])
            return _rows(seen, list(chain.from_iterable(batches)), looks)

        return [
            Part([pair for pair, _ in part], winners, losers, known(winners), known(losers))
            for part, (winners, losers) in zip(drawn, sides, strict=True)
        ]

    def _batches(self, looks: list[Look]) -> list[list[Look]]:
        """What goes through the model at once: a video alone, or all winners or losers; each of them once."""
        once = list(dict.fromkeys(looks))
        return [[look] for look in once] if self._chunk == 1 else [once]

    def _together(self, part: Part, draws: Draws, through_winners: list[Tensor], through_losers: list[Tensor]) -> Tensor:
        """All of a part's pairs in one forward pass a side; returns (5, B): loss, e(w), e(l), mean squares of both."""
        win, lose = self._seen(part.winners, draws), self._seen(part.losers, draws)
        loss, win_weight, lose_weight = self._weighed(part, slice(None), win.error, lose.error)
        torch._foreach_add_(through_winners, self._gradient(win.error, win_weight))
        torch._foreach_add_(through_losers, self._gradient(lose.error, lose_weight))
        return torch.stack([loss, win.error.detach(), lose.error.detach(), win.square, lose.square])

    def _seen(self, looks: list[Look], draws: Draws) -> Seen:
        """By the policy, in one forward pass."""
        (once,) = self._batches(looks)
        return _rows(see(self._family, self._data, once, draws), once, looks)

    def _apart(self, part: Part, draws: Draws, through_winners: list[Tensor], through_losers: list[Tensor]) -> Tensor:
        """The same, video by video: the winner once, then each loser, with whose error the pair's weights are known."""
        win, win_gradient = self._winner(part.winners[0], draws)
        total, shown = torch.zeros_like(win.error), []
        for i, look in enumerate(part.losers):
            lose = see(self._family, self._data, [look], draws)
            loss, win_weight, lose_weight = self._weighed(part, slice(i, i + 1), win.error, lose.error)
            torch._foreach_add_(through_losers, self._gradient(lose.error, lose_weight))
            total += win_weight
            shown.append(torch.stack([loss, win.error, lose.error.detach(), win.square, lose.square]))
        torch._foreach_mul_(win_gradient, total[0])
        torch._foreach_add_(through_winners, win_gradient)
        return torch.cat(shown, 1)

    def _winner(self, look: Look, draws: Draws) -> tuple[Seen, list[Tensor]]:
        """A video alone and the gradient of its error, yet without weight; no activation outlives this."""
        seen = see(self._family, self._data, [look], draws)
        return Seen(seen.error.detach(), seen.square), self._gradient(seen.error, torch.ones_like(seen.error))

    def _gradient(self, error_B: Tensor, weight_B: Tensor) -> list[Tensor]:
        """Of the weighted sum of errors, in the policy's weights."""
        return list(torch.autograd.grad(error_B, self._parameters, weight_B, materialize_grads=True))

    def _weighed(self, part: Part, chosen: slice, win: Tensor, lose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each chosen pair's loss, dL/de(w) and dL/de(l)."""
        moving = self._data.moving[part.pairs[chosen]].to(win.device)
        winners, losers = part.reference_winners.error[chosen], part.reference_losers.error[chosen]
        return weighed(Errors(win, lose, winners, losers), moving, self.objective)


def _joined(parts: Sequence[Seen]) -> Seen:
    error, square = zip(*parts, strict=True)
    return Seen(torch.cat(error), torch.cat(square))


def _rows(seen: Seen, batch: Sequence[Look], looks: Sequence[Look]) -> Seen:
    """What was seen of a batch, in the order of `looks`."""
    rows = [batch.index(look) for look in looks]
    return Seen(seen.error[rows], seen.square[rows])


class _Given(torch.autograd.Function):
    """A value whose gradient in the parameters is known already."""

    @staticmethod
    def forward(context: Any, value: Tensor, gradient: Sequence[Tensor], *parameters: Tensor) -> Tensor:  # type: ignore[override]
        """The value."""
        context.gradient = gradient
        return value.clone()

    @staticmethod
    def backward(context: Any, outer: Tensor) -> Any:  # type: ignore[override]
        """The gradient."""
        return None, None, *(outer * gradient for gradient in context.gradient)
