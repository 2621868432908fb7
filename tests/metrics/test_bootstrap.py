"""Intervals hold the mean, narrow with clusters, and do not believe copies."""

import math

import numpy as np
import pytest

from magicid.metrics.bootstrap import interval, mean, statistic_interval, student


def test_the_mean_lies_in_its_interval() -> None:
    values = list(np.random.default_rng(0).normal(3, 1, 50))
    middle, low, high = interval(values, list(range(50)))
    assert middle == pytest.approx(np.mean(values)) and low < middle < high


def test_what_is_not_finite_is_no_part_of_a_mean() -> None:
    assert mean([1.0, math.nan, 3.0, math.inf]) == 2.0
    assert math.isnan(mean([math.nan])) and math.isnan(mean([]))


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


@pytest.mark.parametrize("clusters", [6, 8, 40])
def test_about_95_of_100_intervals_hold_the_truth(clusters: int) -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        of_prompt = np.repeat(rng.normal(0, 1, clusters), 3)
        values = list(of_prompt + rng.normal(0, 1, 3 * clusters))
        _, low, high = interval(values, list(np.repeat(range(clusters), 3)), draws=2000)
        held += low <= 0 <= high
    assert 0.9 <= held / 400 <= 0.98  # of six 0.915


def test_two_and_three_clusters_have_their_range() -> None:
    assert interval([1.0, 3.0], "ab") == (2, 1, 3)
    assert interval([1.0, 3.0, 8.0], "abc") == (4, 1, 8)


def test_students_quantiles_are_those_of_the_tables() -> None:
    known = {1: 12.706, 2: 4.303, 7: 2.365, 9: 2.262, 30: 2.042, 1000: 1.962}
    assert {freedom: student(freedom) for freedom in known} == pytest.approx(known, abs=1e-3)


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

    value, low, high = statistic_interval(spread, points, shifted=True)
    assert low < value < high
    plain = statistic_interval(spread, points)
    assert plain[2] - plain[1] == pytest.approx(high - low) and plain[2] < high  # copies know less


def test_a_statistic_that_cannot_be_negative_has_no_negative_end() -> None:
    values = [0.0, 0.1, 0.0, 0.0, 0.3, 0.0, 0.0, 0.0]
    _, low, high = statistic_interval(lambda drawn: max(0.0, float(np.mean(drawn))), values)
    assert low == 0 < high


def test_a_statistic_of_one_cluster_has_no_width() -> None:
    assert statistic_interval(lambda drawn: sum(drawn), [2.0]) == (2.0, 2.0, 2.0)


def test_draws_without_a_value_are_left_out_of_an_interval() -> None:
    value, low, high = statistic_interval(mean, [1.0, math.nan, 3.0])
    assert value == 2 and 1 <= low < high <= 3
    assert all(math.isnan(number) for number in statistic_interval(mean, [math.nan, math.nan]))
