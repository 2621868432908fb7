"""The preference loss is ln 2 where policy and reference agree, and pulls winners and losers apart."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from magicid.core.seeds import noise
from magicid.training.objectives import (
    Errors,
    Objective,
    automatic_beta,
    gradient_factor,
    hpo_loss,
    loser_scale,
    measures,
    pair_loss,
    video_error,
    weighed,
)

ZEROS = torch.zeros(3)
BETAS = [1.0, 500.0, 5000.0]
T = torch.tensor([0.1, 0.9, 0.95])


def at_reference(seed: int = 0) -> Errors:
    win, lose = torch.rand(2, 3, generator=torch.Generator().manual_seed(seed))
    return Errors(win, lose, win, lose)


def drifted(win: float, lose: float, count: int = 1) -> Errors:
    """Pairs whose reference errors are 1 on both sides."""
    one = torch.ones(count)
    return Errors((1 + win) * one, (1 + lose) * one, one, one)


@pytest.mark.parametrize("beta", BETAS)
def test_the_loss_at_the_reference_is_ln_2(beta: float) -> None:
    errors = at_reference()
    loss = pair_loss(errors, torch.ones(3), Objective(beta, winner_guard=1.0, logit_clamp=3.0))
    assert torch.equal(loss, torch.log(torch.tensor(2.0)).expand(3))
    numbers = measures(errors, T, Objective(beta))
    assert numbers["margin"] == 0 and numbers["gradient_factor"] == 0.5


@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "hinge"])
@pytest.mark.parametrize("beta", BETAS)
def test_a_step_lowers_the_winners_error_and_raises_the_losers(kind: str, beta: float) -> None:
    _, win_weight, lose_weight = weighed(at_reference(), ZEROS, Objective(beta, kind))
    assert (win_weight > 0).all() and (lose_weight < 0).all()
    assert torch.equal(win_weight, -lose_weight)


def test_the_gradient_dies_on_pairs_that_are_satisfied() -> None:
    gap = torch.tensor([0.0, -0.01, -0.05, -0.2, -10.0], requires_grad=True)
    hpo_loss(gap, Objective(500.0)).sum().backward()
    assert gap.grad is not None and (gap.grad.diff() <= 0).all() and gap.grad[0] == 125 and gap.grad[-1] == 0


def test_the_loss_is_finite_and_positive_however_wide_the_gap() -> None:
    loss = hpo_loss(torch.tensor([-1e4, -1.0, 0.0, 1.0, 1e4]), Objective(5000.0))
    assert torch.isfinite(loss).all() and (loss >= 0).all() and (loss.diff() > 0)[1:].all()


@pytest.mark.parametrize("gap", [-0.01, 0.0, 0.003])
def test_each_loss_is_its_formula(gap: float) -> None:
    logit = 250 * gap
    values = {"sigmoid": -math.log(1 / (1 + math.exp(logit))), "ipo": (logit + 0.5) ** 2, "hinge": max(0, 1 + logit)}
    for kind, value in values.items():
        assert float(hpo_loss(torch.tensor([gap]), Objective(500.0, kind))) == pytest.approx(value, rel=1e-5), kind


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="'dpo' is unknown; choose sigmoid, ipo or hinge"):
        hpo_loss(ZEROS, Objective(kind="dpo"))


def test_the_gap_is_negative_where_the_policy_prefers_the_winner() -> None:
    assert drifted(-0.1, 0).gap < 0 and drifted(0, 0.1).gap < 0
    assert drifted(0.2, 0.2).gap == 0


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
    """What the guard adds to the loss of one pair whose winner's error has risen by so much."""
    objective = Objective(500.0, winner_guard=2.0)
    pair = drifted(win, 0), moving * torch.ones(1)
    return float(pair_loss(*pair, objective) - pair_loss(*pair, replace(objective, winner_guard=0.0)))


def test_the_guard_costs_nothing_while_the_winners_error_does_not_rise() -> None:
    assert guard(0.0, moving=1) == guard(-0.1, moving=1) == 0


def test_the_guard_leaves_pairs_that_do_not_move_alone() -> None:
    assert guard(0.1, moving=0) == 0


def test_the_guard_charges_a_moving_winner_for_its_rise() -> None:
    assert guard(0.01, moving=1) == pytest.approx(2.0 * 0.01, rel=1e-4)


@pytest.mark.parametrize("moving", [0.0, 1.0])
def test_the_anchor_pulls_at_moving_winners_alone_and_the_loss_at_the_reference_is_still_log_two(moving: float) -> None:
    objective = Objective(500.0, winner_anchor=3.0)
    loss, win, lose = weighed(drifted(0, 0), moving * torch.ones(1), objective)
    assert float(loss) == pytest.approx(math.log(2)) and float(lose) == -125
    assert float(win) == 125 + 3 * moving


@pytest.mark.parametrize("kind", ["sigmoid", "ipo", "hinge"])
def test_pairs_beyond_the_clamp_give_no_gradient_and_others_their_own(kind: str) -> None:
    gap = torch.tensor([-0.1, -0.001, 0.0, 0.001, 0.1])  # logits -25, -.25, 0, .25, 25
    errors = Errors(1 + gap, torch.ones(5), torch.ones(5), torch.ones(5))
    _, free, _ = weighed(errors, torch.zeros(5), Objective(500.0, kind))
    _, clamped, _ = weighed(errors, torch.zeros(5), Objective(500.0, kind, logit_clamp=2.0))
    assert torch.equal(clamped[1:4], free[1:4]) and clamped[0] == clamped[4] == 0 and free[4] > 0
    left = gradient_factor(errors.gap, Objective(500.0, kind, logit_clamp=2.0))
    assert torch.allclose(left, clamped * (2 / 500.0)), "the log tells the gradient that there is"


def flat(*numbers: float) -> list[Tensor]:
    """A gradient in two parameters."""
    return [torch.tensor(numbers[:1]), torch.tensor(numbers[1:])]


@pytest.mark.parametrize("mu", [0.3, 1.0])
@pytest.mark.parametrize("seed", range(20))
def test_the_safeguard_never_raises_the_winners_error_to_first_order(seed: int, mu: float) -> None:
    drawn = torch.Generator().manual_seed(seed)
    win = torch.randn(4, generator=drawn)
    lose = -3 * (win + torch.randn(4, generator=drawn))  # descent along it raises losers, and winners with them
    scale = loser_scale(flat(*win.tolist()), flat(*lose.tolist()), mu)
    change = -win @ (win + scale * lose)
    assert 0 < scale <= 1 and change <= -(1 - mu) * win @ win + 1e-5


def test_the_safeguard_leaves_a_step_alone_that_lowers_the_winners_error_enough() -> None:
    assert loser_scale(flat(1, 0, 0), flat(5, 0, 1), 1.0) == 1  # the loser's gradient helps the winner
    assert loser_scale(flat(1, 0, 0), flat(0, 7, 0), 1.0) == 1  # it does not concern it
    assert loser_scale(flat(1, 0, 0), flat(-0.5, 7, 0), 1.0) == 1  # it hurts it, but less than the winner's own helps
    assert loser_scale(flat(1, 0, 0), flat(-4, 7, 0), 1.0) == 0.25
    assert loser_scale(flat(0, 0, 0), flat(0, 0, 0), 1.0) == 1


def test_automatic_beta_makes_the_stated_gap_a_logit_of_1() -> None:
    errors = torch.tensor([0.2, 0.1, 0.4])
    beta = automatic_beta(errors, gap=0.05)
    factor = measures(drifted(-0.05 * 0.2, 0), T[:1], Objective(beta))["gradient_factor"]
    assert factor == pytest.approx(1 / (1 + math.e), rel=1e-4)
    assert automatic_beta(10 * errors, 0.05) == pytest.approx(beta / 10)


def test_the_log_tells_both_sides_apart() -> None:
    numbers = measures(drifted(0.1, 0.3, 2), T[:2], Objective(500.0))
    assert numbers["win_drift"] == pytest.approx(0.1) and numbers["lose_drift"] == pytest.approx(0.3)
    assert numbers["win"] == pytest.approx(1.1) and numbers["reference_lose"] == 1
    assert numbers["accuracy"] == 1 and numbers["margin"] == pytest.approx(0.2)


@pytest.mark.parametrize(("win", "lose", "share"), [(0.1, 0.3, 1), (-0.1, 0.3, 0), (-0.3, -0.1, 0), (0.3, 0.1, 0)])
def test_a_loser_dominates_where_its_rise_makes_the_margin_while_the_winners_error_rises(
    win: float, lose: float, share: float
) -> None:
    assert measures(drifted(win, lose), T[:1], Objective(500.0))["loser_dominance"] == share


def test_numbers_are_told_by_quarters_of_time_too_and_only_those_that_were_seen() -> None:
    one = torch.ones(4)
    errors = Errors(one + torch.tensor([0.1, 0.2, 0.4, 0.3]), one, one, one)
    numbers = measures(errors, torch.tensor([0.0, 0.8, 1.0, 0.3]), Objective(1.0))
    assert {name: round(value, 3) for name, value in numbers.items() if name.startswith("win_drift_")} == {
        "win_drift_q1": 0.1, "win_drift_q2": 0.3, "win_drift_q4": 0.3,
    }  # fmt: skip
    assert numbers["lose_drift_q4"] == 0 and "lose_drift_q3" not in numbers
    assert numbers["margin_q4"] == pytest.approx(-0.3) and numbers["gradient_factor_q1"] == pytest.approx(0.5125, abs=1e-4)


def test_an_error_outside_of_the_person_does_not_count() -> None:
    target, mask = noise((2, 3, 2, 4, 4), 0, "target"), torch.zeros(2, 2, 4, 4)
    mask[:, :, :2] = 1
    prediction = target.clone()
    prediction[:, :, :, 2:] += 9
    assert video_error(prediction, target, mask).tolist() == [0, 0]
    prediction[1, :, :, :2] += 2
    assert video_error(prediction, target, mask).tolist() == pytest.approx([0, 4])


def test_a_mask_of_everything_is_no_mask_and_an_empty_one_no_error() -> None:
    a, b = noise((2, 3, 2, 4, 4), 0, "a"), noise((2, 3, 2, 4, 4), 0, "b")
    torch.testing.assert_close(video_error(a, b, torch.ones(2, 2, 4, 4)), video_error(a, b))
    assert video_error(a, b, torch.zeros(2, 2, 4, 4)).tolist() == [0, 0]
