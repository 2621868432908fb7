"""The objectives as formulae: reconstruction for stage one, hybrid preference optimisation (HPO) for stage two.

All take per-video mean squared errors, fp32, (B,): the mean over every dimension but the batch, so that beta does not
depend on the clip's size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 4  # of time, in the log


def video_error(prediction_BCFHW: Tensor, target_BCFHW: Tensor, mask_BFHW: Tensor | None = None) -> Tensor:
    """e_theta(x): mean squared error of each video, (B,) fp32; over what the mask (0 or 1) holds, where there is one."""
    squares = (prediction_BCFHW.float() - target_BCFHW.float()).square()
    if mask_BFHW is None:
        return squares.flatten(1).mean(1)
    return (squares.mean(1) * mask_BFHW).flatten(1).sum(1) / mask_BFHW.flatten(1).sum(1).clamp(min=1)


@dataclass(frozen=True)
class Errors:
    """e(x) of the winner and the loser of each pair, by the policy and by the reference; (B,) fp32."""

    win: Tensor
    lose: Tensor
    reference_win: Tensor
    reference_lose: Tensor

    @property
    def win_drift(self) -> Tensor:
        """e_theta(w) - e_ref(w)."""
        return self.win - self.reference_win

    @property
    def lose_drift(self) -> Tensor:
        """e_theta(l) - e_ref(l)."""
        return self.lose - self.reference_lose

    @property
    def gap(self) -> Tensor:
        """The bracket of MagicID Eq. 25, negative where the policy prefers the winner."""
        return self.win_drift - self.lose_drift


@dataclass(frozen=True)
class Objective:
    """Which loss, how steep, and its guards."""

    beta: float = 500.0
    kind: str = "sigmoid"  # or "ipo", "hinge"
    winner_guard: float = 0.0  # weight of relu(e(w) - e_ref(w)) on winners that move
    logit_clamp: float = 0.0  # pairs whose |beta/2 gap| is above it give no gradient; 0: none
    winner_anchor: float = 0.0  # weight of e(w) - e_ref(w) on moving winners: they are learnt besides being preferred


def hpo_loss(gap_B: Tensor, objective: Objective) -> Tensor:
    """Loss of each pair from its preference gap.

    sigmoid: softplus(beta/2 gap), MagicID Eq. 27 with its sign mended (docs/paper.md), Diffusion-DPO (arXiv:2311.12908) Eq. 14.
    ipo:     (beta/2 gap + 1/2)^2, arXiv:2310.12036 Eq. 17 with the margin 1/2 in the same units.
    hinge:   relu(1 + beta/2 gap), arXiv:2305.10425.
    """
    logit = 0.5 * objective.beta * gap_B
    if objective.logit_clamp:
        logit = logit.clamp(-objective.logit_clamp, objective.logit_clamp)
    if objective.kind == "sigmoid":
        return F.softplus(logit)
    if objective.kind == "ipo":
        return (logit + 0.5).square()
    if objective.kind == "hinge":
        return F.relu(1 + logit)
    raise ValueError(f"loss {objective.kind!r} is unknown; choose sigmoid, ipo or hinge.")


def pair_loss(errors: Errors, moving_B: Tensor, objective: Objective) -> Tensor:
    """HPO with its guard and its anchor, both on pairs whose winner moves alone (`moving_B`, 1 or 0).

    Margin alone can be won by raising the loser's error while the winner's rises too. The guard, winner_guard *
    relu(e_theta(w) - e_ref(w)), forbids the second half; the anchor, winner_anchor * (e_theta(w) - e_ref(w)), also lowers it.
    """
    drift = errors.win_drift
    return hpo_loss(errors.gap, objective) + moving_B * (objective.winner_guard * F.relu(drift) + objective.winner_anchor * drift)


def weighed(errors: Errors, moving_B: Tensor, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
    """Each pair's loss, dL/de(w) and dL/de(l): all of the loss that the model's backward passes need to know."""
    win, lose = errors.win.detach().requires_grad_(), errors.lose.detach().requires_grad_()
    loss = pair_loss(Errors(win, lose, errors.reference_win, errors.reference_lose), moving_B, objective)
    win_weight, lose_weight = torch.autograd.grad(loss.sum(), (win, lose))
    return loss.detach(), win_weight, lose_weight


def loser_scale(win_gradient: Sequence[Tensor], lose_gradient: Sequence[Tensor], mu: float) -> Tensor:
    """lambda = min(1, mu |g_w|^2 / <g_w, g_l>) where <g_w, g_l> > 0, else 1: Diffusion-SDPO's safeguard (arXiv:2511.03317).

    g_w and -g_l are the loss's gradients through the winners and through the losers (`lose_gradient` holds -g_l). A step
    along -(g_w - lambda g_l) changes the winners' weighted error by -|g_w|^2 + lambda <g_w, g_l> <= -(1 - mu) |g_w|^2 to
    first order. That work takes the product in the space of the model's output; here it is the adapter's own.
    """
    inner = -sum(((w * lose).sum() for w, lose in zip(win_gradient, lose_gradient, strict=True)), torch.zeros(()))
    square = sum((w.square().sum() for w in win_gradient), torch.zeros(()))
    return torch.where(inner > 0, (mu * square / inner).clamp(max=1.0), 1.0)


def automatic_beta(reference_error_B: Tensor, gap: float) -> float:
    """The beta at which the logit is -1 (a gradient factor of 0.27, down from 0.5) once the gap is -`gap` of the median error.

    beta/2 * gap * median(e_ref) = 1. Errors, and with them the betas that suit, differ tenfold between models and targets.
    """
    return 2.0 / (gap * float(reference_error_B.median()))


def gradient_factor(gap_B: Tensor, objective: Objective) -> Tensor:
    """What is left of each pair's gradient, as a share of beta/2: for the sigmoid, sigmoid(beta/2 gap)."""
    gap = gap_B.detach().requires_grad_()
    (slope,) = torch.autograd.grad(hpo_loss(gap, objective).sum(), gap)
    return slope * (2 / objective.beta)


def measures(errors: Errors, t_B: Tensor, objective: Objective) -> dict[str, float]:
    """What a step's pairs say of the training, in numbers for the log.

    Means over the pairs, and over those of each quarter of time ("margin_q1": the cleanest). Implicit accuracy near 1 is no
    success by itself: `loser_dominance` is the share of pairs whose margin comes from the loser's error rising while the
    winner's rises too.
    """
    gap, win_drift, lose_drift = errors.gap, errors.win_drift, errors.lose_drift
    of_pairs = {
        "win": errors.win,
        "lose": errors.lose,
        "reference_win": errors.reference_win,
        "reference_lose": errors.reference_lose,
        "win_drift": win_drift,
        "lose_drift": lose_drift,
        "margin": -gap,
        "accuracy": (gap < 0).float(),
        "gradient_factor": gradient_factor(gap, objective),
        "loser_dominance": ((gap < 0) & (win_drift > 0)).float(),
    }
    table = torch.stack([value.float().cpu() for value in of_pairs.values()])
    quarters = (t_B.cpu() * BINS).long().clamp(0, BINS - 1)
    chosen = {"": torch.ones_like(quarters, dtype=torch.bool)}
    chosen |= {f"_q{quarter + 1}": quarters == quarter for quarter in quarters.unique().tolist()}
    return {
        f"{name}{end}": value
        for end, which in chosen.items()
        for name, value in zip(of_pairs, table[:, which].mean(1).tolist(), strict=True)
    }
