"""The preference loss is ln 2 where policy and reference agree, and pulls winners and losers apart."""

import math

import pytest
import torch
from torch import Tensor

from magicid.training.objectives import hpo_loss, preference, preference_gap, video_error

ZEROS = torch.zeros(3)
BETAS = [1.0, 500.0, 5000.0]


def errors(seed: int = 0) -> tuple[Tensor, Tensor]:
    win, lose = torch.rand(2, 3, generator=torch.Generator().manual_seed(seed))
    return win.requires_grad_(), lose.requires_grad_()


@pytest.mark.parametrize("beta", BETAS)
def test_the_loss_at_the_reference_is_ln_2(beta: float) -> None:
    win, lose = errors()
    result = preference(win, lose, win.detach(), lose.detach(), torch.ones(3), beta, winner_guard=1.0)
    assert torch.equal(result.loss, torch.log(torch.tensor(2.0)).expand(3))
    assert result.numbers["margin"] == 0 and result.numbers["gradient_factor"] == 0.5


@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "hinge"])
@pytest.mark.parametrize("beta", BETAS)
def test_a_step_lowers_the_winners_error_and_raises_the_losers(kind: str, beta: float) -> None:
    win, lose = errors()
    preference(win, lose, win.detach(), lose.detach(), ZEROS, beta, kind).loss.sum().backward()
    assert win.grad is not None and lose.grad is not None
    assert (win.grad > 0).all() and (lose.grad < 0).all()
    assert torch.equal(win.grad, -lose.grad)


def test_the_gradient_dies_on_pairs_that_are_satisfied() -> None:
    gap = torch.tensor([0.0, -0.01, -0.05, -0.2, -10.0], requires_grad=True)
    hpo_loss(gap, 500.0).sum().backward()
    assert gap.grad is not None and (gap.grad.diff() <= 0).all() and gap.grad[0] == 125 and gap.grad[-1] == 0


def test_the_loss_is_finite_and_positive_however_wide_the_gap() -> None:
    loss = hpo_loss(torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4]), 5000.0)
    assert torch.isfinite(loss).all() and (loss >= 0).all() and (loss.diff() > 0)[1:].all()


@pytest.mark.parametrize("gap", [-0.01, 0.0, 0.003])
def test_each_loss_is_its_formula(gap: float) -> None:
    logit = 250 * gap
    values = {"sigmoid": -math.log(1 / (1 + math.exp(logit))), "ipo": (logit + 0.5) ** 2, "hinge": max(0, 1 + logit)}
    for kind, value in values.items():
        assert float(hpo_loss(torch.tensor([gap]), 500.0, kind)) == pytest.approx(value, rel=1e-5), kind


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="'dpo' is unknown; choose sigmoid, ipo or hinge"):
        hpo_loss(ZEROS, 1.0, "dpo")


def test_the_gap_is_negative_where_the_policy_prefers_the_winner() -> None:
    one = torch.ones(1)
    assert preference_gap(0.9 * one, one, one, one) < 0 and preference_gap(one, 1.1 * one, one, one) < 0
    assert preference_gap(1.2 * one, 1.2 * one, one, one) == 0


def test_the_error_is_a_mean_so_beta_does_not_depend_on_the_clips_size() -> None:
    small = torch.randn(2, 4, 3, 8, 8)
    for repeats in [(1, 1, 1, 2, 2), (1, 1, 5, 1, 1), (1, 3, 1, 1, 1)]:
        large = small.repeat(repeats)
        torch.testing.assert_close(video_error(large, torch.zeros_like(large)), video_error(small, torch.zeros_like(small)))


def test_each_video_has_its_own_error_in_fp32() -> None:
    prediction, target = torch.randn(2, 3, 4, 2, 5, 5, dtype=torch.bfloat16)
    error = video_error(prediction, target)
    assert error.dtype == torch.float32 and error.shape == (3,)
    assert torch.equal(error[1:2], video_error(prediction[1:2], target[1:2]))


def guard(win: float, moving: float) -> float:
    """What the guard adds to the loss of one pair whose reference error is 1 on both sides."""
    one = torch.ones(1)
    pair = (win * one, one, one, one, moving * one, 500.0, "sigmoid")
    return float(preference(*pair, winner_guard=2.0).loss - preference(*pair).loss)


def test_the_guard_costs_nothing_while_the_winners_error_does_not_rise() -> None:
    assert guard(1.0, moving=1) == guard(0.9, moving=1) == 0


def test_the_guard_leaves_pairs_that_do_not_move_alone() -> None:
    assert guard(1.1, moving=0) == 0


def test_the_guard_charges_a_moving_winner_for_its_rise() -> None:
    assert guard(1.01, moving=1) == pytest.approx(2.0 * 0.01, rel=1e-4)


def test_the_log_tells_both_sides_apart() -> None:
    one = torch.ones(2)
    numbers = preference(1.1 * one, 1.3 * one, one, one, ZEROS[:2], 500.0).numbers
    assert numbers["win_drift"] == pytest.approx(0.1) and numbers["lose_drift"] == pytest.approx(0.3)
    assert numbers["accuracy"] == 1 and numbers["margin"] == pytest.approx(0.2)
