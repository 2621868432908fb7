"""Means with 95% bootstrap intervals, resampled by cluster, since clips of one prompt (or one person) go together."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def interval(values: Sequence[float], clusters: Sequence[Hashable], draws: int = 2000) -> tuple[float, float, float]:
    """(mean, low, high) of the values that are finite; whole clusters are drawn with replacement."""
    groups: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        if np.isfinite(value):
            groups.setdefault(cluster, []).append(value)
    if not groups:
        return float("nan"), float("nan"), float("nan")
    sums = np.array([sum(g) for g in groups.values()])
    counts = np.array([len(g) for g in groups.values()])
    picks = np.random.default_rng(0).integers(len(groups), size=(draws, len(groups)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(sums.sum() / counts.sum()), float(low), float(high)


def statistic_interval(
    statistic: Callable[[list[T]], float], clusters: Sequence[T], draws: int = 500
) -> tuple[float, float, float]:
    """(value, low, high) of any statistic of whole clusters in any order, which are drawn with replacement.

    Draws repeat clusters, which shifts a statistic such as a Frechet distance: the interval is moved back by the
    difference of the draws' mean and the value.
    """
    value = statistic(list(clusters))
    picks = np.random.default_rng(0).integers(len(clusters), size=(draws, len(clusters)))
    drawn = [tuple(sorted(row)) for row in picks.tolist()]
    known = {row: statistic([clusters[i] for i in row]) for row in set(drawn)}  # few clusters make few different draws
    found = np.array([known[row] for row in drawn])
    low, high = np.quantile(found, (0.025, 0.975)) - (found.mean() - value)
    return value, float(low), float(high)
