"""An area grows with what is added beyond it and its mixtures, and with nothing else."""

import numpy as np
import pytest

from magicid.metrics.hypervolume import beyond, hypervolume


def test_a_point_spans_its_rectangle() -> None:
    assert hypervolume([(0.5, 0.4)]) == pytest.approx(0.2)


def test_mixtures_of_points_are_on_the_front() -> None:
    assert hypervolume([(1, 2), (2, 1)]) == pytest.approx(1 * 2 + 1 * 1.5)
    assert hypervolume([(1, 3), (2, 2), (3, 1)]) == pytest.approx(hypervolume([(1, 3), (3, 1)])) == pytest.approx(3 + 2 * 2)
    for share in (0.1, 0.5, 0.9):
        assert beyond((1 + 2 * share, 3 - 2 * share), [(1, 3), (3, 1)]) == pytest.approx(0, abs=1e-12)


def test_it_is_the_area_that_mixtures_of_random_points_dominate() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.2, 1, size=(6, 2))
    shares = np.linspace(0, 1, 400)[:, None]
    mixed = np.concatenate([shares * a + (1 - shares) * b for a in points for b in points])
    darts = rng.uniform(size=(20_000, 2))
    highest = np.array([mixed[mixed[:, 0] >= x, 1].max(initial=0) for x in np.linspace(0, 1, 1001)])
    hit = (darts[:, 1] <= highest[np.ceil(darts[:, 0] * 1000).astype(int)]).mean()
    assert hypervolume([(x, y) for x, y in points.tolist()]) == pytest.approx(hit, abs=0.01)


def test_order_copies_and_dominated_points_change_nothing() -> None:
    front = [(0.9, 0.2), (0.5, 0.6), (0.1, 0.8)]
    assert hypervolume([*reversed(front), *front, (0.4, 0.5), (0.5, 0.1)]) == pytest.approx(hypervolume(front))


def test_points_under_the_origin_and_no_points_span_nothing() -> None:
    assert hypervolume([]) == 0 == hypervolume([(-0.1, 5)]) == hypervolume([(5, -0.1)])


def test_a_line_that_crosses_an_axis_counts_as_far_as_it_is_above_it() -> None:
    assert hypervolume([(-1, 2), (1, 0)]) == pytest.approx(0.5) == hypervolume([(0, 1), (2, -1)])


def test_only_what_lies_beyond_the_front_counts() -> None:
    front = [(0.8, 0.2), (0.2, 0.8)]
    assert beyond((0.6, 0.6), front) == pytest.approx(0.06)  # the triangle over the line
    assert beyond((0.2, 0.7), front) == pytest.approx(0) == beyond((0.8, 0.2), front)
    assert beyond((0.9, 0.2), front) > 0.1 * 0.2
