"""Ablations of the pairs: everyone's own run beside variants of it that choose other pairs, and differ in nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

from rich.console import Console

from magicid.comparison.clips import drawn, generated
from magicid.comparison.controls import bounds
from magicid.comparison.figures import measure
from magicid.comparison.markdown import SHORT, grid, markdown
from magicid.comparison.people import variant
from magicid.comparison.study import BEGUN, PAIRS, RECONSTRUCTION, Study, dreambooth_lora, optimized, spent, start
from magicid.comparison.table import PersonFigures, rows
from magicid.core import records, tables
from magicid.core.run import Run
from magicid.selection.choice import KINDS
from magicid.stages.pair import Pair


def ablation(
    study: Study, name: str, ours: str, others: Callable[[Pair], Mapping[str, Pair]], quiet: bool, none: str = ""
) -> dict[str, Any]:
    """The table, and what each row's pairs are.

    `ours` is the row of the run's own pairs, `others` gives the variants' settings by row, `none` names a row without any
    pairs, DreamBooth-LoRA at equal steps ("": no such row), `start` is what HPO begins with. Variants are kept in
    `person-9-NAME_ROW`.
    """
    console, variants = Console(stderr=quiet), others(study.pipeline().pair)
    found: list[PersonFigures] = []
    chosen: dict[str, list[dict[str, float]]] = {row: [] for row in (*variants, ours)}
    for person in study.each(console):
        run = person.run
        shown = [*generated(run, {"base": "base", "magicid": ours}), *bounds(run, person.number)]
        shown += drawn(run, start(person))
        costs = {"start": spent(run, *BEGUN), ours: spent(run, *PAIRS, "optimize")}
        chosen[ours].append(pairs_of(run))
        if none:
            shown += drawn(run, dreambooth_lora(person, none))
            costs[none] = spent(run, *RECONSTRUCTION)
        for row, pair in variants.items():
            with variant(run, f"{name}_{row}", replace(person.pipeline, pair=pair)) as made:
                shown += drawn(run, optimized(row, made))
                costs[row] = spent(made, *PAIRS, "optimize")
                chosen[row].append(pairs_of(made))
        found.append(PersonFigures(person.number, measure(run, shown), costs))
    table = rows(found, ["base", *([none] if none else []), "start", *chosen, "ceiling"], ours=ours)
    pairs = {row: {key: fmean(one[key] for one in everyone) for key in everyone[0]} for row, everyone in chosen.items()}
    if not quiet:
        titles = ["pairs, means over people", *(key.replace("_", " ") for key in pairs[ours])]
        lines = [[row, *(f"{number:.2f}" for number in numbers.values())] for row, numbers in pairs.items()]
        said = f"{markdown(table, columns=SHORT, ours=ours)}\n\n{grid(titles, lines)}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    return study.to_json() | {"rows": [row.to_json() for row in table], "pairs": pairs}


def pairs_of(run: Run) -> dict[str, float]:
    """How many pairs of each kind a run has, and by how much their winners are better on average, in calibrated units."""
    pairs = run.dir.read("pair", records.Pair)
    scores = {score.video: score.scaled for score in run.dir.read("score", records.Score)}
    counts = {f"{kind}_pairs": float(sum(pair.kind == kind for pair in pairs)) for kind in KINDS}
    return counts | {
        f"{name}_gap": fmean(scores[pair.winner][name] - scores[pair.loser][name] for pair in pairs) for name in tables.REWARDS
    }
