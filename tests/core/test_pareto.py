"""Pareto's order and its fronts."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from magicid.core.pareto import dominates, fronts


def points(seed: int, count: int = 40) -> NDArray[np.float64]:
    """Coarse under odd seeds, so that there are ties."""
    return np.random.default_rng(seed).uniform(1, 10, (count, 1 + seed % 3)).round(0 if seed % 2 else 6)


@pytest.mark.parametrize("seed", range(12))
def test_fronts_part_the_points_and_nobody_dominates_within_one(seed: int) -> None:
    cloud = points(seed)
    layers = fronts(cloud)
    assert sorted(i for layer in layers for i in layer) == list(range(len(cloud)))
    assert not any(dominates(cloud[a], cloud[b]) for layer in layers for a in layer for b in layer)


@pytest.mark.parametrize("seed", range(12))
def test_everyone_in_a_later_front_is_dominated_from_the_front_before(seed: int) -> None:
    cloud = points(seed)
    for before, layer in pairwise(fronts(cloud)):
        assert all(dominates(cloud[before], cloud[i]).any() for i in layer)


def test_nobody_dominates_himself_or_an_equal() -> None:
    a = np.array([5.0, 5.0])
    assert not dominates(a, a) and fronts(np.stack([a, a])) == [[0, 1]]
    assert dominates(np.array([5.0, 6.0]), a) and not dominates(np.array([6.0, 4.0]), a)


def test_no_points_make_no_front() -> None:
    assert fronts(np.zeros((0, 2))) == []
