"""From clips' figures to the rows of a table: means, intervals clustered by person, shares of the ceiling, paired differences."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from magicid.comparison.figures import FIGURES
from magicid.core.cost import Cost
from magicid.core.finite import finite
from magicid.core.records import ClipFigures
from magicid.metrics.bootstrap import interval, statistic_interval
from magicid.metrics.frechet import frechet_distance
from magicid.metrics.hypervolume import Point, beyond

UNTRAINED = ("base", "static", "impostor", "ceiling")
Interval = tuple[float, float, float]  # value, low, high


@dataclass(frozen=True)
class PersonFigures:
    """Everything of one person: each method's clips and what each method cost."""

    person: int
    clips: Sequence[ClipFigures]
    costs: Mapping[str, Cost]  # method -> from the photos to its adapter; of others it is not told

    @cached_property
    def by_method(self) -> dict[str, dict[str, ClipFigures]]:
        """method -> place -> clip."""
        found: dict[str, dict[str, ClipFigures]] = {}
        for clip in self.clips:
            found.setdefault(clip.method, {})[clip.place] = clip
        return found

    @cached_property
    def sums(self) -> dict[tuple[str, str], tuple[float, int]]:
        """(method, figure) -> sum and count over the clips that could be measured."""
        found = {}
        for method, clips in self.by_method.items():
            for name in FIGURES:
                values = [clip.values[name] for clip in clips.values()]
                finite_ones = [value for value in values if math.isfinite(value)]
                found[method, name] = sum(finite_ones), len(finite_ones)
        return found


@dataclass(frozen=True)
class Row:
    """One method: every figure with its interval, its share of the ceiling, and how far MagicID stands above it."""

    method: str
    figures: dict[str, Interval]
    shares: dict[str, float]
    magicid_minus: dict[str, Interval]
    measured: dict[str, int]  # clips that each figure is of: those without a person to be judged are left out
    by_person: dict[int, dict[str, float]]
    beyond_front: Interval | None  # area that it adds to the strength front's; None of those that lie on it, or without one

    def to_json(self) -> dict[str, Any]:
        """Flat, as `magicid experiment` prints it: a figure that could not be measured is null."""
        plain = flat(self.method, self.figures) | {"shares": self.shares, "magicid_minus": self.magicid_minus}
        plain |= {"measured": self.measured, "by_person": self.by_person}
        found: dict[str, Any] = finite(plain | {"beyond_front": self.beyond_front})
        return found


def rows(people: Sequence[PersonFigures], methods: Sequence[str], front: Sequence[str] = (), ours: str = "magicid") -> list[Row]:
    """One row a method; `front` names what traces the strength front, `ours` the row that is MagicID's."""
    ceiling = {name: figure_of(people, "ceiling", name)[0] for name in FIGURES}
    found = []
    for method in methods:
        figures = {name: figure_of(people, method, name) for name in FIGURES}
        figures["frechet"] = statistic_interval(_frechet(method), people, draws=200, shifted=True)
        for name in ("seconds", "peak_memory_mb"):
            costs = [_cost(person, method, name) for person in people]
            figures[name] = interval(costs, range(len(people)))
        shares = {name: _share(figures[name][0], ceiling[name]) for name in FIGURES}
        minus = {name: figure_of(people, ours, name, method) for name in FIGURES} if method != ours else {}
        gain = None if method in front or not front else statistic_interval(_beyond(method, front), people)
        measured = {name: sum(person.sums[method, name][1] for person in people) for name in FIGURES}
        by_person = {one.person: {name: _mean([one], method, name) for name in FIGURES} for one in people}
        found.append(Row(method, figures, shares, minus, measured, by_person, gain))
    return found


def _cost(person: PersonFigures, method: str, name: str) -> float:
    if method in UNTRAINED:
        return 0.0
    return float(getattr(person.costs[method], name)) if method in person.costs else math.nan


FRONT_FIGURES = ("face_p10", "motion")  # of the strength front: identity (p10 x coverage) and subject motion


def spans(table: Sequence[Row]) -> dict[str, tuple[Interval, Interval]]:
    """Both figures of every row, with their intervals, as shares of the ceiling's."""
    whole = next(row.figures for row in table if row.method == "ceiling")

    def share(row: Row, name: str) -> Interval:
        value, low, high = (_share(number, whole[name][0]) for number in row.figures[name])
        return value, low, high

    return {row.method: (share(row, FRONT_FIGURES[0]), share(row, FRONT_FIGURES[1])) for row in table}


def point(people: Sequence[PersonFigures], method: str) -> Point:
    """Identity and subject motion as shares of the ceiling's."""
    x, y = (_share(_mean(people, method, name), _mean(people, "ceiling", name)) for name in FRONT_FIGURES)
    return x, y


def flat(method: str, figures: Mapping[str, Interval]) -> dict[str, Any]:
    """A method's figures as JSON has them: the value under its name, the ends of its interval under `intervals`."""
    values = {name: value for name, (value, _, _) in figures.items()}
    return {"method": method, **values, "intervals": {name: ends for name, (_, *ends) in figures.items()}}


def figure_of(people: Sequence[PersonFigures], method: str, name: str, minus: str | None = None) -> Interval:
    """A method's figure, or its paired difference from that of another, clustered by person."""
    values, clusters = [], []
    for person in people:
        others = person.by_method[minus] if minus else {}
        for place, clip in person.by_method[method].items():
            values.append(clip.values[name] - (others[place].values[name] if minus else 0.0))
            clusters.append(person.person)
    return interval(values, clusters)


def _mean(people: Sequence[PersonFigures], method: str, name: str) -> float:
    sums, counts = zip(*(person.sums[method, name] for person in people))
    return float(sum(sums) / sum(counts)) if sum(counts) else math.nan


def _share(value: float, ceiling: float) -> float:
    return value / ceiling if ceiling > 0 else math.nan


def _frechet(method: str) -> Callable[[list[PersonFigures]], float]:
    def distance(people: list[PersonFigures]) -> float:
        made, real = (
            np.array([clip.features for person in people for clip in person.by_method[name].values()])
            for name in (method, "real")
        )
        return frechet_distance(made, real)

    return distance


def _beyond(method: str, front: Sequence[str]) -> Callable[[list[PersonFigures]], float]:
    return lambda people: beyond(point(people, method), [point(people, name) for name in front])
