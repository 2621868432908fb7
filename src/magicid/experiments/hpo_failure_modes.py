"""How preference optimisation fails, and how often: the plain sigmoid loss at three betas, and the preset's own recipe.

Margin can be won by raising the loser's error while the winner's rises too; told by two shares of the training's steps,
by means over each step's pairs: `winner_above`, in which the winners' error lies above the reference's, and
`loser_dominates`, in which it does so and there is a margin all the same.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from rich.console import Console

from magicid.comparison.clips import drawn, generated
from magicid.comparison.figures import measure
from magicid.comparison.markdown import grid, plain
from magicid.comparison.people import beside, variant
from magicid.comparison.study import Person, Study, optimized, start
from magicid.comparison.table import flat
from magicid.core.checks import at_least
from magicid.core.errors import NotFinite
from magicid.core.finite import finite
from magicid.core.records import ClipFigures
from magicid.core.run import Run
from magicid.metrics.bootstrap import interval, mean
from magicid.stages.optimize import Optimize
from magicid.training.log import Log

REFERENCE = "start"  # the row of what all trainings start from
BETAS = (100.0, 500.0, 5000.0)
NORMS = (0.5, 2.0)  # of the policy's prediction over the reference's: beyond these it has lost its scale
LEAST_PROMPT = 0.5  # of the reference's similarity to held-out prompts
SHARES = ("winner_above", "loser_dominates")
FIGURES = (*SHARES, "motion_ratio", "face_p10", "prompt")
COUNTS = ("trainings", "collapses")
TITLES = ("winner above", "loser dominates", "motion / base", "face p10", "prompt")


@dataclass(frozen=True)
class Training:
    """One training of one person, or the reference that all of them start from."""

    mode: str
    person: int
    seed: int
    figures: dict[str, float]  # FIGURES; nan where nothing could be measured
    collapse: str  # why it counts as one; "": it does not


@dataclass(frozen=True)
class HpoFailureModes(Study):
    """A training has collapsed where one of these holds, in this order:

    stopped: loss, gradient, weights or clips left the finite, and it ended there (each such one is tried again by the next
             command);
    norm:    in some step the norm of the policy's prediction was outside 0.5 to 2 of the reference's;
    prompt:  its clips' mean similarity to the held-out prompts is below half of that of the reference's clips.
    """

    training_seeds: int = 5  # trainings of each loss: the same pairs, other draws of them, of noise and of time

    def run(self, quiet: bool = False) -> dict[str, Any]:
        """Train all of them; the rows, and each training."""
        at_least("", 1, training_seeds=self.training_seeds)
        console = Console(stderr=quiet)
        found = [training for person in self.each(console) for training in self._person(person)]
        rows = [_row([one for one in found if one.mode == mode]) for mode in dict.fromkeys(one.mode for one in found)]
        if not quiet:
            shown = [
                [row["method"], *(str(row[name]) for name in COUNTS)]
                + [plain((row[name], *row["intervals"][name])) for name in FIGURES]
                for row in rows
            ]
            said = grid(["", *COUNTS, *TITLES], shown)
            console.print(said, markup=False, highlight=False, soft_wrap=True)
        return self.to_json() | {"rows": finite(rows), "trainings": [finite(asdict(one)) for one in found]}

    def _person(self, person: Person) -> list[Training]:
        """The reference, then every loss with every seed."""
        run, hpo = person.run, person.pipeline.optimize
        measured = measure(run, [*generated(run, {"base": "base"}), *drawn(run, start(person, REFERENCE))])
        base, reference = (_means([clip for clip in measured if clip.method == name]) for name in ("base", REFERENCE))
        found = [Training(REFERENCE, person.number, 0, _figures(reference, base, []), "")]
        for mode, settings in losses(hpo).items():
            name = [other for other, same in losses(hpo).items() if same == settings][-1]  # equal ones are trained once
            for seed in range(self.training_seeds):
                means, log = _trained(person, f"{name}-{seed}", replace(settings, seed=seed))
                collapse = collapse_of(means, reference, log)
                found.append(Training(mode, person.number, seed, _figures(means, base, log), collapse))
        return found


def losses(preset: Optimize) -> dict[str, Optimize]:
    """The plain loss at each beta, without guard, anchor, safeguard and clamp; then the preset's own."""
    plainest = replace(preset, loss="sigmoid", winner_guard=0.0, winner_anchor=0.0, loser_safeguard=0.0, logit_clamp=0.0)
    return {f"beta_{beta:g}": replace(plainest, beta=beta) for beta in BETAS} | {"preset": preset}


def _trained(person: Person, name: str, hpo: Optimize) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Mean figures of the clips (none where it stopped) and the log of one training; the preset's first is the run's own."""
    run = person.run
    if hpo == person.pipeline.optimize:
        return _outcome(run, name, run)
    try:
        with variant(run, f"hpo_{name}", replace(person.pipeline, optimize=hpo)) as made:
            return _outcome(run, name, made)
    except NotFinite as error:
        run.console.print(str(error), markup=False, soft_wrap=True)
        return {}, Log(beside(run, f"hpo_{name}") / "optimize" / "log.jsonl").read()


def _outcome(run: Run, name: str, made: Run) -> tuple[dict[str, float], list[dict[str, Any]]]:
    clips = generated(run, {"magicid": name}) if made is run else drawn(run, optimized(name, made))
    return _means(measure(run, clips)), Log(made.log_path("optimize")).read()


def collapse_of(means: dict[str, float], reference: dict[str, float], log: Sequence[dict[str, Any]]) -> str:
    """Which of the rules of `HpoFailureModes` a training meets first, by the mean figures of its clips and its log; "": none."""
    if not means:
        return "stopped"
    if any(not NORMS[0] <= line["norm_ratio"] <= NORMS[1] for line in log):
        return "norm"
    return "prompt" if reference["prompt"] > 0 and means["prompt"] < LEAST_PROMPT * reference["prompt"] else ""


def _figures(means: dict[str, float], base: dict[str, float], log: Sequence[dict[str, Any]]) -> dict[str, float]:
    above = [line["win_drift"] > 0 for line in log]
    dominated = [line["win_drift"] > 0 and line["margin"] > 0 for line in log]
    shares = [fmean(steps) if steps else math.nan for steps in (above, dominated)]
    ratio = means["motion"] / base["motion"] if means and base["motion"] > 0 else math.nan
    clips = {name: means.get(name, math.nan) for name in ("face_p10", "prompt")}
    return dict(zip(SHARES, shares, strict=True)) | {"motion_ratio": ratio} | clips


def _means(clips: Sequence[ClipFigures]) -> dict[str, float]:
    """Of the clips that could be measured."""
    return {name: mean(clip.values[name] for clip in clips) for name in ("motion", "face_p10", "prompt")}


def _row(trainings: Sequence[Training]) -> dict[str, Any]:
    """One loss: means over its trainings (clips: of those that ended), intervals by person, and what became of them."""
    people = [one.person for one in trainings]
    figures = {name: interval([one.figures[name] for one in trainings], people) for name in FIGURES}
    collapses = [one.collapse for one in trainings if one.collapse]
    counts = (len(trainings) if trainings[0].mode != REFERENCE else 0, len(collapses))
    why = {reason: collapses.count(reason) for reason in dict.fromkeys(collapses)}
    return flat(trainings[0].mode, figures) | dict(zip(COUNTS, counts, strict=True)) | {"why": why}
