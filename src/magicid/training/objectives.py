"""The objectives as formulae: reconstruction for stage one, hybrid preference optimisation (HPO) for stage two.

All take per-video mean squared errors, fp32, (B,): the mean over every dimension but the batch, so that beta does not
depend on the clip's size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def video_error(prediction_BCFHW: Tensor, target_BCFHW: Tensor) -> Tensor:
    """e_theta(x): mean squared error of each video, (B,) fp32."""
    return (prediction_BCFHW.float() - target_BCFHW.float()).square().flatten(1).mean(1)


def preference_gap(win_B: Tensor, lose_B: Tensor, reference_win_B: Tensor, reference_lose_B: Tensor) -> Tensor:
    """The bracket of MagicID Eq. 25: (e_theta(w) - e_ref(w)) - (e_theta(l) - e_ref(l)); negative where the policy prefers w."""
    return (win_B - reference_win_B) - (lose_B - reference_lose_B)


def hpo_loss(gap_B: Tensor, beta: float, kind: str = "sigmoid") -> Tensor:
    """Loss of each pair from its preference gap.

    sigmoid: softplus(beta/2 gap), MagicID Eq. 27 with its sign mended (docs/paper.md), Diffusion-DPO (arXiv:2311.12908) Eq. 14.
    ipo:     (beta/2 gap + 1/2)^2, arXiv:2310.12036 Eq. 17 with the margin 1/2 in the same units.
    hinge:   relu(1 + beta/2 gap), arXiv:2305.10425.
    """
    logit = 0.5 * beta * gap_B
    if kind == "sigmoid":
        return F.softplus(logit)
    if kind == "ipo":
        return (logit + 0.5).square()
    if kind == "hinge":
        return F.relu(1 + logit)
    raise ValueError(f"loss {kind!r} is unknown; choose sigmoid, ipo or hinge.")


@dataclass(frozen=True)
class Preference:
    """One evaluated batch of pairs: losses (B,) with gradients, and what is logged of them."""

    loss: Tensor
    numbers: dict[str, float]


def preference(
    win_B: Tensor,
    lose_B: Tensor,
    reference_win_B: Tensor,
    reference_lose_B: Tensor,
    moving_B: Tensor,
    beta: float,
    kind: str = "sigmoid",
    winner_guard: float = 0.0,
) -> Preference:
    """HPO with its guard: winner_guard * relu(e_theta(w) - e_ref(w)) on pairs whose winner moves (`moving_B`, 1 or 0).

    Margin alone can be won by raising the loser's error while the winner's rises too; the guard forbids the second half.
    """
    gap = preference_gap(win_B, lose_B, reference_win_B, reference_lose_B)
    drift = win_B - reference_win_B
    loss = hpo_loss(gap, beta, kind) + winner_guard * moving_B * F.relu(drift)
    with torch.no_grad():
        numbers = {
            "win": win_B.mean(),
            "lose": lose_B.mean(),
            "win_drift": drift.mean(),
            "lose_drift": (lose_B - reference_lose_B).mean(),
            "margin": -gap.mean(),
            "accuracy": (gap < 0).float().mean(),
            "gradient_factor": torch.sigmoid(0.5 * beta * gap).mean(),
        }
    return Preference(loss, {name: float(value) for name, value in numbers.items()})
