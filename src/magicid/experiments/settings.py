"""What settings do: everyone's own run beside variants of it, on people whom no table of results shows.

Choices of ours are made here, so that the people of the results are met with settings that nobody chose on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from magicid.comparison.clips import drawn, generated
from magicid.comparison.controls import bounds
from magicid.comparison.figures import measure
from magicid.comparison.markdown import SHORT, markdown
from magicid.comparison.people import variant
from magicid.comparison.study import BEGUN, PAIRS, Person, Study, optimized, spent, start
from magicid.comparison.table import PersonFigures, rows
from magicid.core import tables
from magicid.core.arguments import parsed
from magicid.core.errors import UsageError
from magicid.core.files import text_digest
from magicid.pipeline import Pipeline

TRIED_ON = 101  # and from there on: people on whom settings are chosen


@dataclass(frozen=True)
class Settings(Study):
    """Rows: base, start (what HPO begins with), magicid, variant_1, ... (variant_1_start where it begins otherwise), ceiling."""

    people: int = 2
    work: Path = Path("runs/settings")
    variants: tuple[str, ...] = ()  # of each the settings that differ: "optimize.learning-rate 1e-4, optimize.beta 500"

    def numbers(self, count: int) -> tuple[int, ...]:
        """The seeds of people on whom settings are chosen."""
        return tuple(range(TRIED_ON, TRIED_ON + count))

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Bring everyone's runs and variants to their end; the rows."""
        pipelines = [changed(self.pipeline(), said) for said in self.variants]  # what is misspelt is told before any run
        found = [self._person(person, pipelines) for person in self.each(Console(stderr=quiet))]
        names = {f"variant_{i}": said for i, said in enumerate(self.variants, 1)}
        asked = ["base", "start", "magicid", *(row for name in names for row in (f"{name}_start", name)), "ceiling"]
        table = rows(found, [name for name in asked if name in found[0].by_method])
        if not quiet:
            said = "\n".join([markdown(table, columns=SHORT), "", *(f"{name}: {said}" for name, said in names.items())])
            Console().print(said, markup=False, highlight=False, soft_wrap=True)
        return self.to_json() | {"variants": names, "rows": [row.to_json() for row in table]}

    def _person(self, person: Person, pipelines: Sequence[Pipeline]) -> PersonFigures:
        run = person.run
        shown = [*generated(run, {"base": "base", "magicid": "magicid"}), *bounds(run, person.number)]
        shown += drawn(run, start(person))
        costs = {"start": spent(run, *BEGUN), "magicid": spent(run, *PAIRS, "optimize")}
        for i, (said, pipeline) in enumerate(zip(self.variants, pipelines, strict=True), 1):
            with variant(run, f"settings_{text_digest(said)}", pipeline) as made:
                if (begun := start(replace(person, run=made), f"variant_{i}_start")).adapter != start(person).adapter:
                    shown += drawn(run, begun)
                    costs[begun.name] = spent(made, *BEGUN)
                shown += drawn(run, optimized(f"variant_{i}", made))
                costs[f"variant_{i}"] = spent(made, *PAIRS, "optimize")
        return PersonFigures(person.number, measure(run, shown), costs)


def changed(pipeline: Pipeline, said: str) -> Pipeline:
    """The pipeline with the settings that are said, as `magicid run` reads them.

    `UsageError` where it would not, or where they say how all methods are drawn and judged.
    """
    words = [word for setting in said.split(",") if setting.strip() for word in f"--{setting.strip()}".split()]
    made = parsed(Pipeline, words, "magicid run", default=pipeline)
    alike = [(one.generate, one.evaluate, one.prompts.evaluation) for one in (made, pipeline)]
    if alike[0] != alike[1]:
        raise UsageError(f"{said!r}: all variants are drawn and judged alike; vary the stages up to optimize.")
    for name in tables.STAGES:
        getattr(made, name).check()
    return made
