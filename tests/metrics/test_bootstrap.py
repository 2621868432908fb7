"""Intervals hold the mean, narrow with clusters, and do not believe copies."""

import math

import numpy as np
import pytest

from magicid.metrics.bootstrap import interval, statistic_interval


def test_the_mean_lies_in_its_interval() -> None:
    values = list(np.random.default_rng(0).normal(3, 1, 50))
    mean, low, high = interval(values, list(range(50)))
    assert mean == pytest.approx(np.mean(values)) and low < mean < high


def test_the_interval_is_as_wide_as_theory_has_it() -> None:
    values = list(np.random.default_rng(1).normal(0, 1, 400))
    _, low, high = interval(values, list(range(400)))
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.15)


def test_copies_in_a_cluster_make_nothing_surer() -> None:
    values = list(np.random.default_rng(2).normal(0, 1, 20))
    alone = interval(values, list(range(20)))
    copies = interval(values * 10, list(range(20)) * 10)
    believed = interval(values * 10, list(range(200)))
    assert copies == pytest.approx(alone) and believed[2] - believed[1] < 0.5 * (copies[2] - copies[1])


def test_about_95_of_100_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        of_prompt = np.repeat(rng.normal(0, 1, 40), 3)
        _, low, high = interval(list(of_prompt + rng.normal(0, 1, 120)), list(np.repeat(range(40), 3)), draws=400)
        held += low <= 0 <= high
    assert 0.88 <= held / 200 <= 0.99


def test_what_could_not_be_measured_is_left_out() -> None:
    assert interval([1.0, math.nan, 3.0, math.inf], "abcd") == interval([1.0, 3.0], "ac")
    assert all(math.isnan(x) for x in interval([math.nan], ["a"])) and all(math.isnan(x) for x in interval([], []))


def test_one_cluster_has_no_width_and_the_same_call_gives_the_same_answer() -> None:
    assert interval([1.0, 2.0], ["a", "a"]) == (1.5, 1.5, 1.5)
    assert interval([1.0, 2.0, 4.0], "abc") == interval([1.0, 2.0, 4.0], "abc")


def test_every_value_needs_its_cluster() -> None:
    with pytest.raises(ValueError):
        interval([1.0, 2.0], ["a"])


def test_a_statistic_that_is_a_mean_has_the_means_interval() -> None:
    values = list(np.random.default_rng(4).normal(0, 1, 60))
    ours = statistic_interval(lambda drawn: float(np.mean(drawn)), values, draws=2000)
    assert ours == pytest.approx(interval(values, list(range(60))), abs=0.02)


def test_a_statistic_that_copies_shift_stays_in_its_interval() -> None:
    points = [np.random.default_rng(i).normal(size=(4, 6)) for i in range(10)]

    def spread(drawn: list[np.ndarray]) -> float:  # of few points, and so smaller the fewer they are
        return float(np.linalg.slogdet(np.cov(np.concatenate(drawn), rowvar=False))[1])

    value, low, high = statistic_interval(spread, points)
    assert low < value < high


def test_a_statistic_of_one_cluster_has_no_width() -> None:
    assert statistic_interval(lambda drawn: sum(drawn), [2.0]) == (2.0, 2.0, 2.0)
