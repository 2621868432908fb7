"""Motion and identity along the training (the paper's Figure 2, right): does motion stay where reconstruction loses it?

Two ways go on from stage one: DreamBooth-LoRA, and ours, distillation and then HPO. Steps are counted on from stage one's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from magicid.comparison.clips import Method, drawn, generated
from magicid.comparison.controls import bounds
from magicid.comparison.figures import measure
from magicid.comparison.markdown import TITLES, grid, plain, signed
from magicid.comparison.study import Person, Study, dreambooth_lora, start, steps_before
from magicid.comparison.table import Interval, PersonFigures, Row, figure_of, rows
from magicid.core.files import refuse_picture
from magicid.core.finite import finite
from magicid.training.reconstruction import snapshots

SHOWN = ("face", "face_p10", "motion", "motion_top5", "prompt")
COMMON = "finetuned"  # where the ways part
Ways = Mapping[str, Mapping[int, str]]  # way -> step -> method
ALONG = {"motion": "subject motion", "face_p10": "identity (p10 over frames x coverage)"}  # what is drawn


@dataclass(frozen=True)
class MotionOverSteps(Study):
    """Figures of the snapshots that each training keeps, a fifth of its steps apart.

    On the way through the distillation they are of its weights as they were, at its end of their running average.
    """

    figure: Path | None = None  # where to save a PNG of both figures against steps

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Bring everyone's runs to their end; each way's points, and how far its end lies from stage one."""
        refuse_picture(self.figure)
        console, found = Console(stderr=quiet), []
        ways: Ways = {}
        for person in self.each(console):
            ways, methods = _ways(person)
            run = person.run
            shown = generated(run, {name: name for name in ("base", "finetuned", "magicid")})
            for method in methods:
                shown += drawn(run, method)
            found.append(PersonFigures(person.number, measure(run, [*shown, *bounds(run, person.number)]), {}))
        names = list(dict.fromkeys(name for way in ways.values() for name in way.values()))
        table = {row.method: row for row in rows(found, [*names, "ceiling"])}
        since = {
            way: {name: figure_of(found, list(points.values())[-1], name, COMMON) for name in SHOWN}
            for way, points in ways.items()
        }
        if not quiet:
            console.print(_said(table, ways, since), markup=False, highlight=False, soft_wrap=True)
        if self.figure:
            from magicid.comparison.plot import curves_figure

            panels = {
                title: {
                    way: [(step, table[method].figures[name]) for step, method in points.items()] for way, points in ways.items()
                }
                for name, title in ALONG.items()
            }
            curves_figure(panels, "training steps", self.figure)
        return self.to_json() | {
            "rows": [row.to_json() for row in table.values()],
            "ways": {way: [{"step": step, "method": name} for step, name in points.items()] for way, points in ways.items()},
            "since_stage_one": finite(since),
        }


def _ways(person: Person) -> tuple[Ways, list[Method]]:
    """The methods along each way by step, from the base model on, and those of them that have no clips in the run itself."""
    run, last, hpo = person.run, person.pipeline.finetune.steps, person.pipeline.optimize.steps
    begun = steps_before(person.pipeline)
    longer = dreambooth_lora(person)
    early = {step: Method(f"snapshot_{step}", run, made) for step, made in snapshots(run, "finetune").items() if step < last}
    total = begun + hpo
    # a training that went on from stage one's checkpoint has no snapshots of its own before that
    later = {
        step: Method(f"dreambooth_lora_{step}", run, made)
        for step, made in snapshots(run, "dreambooth_lora").items()
        if last < step < total
    }
    distilled = {
        last + step: Method(f"distilled_{step}", run, made)
        for step, made in snapshots(run, "distill").items()
        if last + step < begun
    }
    preferred = {
        begun + step: Method(f"magicid_{step}", run, made) for step, made in snapshots(run, "optimize").items() if step < hpo
    }
    ways = {
        "dreambooth_lora": {0: "base", **_names(early), last: COMMON} | _names(later) | {total: longer.name},
        "magicid": {last: COMMON} | _names(distilled) | {begun: "start"} | _names(preferred) | {total: "magicid"},
    }
    return ways, [*early.values(), *later.values(), longer, *distilled.values(), start(person), *preferred.values()]


def _names(methods: Mapping[int, Method]) -> dict[int, str]:
    return {step: method.name for step, method in methods.items()}


def _said(table: Mapping[str, Row], ways: Ways, since: Mapping[str, Mapping[str, Interval]]) -> str:
    """Every point of every way, then what became of stage one's figures."""
    titles = [TITLES.get(name, name) for name in SHOWN]
    points = [(way, str(step), method) for way, points in ways.items() for step, method in points.items()]
    lines = [
        [way, step, *(plain(table[method].figures[name]) for name in SHOWN)]
        for way, step, method in [*points, ("ceiling", "", "ceiling")]
    ]
    ends = [[way, *(signed(figure) for figure in figures.values())] for way, figures in since.items()]
    return f"{grid(['', 'step', *titles], lines)}\n\n{grid(['the end minus stage one', *titles], ends)}"
