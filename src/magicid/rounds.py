"""Online rounds of preference optimisation: clips of the policy as it is, scored and paired with all that were drawn before.

The first round is the run itself. A later one has a folder `optimize/round-2/` with parts of the run's own names: `sample/`
holds its clips, `score/` the rewards of all clips so far, their raw values kept and calibrated together, `pair/` the pairs
chosen from them. Each part is finished when its manifest is there.
"""

from collections.abc import Sequence

from torch import Tensor

from magicid.core.errors import DataError, TooFewPairs
from magicid.core.records import Pair, Score, Video
from magicid.core.run import Run
from magicid.core.run_dir import filled
from magicid.core.seeds import item_seed
from magicid.rewards.scoring import Scoring
from magicid.selection.choice import Choice
from magicid.training.clips import Wanted, make_clips, read_latents, sampling_of


def place(number: int, part: str) -> str:
    """The folder of a part ("sample", "score" or "pair") of a round, counted from 1."""
    return part if number == 1 else f"optimize/round-{number}/{part}"


def ends(steps: int, rounds: int) -> list[int]:
    """The step before which each round's part of a training ends: equal parts, the last at `steps`."""
    return [steps * number // rounds for number in range(1, rounds + 1)]


def finished(run: Run, number: int) -> bool:
    """Whether a round has its pairs; `DataError` where they are there and what they were chosen from is not."""
    sampled, scored, paired = (run.dir.finished(place(number, part)) for part in ("sample", "score", "pair"))
    if paired and not (sampled and scored):  # clips drawn now would be of a later policy
        raise DataError(f"{run.dir.root}: optimize/round-{number}/ lacks clips or scores; delete optimize/ and run again.")
    return paired


def material(run: Run, number: int) -> tuple[list[Pair], dict[str, Tensor]]:
    """The pairs of a round that is finished, and the latents of their videos."""
    pairs = run.dir.read(place(number, "pair"), Pair)
    return pairs, read_latents(run, [video for p in pairs for video in (p.winner, p.loser)], _clips(run, number))


def play(run: Run, number: int, policy: str, per_prompt: int) -> None:
    """Bring a round after the first to its pairs: `per_prompt` clips of each prompt of the repository by the adapter `policy`."""
    sampled, scored, paired = (place(number, part) for part in ("sample", "score", "pair"))
    if not run.dir.finished(sampled):
        wanted = [
            Wanted(
                f"round-{number}-{prompt.number}-{i}",
                "policy",
                prompt.text,
                item_seed(run.common.seed, "round", number, prompt.id, i),
                policy,
            )
            for prompt in run.prompts()
            for i in range(per_prompt)
        ]
        run.dir.publish(sampled, make_clips(run, sampled, wanted, *sampling_of(run)))
    if not run.dir.finished(scored):
        scoring = filled(Scoring, run.dir.settings(), "score.")
        measured = scoring.measured(run, scored, run.dir.read(sampled, Video))
        known = run.dir.read(place(number - 1, "score"), Score)
        run.dir.publish(scored, scoring.calibrated(run, [*known, *measured], _clips(run, number)))
    if not run.dir.finished(paired):
        run.dir.publish(paired, _pairs(run, number))
    run.forget_judges()  # what is trained next needs the memory


def _pairs(run: Run, number: int) -> Sequence[Pair]:
    """Those chosen anew, or where they are too few those of the round before."""
    try:
        choice = filled(Choice, run.dir.settings(), "pair.")
        return choice.pairs(run, _clips(run, number), run.dir.read(place(number, "score"), Score))
    except TooFewPairs as error:
        run.console.print(
            f"optimize: round {number} goes on with the pairs of the one before; {error}", markup=False, soft_wrap=True
        )
        return run.dir.read(place(number - 1, "pair"), Pair)


def _clips(run: Run, number: int) -> list[Video]:
    """All clips drawn until and in a round, the repository's first."""
    return [video for earlier in range(1, number + 1) for video in run.dir.read(place(earlier, "sample"), Video)]
