"""What experiments on people share: who takes part, what everyone is asked, and runs that are made once for all of them.

Everything is kept under `work` and done once: photos, a run a person, variants of it and baselines beside it, clips and
their figures. The same command goes on where it stopped; another experiment with the same settings starts from there.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from magicid.baselines.dreambooth_lora import DreamboothLora
from magicid.comparison.clips import Method
from magicid.comparison.people import common_of, people, person_run
from magicid.core.cost import Cost, read_cost
from magicid.core.errors import UsageError
from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.pipeline import PRESETS, Pipeline, run_baseline

BEGUN = ("finetune", "distill")  # what HPO begins with costs
PAIRS = (*BEGUN, "sample", "score", "pair")  # what pairs cost
RECONSTRUCTION = ("finetune", "dreambooth_lora")  # what DreamBooth-LoRA costs


@dataclass(frozen=True)
class Person:
    """One who takes part, and a finished run whose lock is held."""

    number: int  # the seed that the person is drawn by
    stranger: int  # of somebody else
    run: Run
    pipeline: Pipeline  # the run's settings


@dataclass(frozen=True)
class Study:
    """How many people, prompts and seeds."""

    people: int = 8  # drawn, of seeds that no model was trained on: 9, 7, 11, then from 201 on
    prompts: int = 10  # held-out ones of each person
    seeds: int = 2  # clips of each prompt
    preset: Literal["quick", "paper"] = "quick"
    seed: int = 0
    work: Path = Path("runs/main_table")  # of all studies: the same people's runs serve them all

    def check(self) -> None:
        """Refuse settings that compare nothing."""
        if min(self.people, self.prompts, self.seeds) < 1:
            raise UsageError(f"{self.people} people, {self.prompts} prompts, {self.seeds} seeds: at least 1 of each is needed.")

    def numbers(self, count: int) -> tuple[int, ...]:
        """The seeds of the first people."""
        return people(count)

    def pipeline(self) -> Pipeline:
        """The preset with this study's counts."""
        preset = PRESETS[self.preset]
        return replace(
            preset,
            prompts=replace(preset.prompts, evaluation=self.prompts, source="grammar"),
            generate=replace(preset.generate, seeds=self.seeds),
        )

    def each(self, console: Console) -> Iterator[Person]:
        """Everyone in turn, each one's run brought to its end and held until the next is asked for."""
        self.check()
        for number, stranger in pairwise(self.numbers(self.people + 1)):
            with self.held(number, console) as run:
                yield Person(number, stranger, run, self.pipeline())

    def held(self, number: int, console: Console, until: str | None = None) -> AbstractContextManager[Run]:
        """One person's run, brought to its end or that of a stage; its lock is held inside the block."""
        folder = self.work / f"{self.preset}-{self.prompts}x{self.seeds}-{self.seed}" / f"person-{number}"
        return person_run(common_of(self.work, number, self.seed), self.pipeline(), folder, console, until)

    def to_json(self) -> dict[str, Any]:
        """What was asked of whom, as every study's figures begin."""
        pipeline = self.pipeline()
        return {
            "people": list(self.numbers(self.people)),
            "preset": self.preset,
            "prompts": self.prompts,
            "seeds": self.seeds,
            "steps": {name: getattr(pipeline, name).steps for name in (*BEGUN, "optimize")},
        }


def equal_steps(pipeline: Pipeline) -> DreamboothLora:
    """DreamBooth-LoRA for as many steps as all of ours have together."""
    return DreamboothLora(steps_before(pipeline) + pipeline.optimize.steps)


def steps_before(pipeline: Pipeline) -> int:
    """Training steps before HPO."""
    return pipeline.finetune.steps + pipeline.distill.steps


def dreambooth_lora(person: Person, name: str = "dreambooth_lora") -> Method:
    """It at equal steps, trained beside the person's run."""
    return Method(name, person.run, run_baseline(person.run, "dreambooth_lora", equal_steps(person.pipeline)))


def start(person: Person, name: str = "start") -> Method:
    """The adapter that HPO begins with: what HPO adds is measured from here."""
    return Method(name, person.run, person.run.dir.read("distill", Adapter)[0])


def optimized(name: str, run: Run) -> Method:
    """What HPO made of a run."""
    return Method(name, run, run.dir.read("optimize", Adapter)[0])


def spent(run: Run, *parts: str) -> Cost:
    """What parts of a run cost together."""
    return sum((read_cost(run.dir.root / part) for part in parts), Cost())
