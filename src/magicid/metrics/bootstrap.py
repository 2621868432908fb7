"""Means with 95% bootstrap intervals, resampled by cluster, since clips of one prompt (or one person) go together."""

from collections.abc import Hashable, Sequence

import numpy as np


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
