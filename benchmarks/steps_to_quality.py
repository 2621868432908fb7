"""Steps until our recipe has what the paper's recipe ends with, identity and motion both; goal: a fifth of its steps.

Both go on from the same stage one for as many steps, ours of distillation first and then of pairs, the paper's of pairs alone.
What distillation ends with and five snapshots of HPO draw the same held-out prompts from the same noise, and the report's
judges measure them. The ratio is that of the first of ours whose means reach the paper recipe's last step in both figures,
distillation counted; null where none does. The runs are those of the experiments:
what they have made is not made again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from magicid.comparison.clips import Method, drawn, generated
from magicid.comparison.figures import measure
from magicid.comparison.people import variant
from magicid.comparison.study import Person, Study, optimized, start
from magicid.comparison.table import PersonFigures, figure_of, finite
from magicid.experiments.main_table import paper_recipe
from magicid.training.reconstruction import snapshots

REACHED = ("face_p10", "motion")  # what both recipes are compared by
PAPER, OURS = "magicid_paper", "magicid"


@dataclass(frozen=True)
class StepsToQuality(Study):
    """Who takes part; more people, a steadier ratio."""

    people: int = 2
    seeds: int = 1
    json: bool = False  # the last line is one JSON object

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Train and measure what is not there yet; the ratio, and what it is read from."""
        console = Console(stderr=quiet)
        found = [self._person(person) for person in self.each(console)]
        kept = [method for method in found[0].by_method if method.startswith(f"{OURS}_") and method != PAPER]
        distillation, hpo = self.pipeline().distill.steps, self.pipeline().optimize.steps
        steps = {"start": distillation} | {method: distillation + int(method.removeprefix(f"{OURS}_")) for method in kept}
        steps[OURS] = distillation + hpo
        points = {m: {name: figure_of(found, m, name)[0] for name in REACHED} for m in (PAPER, "finetuned", *steps)}
        first = first_to_reach({steps[m]: points[m] for m in steps}, points[PAPER])
        if not quiet:
            _print(console, points)
        return self.to_json() | {
            "ratio": None if first is None else first / steps[OURS],
            "steps_to_reach": first,
            "points": finite(points),
        }

    def _person(self, person: Person) -> PersonFigures:
        run, last = person.run, person.pipeline.optimize.steps
        with variant(run, "paper", paper_recipe(person.pipeline)) as paper:
            shown = generated(run, {name: name for name in ("finetuned", OURS)})
            kept = {step: made for step, made in snapshots(run, "optimize").items() if step < last}
            for method in [
                optimized(PAPER, paper),
                start(person),
                *(Method(f"{OURS}_{step}", run, made) for step, made in kept.items()),
            ]:
                shown += drawn(run, method)
            return PersonFigures(person.number, measure(run, shown), {})


def first_to_reach(points: Mapping[int, Mapping[str, float]], goal: Mapping[str, float]) -> int | None:
    """The first step whose every figure is at least the goal's."""
    reached = [step for step, point in points.items() if all(point[name] >= goal[name] for name in goal)]
    return min(reached, default=None)


def _print(console: Console, points: Mapping[str, Mapping[str, float]]) -> None:
    table = Table("", *REACHED)
    for method, point in points.items():
        table.add_row(method, *(f"{point[name]:.4f}" for name in REACHED))
    console.print(table)


def main(asked: StepsToQuality) -> None:
    """Measure, and print a table or one JSON object."""
    found = asked.run(quiet=asked.json)
    print(json.dumps(found) if asked.json else f"ratio: {found['ratio']}")


if __name__ == "__main__":
    main(tyro.cli(StepsToQuality))
