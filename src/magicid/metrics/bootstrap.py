"""Means with 95% bootstrap intervals, resampled by cluster, since clips of one prompt (or one person) go together.

Percentiles of few clusters are too near to each other: their levels are moved out as far as Student's quantile is from the
normal one (the expanded percentile interval of Hesterberg, arXiv:1411.5279). Of two or three clusters that is their whole
range, which holds the truth in a half and in three quarters of all cases and no more.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from statistics import NormalDist, fmean
from typing import TypeVar

import numpy as np

T = TypeVar("T")
TAIL = 0.025  # of a 95% interval, at each end


def mean(values: Iterable[float]) -> float:
    """Of those that are finite; nan where none is."""
    finite = [value for value in values if math.isfinite(value)]
    return fmean(finite) if finite else math.nan


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
    low, high = np.quantile(means, levels(len(groups)))
    return float(sums.sum() / counts.sum()), float(low), float(high)


def statistic_interval(
    statistic: Callable[[list[T]], float], clusters: Sequence[T], draws: int = 500, shifted: bool = False
) -> tuple[float, float, float]:
    """(value, low, high) of any statistic of whole clusters in any order, which are drawn with replacement.

    Draws repeat clusters, by which a statistic such as a Frechet distance is `shifted`: its interval is moved back by the
    difference of the draws' mean and the value. Draws of which it is nan say nothing of it.
    """
    value = statistic(list(clusters))
    picks = np.random.default_rng(0).integers(len(clusters), size=(draws, len(clusters)))
    drawn = [tuple(sorted(row)) for row in picks.tolist()]
    known = {row: statistic([clusters[i] for i in row]) for row in set(drawn)}  # few clusters make few different draws
    found = np.array([known[row] for row in drawn if not math.isnan(known[row])])
    if not len(found):
        return value, math.nan, math.nan
    low, high = np.quantile(found, levels(len(clusters))) - (found.mean() - value if shifted else 0)
    return value, float(low), float(high)


def levels(clusters: int) -> tuple[float, float]:
    """Levels of the percentiles that are the ends of an interval of so many clusters."""
    if clusters < 2:
        return TAIL, 1 - TAIL
    tail = NormalDist().cdf(-math.sqrt(clusters / (clusters - 1)) * student(clusters - 1))
    return tail, 1 - tail


def student(freedom: int) -> float:
    """Student's quantile of level 1 - `TAIL`, by the trapezoid rule on its density."""
    x = np.linspace(0, 20, 40_001)
    density = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    density *= math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi * freedom)
    within = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)]) * (x[1] - x[0])
    return float(np.interp(0.5 - TAIL, within, x))
