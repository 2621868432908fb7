"""An area grows with what is added beyond it, and with nothing else."""

import numpy as np
import pytest

from magicid.metrics.hypervolume import beyond, hypervolume


def test_a_point_spans_its_rectangle() -> None:
    assert hypervolume([(0.5, 0.4)]) == pytest.approx(0.2)


def test_a_front_is_a_staircase() -> None:
    assert hypervolume([(1, 3), (2, 2), (3, 1)]) == pytest.approx(1 * 3 + 1 * 2 + 1 * 1)


def test_it_is_the_area_that_random_points_find_dominated() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(6, 2))
    darts = rng.uniform(size=(20_000, 2))
    hit = (darts[:, None] <= points[None]).all(-1).any(1).mean()
    assert hypervolume([(x, y) for x, y in points.tolist()]) == pytest.approx(hit, abs=0.01)


def test_order_copies_and_dominated_points_change_nothing() -> None:
    front = [(0.9, 0.2), (0.5, 0.6), (0.1, 0.8)]
    assert hypervolume([*reversed(front), *front, (0.4, 0.5)]) == pytest.approx(hypervolume(front))


def test_points_under_the_origin_and_no_points_span_nothing() -> None:
    assert hypervolume([]) == 0 == hypervolume([(-0.1, 5), (5, -0.1)])


def test_only_what_lies_beyond_the_front_counts() -> None:
    front = [(0.8, 0.2), (0.2, 0.8)]
    assert beyond((0.5, 0.5), front) == pytest.approx(0.3 * 0.3)
    assert beyond((0.2, 0.7), front) == pytest.approx(0) == beyond((0.8, 0.2), front)
    assert beyond((0.9, 0.2), front) == pytest.approx(0.1 * 0.2)
