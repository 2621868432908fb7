"""Pareto's order on points whose coordinates are all better when larger, and the fronts that it makes."""

import numpy as np
from numpy.typing import NDArray


def dominates(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points a (..., D) are nowhere below points b (..., D) and somewhere above; shapes broadcast."""
    return np.asarray((a >= b).all(-1) & (a > b).any(-1))


def fronts(points: NDArray[np.float64]) -> list[list[int]]:
    """Non-dominated sorting of points (N, D): the rows of the first front are dominated by nobody, the next only by the first."""
    below = dominates(points[:, None], points[None]) if len(points) else np.zeros((0, 0), np.bool_)  # [i, j]: i dominates j
    left = np.ones(len(points), np.bool_)
    found: list[list[int]] = []
    while left.any():
        front = left & ~below[left].any(0)
        found.append(np.flatnonzero(front).tolist())
        left &= ~front
    return found
