"""The headline: MagicID, its baselines and its controls on the same people, prompts and seeds, judged by encoders no reward used.

Each person has two runs: ours, and the paper's recipe, which shares the stages that both have in common; baselines stand in
folders beside the stages.
"""

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

from magicid.baselines.dreambooth_lora_early import DreamboothLoraEarly
from magicid.baselines.dreambooth_lora_prior import DreamboothLoraPrior
from magicid.baselines.magic_me import MagicMe
from magicid.baselines.winners_sft import WinnersSft
from magicid.comparison.clips import Method, drawn, generated
from magicid.comparison.controls import controls
from magicid.comparison.figures import measure
from magicid.comparison.markdown import markdown
from magicid.comparison.people import variant
from magicid.comparison.study import BEGUN, PAIRS, RECONSTRUCTION, Person, Study, equal_steps, optimized, spent, start
from magicid.comparison.table import PersonFigures, point, rows, spans
from magicid.core.cost import Cost
from magicid.core.files import refuse_picture
from magicid.core.finite import finite
from magicid.core.interfaces import Stage
from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.metrics.hypervolume import hypervolume
from magicid.pipeline import Pipeline, run_baseline
from magicid.stages.distill import Distill
from magicid.stages.optimize import Optimize
from magicid.training.reconstruction import snapshots

STRENGTHS = (0.2, 0.4, 0.6, 0.8)  # of an adapter of reconstruction; 0 is `base` and 1 the whole of it
NOT_YET = ("id_animator", "consisid")
KEYWORD_RATE = {"quick": 1e-1, "paper": 1e-3}  # learning rate of Magic-Me's rows; docs/decisions.md


@dataclass(frozen=True)
class MainTable(Study):
    """The paper's Table 1 with more rows; the same command again goes on where it stopped."""

    priors: bool = False  # one more row: DreamBooth-LoRA with a prior; as many steps again, each with 4 whole clips more
    figure: Path | None = None  # where to save a PNG of identity against motion

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Bring everyone's runs to their end; the rows, the strength front, and what lies beyond it."""
        refuse_picture(self.figure)
        console = Console(stderr=quiet)
        found = [self._person(person) for person in self.each(console)]
        lines = _front(found[0], self.pipeline().finetune.steps)
        front = list(dict.fromkeys(name for line in lines.values() for name in line))
        table = rows(found, self._methods(), front)
        if not quiet:
            console.print(markdown(table, NOT_YET), markup=False, highlight=False, soft_wrap=True)
        points = {name: point(found, name) for name in dict.fromkeys([*self._methods(), *front])}
        if self.figure:
            from magicid.comparison.plot import front_figure

            front_figure(points, lines, spans(table), self.figure)
        return self.to_json() | {
            "rows": [row.to_json() for row in table],
            "not_yet": list(NOT_YET),
            "front": finite([{"method": name, "identity": points[name][0], "motion": points[name][1]} for name in front]),
            "front_area": hypervolume(points[name] for name in front),
        }

    def _methods(self) -> list[str]:
        names = ["base", "static", "impostor", "finetuned", "start"]
        names += ["dreambooth_lora", "dreambooth_lora_early", "magic_me", "winners_sft"]
        return [*names, *(["dreambooth_lora_prior"] if self.priors else []), "magicid_paper", "magicid", "ceiling"]

    def _baselines(self, pipeline: Pipeline) -> dict[str, Stage]:
        """Each with as many steps as all of ours have together, or as HPO where it starts from where that does."""
        total, sample, hpo = equal_steps(pipeline), pipeline.sample, pipeline.optimize
        found: dict[str, Stage] = {
            "dreambooth_lora": total,
            "dreambooth_lora_early": DreamboothLoraEarly(sample_steps=sample.steps, batch=sample.batch, guidance=sample.guidance),
            "magic_me": MagicMe(total.steps, learning_rate=KEYWORD_RATE[self.preset]),
            "winners_sft": WinnersSft(hpo.steps, hpo.learning_rate, hpo.weight_decay, hpo.batch),
        }
        return found | ({"dreambooth_lora_prior": DreamboothLoraPrior(total.steps)} if self.priors else {})

    def _person(self, person: Person) -> PersonFigures:
        """All clips of one person, measured."""
        run = person.run
        with variant(run, "paper", paper_recipe(person.pipeline)) as paper:
            adapters = {name: run_baseline(run, name, part) for name, part in self._baselines(person.pipeline).items()}
            methods = [Method(name, run, adapter, words=name == "magic_me") for name, adapter in adapters.items()]
            front = front_methods(run, adapters["dreambooth_lora"])
            shown = generated(run, {name: name for name in ("base", "finetuned", "magicid")})
            for method in [*methods, optimized("magicid_paper", paper), start(person), *front]:
                shown += drawn(run, method)
            clips = measure(run, [*shown, *controls(run, person.number, person.stranger)])
            return PersonFigures(person.number, clips, _costs(run, paper))


def paper_recipe(pipeline: Pipeline) -> Pipeline:
    """The paper's method with the same counts: its pairs, its repository of one strength, its loss without our guards.

    Stage one, the semantic floor and the words of identity pairs are as in ours (docs/paper.md).
    """
    hpo = pipeline.optimize
    return replace(
        pipeline,
        distill=Distill(),
        sample=replace(pipeline.sample, strengths=(1.0,)),
        pair=replace(pipeline.pair, rule="paper"),
        optimize=Optimize(steps=pipeline.distill.steps + hpo.steps, learning_rate=hpo.learning_rate, batch=hpo.batch, beta=500.0),
    )


def front_methods(run: Run, longer: Adapter) -> list[Method]:
    """The control that trades identity for motion for free: reconstruction, short and `longer`, weakened or stopped sooner."""
    stage_one = run.dir.read("finetune", Adapter)[0]
    weaker = [
        Method(f"{name}_{strength:g}".replace(".", "_"), run, adapter, strength)
        for name, adapter in (("strength", stage_one), ("longer_strength", longer))
        for strength in STRENGTHS
    ]
    kept = [list(snapshots(run, stage).items())[:-1] for stage in ("finetune", "dreambooth_lora")]  # without a stage's end
    return weaker + [Method(f"snapshot_{step}", run, adapter) for step, adapter in chain(*kept)]


def _front(person: PersonFigures, stage_one: int) -> dict[str, list[str]]:
    """Methods along each line of the front, from the base model on; stage one has so many steps."""
    names = person.by_method
    by_step = {int(name.removeprefix("snapshot_")): name for name in names if name.startswith("snapshot_")}
    steps = [name for _, name in sorted((by_step | {stage_one: "finetuned"}).items())]
    return {
        "strength of stage one": ["base", *(n for n in names if n.startswith("strength_")), "finetuned"],
        "strength of DreamBooth-LoRA": ["base", *(n for n in names if n.startswith("longer_strength_")), "dreambooth_lora"],
        "steps of reconstruction": ["base", *steps, "dreambooth_lora"],
        "stopped early": ["dreambooth_lora_early"],
    }


def _costs(run: Run, paper: Run) -> dict[str, Cost]:
    """What stands between the photos and each method's adapter; nothing, where nothing is trained."""
    return {
        "finetuned": spent(run, "finetune"),
        "start": spent(run, *BEGUN),
        "dreambooth_lora": spent(run, *RECONSTRUCTION),
        "dreambooth_lora_early": spent(run, *RECONSTRUCTION, "dreambooth_lora_early"),
        "dreambooth_lora_prior": spent(run, "dreambooth_lora_prior"),
        "magic_me": spent(run, "magic_me"),
        "winners_sft": spent(run, *PAIRS, "winners_sft"),
        "magicid_paper": spent(paper, *PAIRS, "optimize"),
        "magicid": spent(run, *PAIRS, "optimize"),
    }
