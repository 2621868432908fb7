"""Whatever a log holds is shown once, and smoothing neither invents nor hides."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from magicid.metrics.dashboard import PANELS, POINTS, _outline, _panels, constants, dashboard, smoothed, verdict
from magicid.training.objectives import Errors, Objective, measures

NAMES = ("loss", "win_drift", "lose_drift", "accuracy", "win_drift_q1", "win_drift_q4", "something_new")


def log(steps: int = 300, names: tuple[str, ...] = NAMES) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [{"step": s} | {name: float(rng.uniform(0.1, 1)) for name in names} | {"learning_rate": 1e-4} for s in range(steps)]


def test_every_number_that_changes_is_in_one_panel() -> None:
    shown = [name for panel in _panels(log()) for name in panel.names]
    assert sorted(shown) == sorted(NAMES)


def test_numbers_by_noise_level_share_a_plot_and_the_unknown_have_their_own() -> None:
    panels = {panel.title: panel.names for panel in _panels(log())}
    assert panels["Win drift by noise"] == ("win_drift_q1", "win_drift_q4")
    assert panels["Error less the reference's"] == ("win_drift", "lose_drift")
    assert panels["Something new"] == ("something_new",)
    assert _panels(log(names=("loss_q1", "loss_q2")))[0].title == "Loss by noise"


def test_what_never_changes_is_said_and_not_drawn() -> None:
    assert constants(log()) == "Constant throughout: learning rate 0.0001."
    assert constants(log(names=())[:1]) == ""


def test_a_number_of_one_noise_level_has_its_curve_even_where_it_never_changes() -> None:
    lines = [{"step": step, "loss": float(step), "accuracy_q1": 1.0, "accuracy_q2": step / 9} for step in range(9)]
    assert constants(lines) == ""
    assert {panel.title: panel.names for panel in _panels(lines)}["Accuracy by noise"] == ("accuracy_q1", "accuracy_q2")
    assert all("learning_rate" not in panel.names for panel in _panels(log()))


@pytest.mark.parametrize("steps", [1, 2, 40, 1000])
def test_logs_of_any_length_give_a_plot_for_each_panel(steps: int) -> None:
    plots = list(dashboard(log(steps, NAMES[:4]), "x"))
    assert len(plots) >= 3 and all(plot.startswith("<svg") and "</svg>" in plot for _, plot, _ in plots)


def test_gaps_and_what_is_no_number_are_left_out() -> None:
    lines = log(50, ("loss",))
    lines[3]["loss"], lines[4]["loss"], lines[5]["loss"] = math.nan, None, math.inf
    del lines[6]["loss"]
    lines[7]["note"] = "text"
    assert [panel.names for panel in _panels(lines)] == [("loss",)]
    assert len(list(dashboard(lines, "x"))) == 1
    assert list(dashboard([{"step": 0, "loss": math.nan}], "x")) == [] == list(dashboard([], "x"))


def test_a_panel_is_made_only_for_what_a_training_logs() -> None:
    measured = measures(Errors(*torch.ones(4, 2)), torch.tensor([0.1, 0.9]), Objective(beta=1.0))
    by_the_loop_and_the_engine = {"loss", "grad_norm", "norm_ratio"}
    assert {name for panel in PANELS for name in panel.names} <= measured.keys() | by_the_loop_and_the_engine


@pytest.mark.parametrize("seed", range(5))
def test_smoothing_keeps_a_constant_and_stays_within_the_values(seed: int) -> None:
    x = np.sort(np.random.default_rng(seed).uniform(0, 500, 200))
    y = np.random.default_rng(seed + 1).normal(size=200)
    at = np.linspace(x[0], x[-1], 60)
    assert smoothed(x, np.full(200, 3.5), at) == pytest.approx(3.5)
    smooth = smoothed(x, y, at)
    assert y.min() <= smooth.min() and smooth.max() <= y.max() and smooth.std() < 0.5 * y.std()
    assert smoothed(x, 2 * y, at) == pytest.approx(2 * smooth)


@pytest.mark.parametrize("seed", range(5))
def test_thinning_keeps_the_order_and_every_extreme(seed: int) -> None:
    points = np.stack([np.arange(5000.0), np.random.default_rng(seed).normal(size=5000)], 1)
    thin = _outline(points)
    assert len(thin) <= 2 * POINTS and (np.diff(thin[:, 0]) > 0).all()
    assert thin[:, 1].min() == points[:, 1].min() and thin[:, 1].max() == points[:, 1].max()


def test_the_verdict_tells_a_sound_run_from_one_that_raises_both_errors() -> None:
    sound = [{"step": s, "win_drift": -0.01 * s, "lose_drift": 0.01 * s} for s in range(1, 101)]
    failing = [{"step": s, "win_drift": 0.01 * s, "lose_drift": 0.02 * s} for s in range(1, 101)]
    assert "in 0% of the steps" in verdict(sound) and "-0.955 from the reference's, the loser's +0.955" in verdict(sound)
    assert "in 100% of the steps" in verdict(failing) and "+0.955 from the reference's, the loser's +1.910" in verdict(failing)
    assert verdict(sound).endswith("the loser's faster.") and verdict(failing).endswith("the loser's faster; this one did.")
    assert verdict(log(names=("loss",))) == ""
