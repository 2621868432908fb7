"""Which step of a training does best on clips of the repository's prompts: identity and motion of each, by the rewards' judges.

The report's prompts and judges have no say.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from magicid.core.files import publish_text
from magicid.core.lanes import side_by_side
from magicid.core.records import Adapter, Score, Video
from magicid.core.run import Run
from magicid.core.seeds import item_seed
from magicid.media.video import read_video
from magicid.perception.face import references_of
from magicid.perception.optical_flow import estimator_of
from magicid.perception.tracking import observe
from magicid.rewards.identity import IdentityReward
from magicid.rewards.motion import MotionReward
from magicid.rewards.scoring import motion_cap
from magicid.training.adapters import loaded
from magicid.training.clips import Wanted, make_clips


class Point(NamedTuple):
    """What the clips of one step show, each a mean of raw rewards."""

    identity: float
    motion: float  # of each clip no more than the cap of the repository's scores: beyond it, more is not better


Points = Mapping[int, Point]  # by step


def validate(
    run: Run,
    stage: str,
    candidates: Mapping[int, Adapter],
    prompts: int,
    sampling: tuple[int, int, float | None],
    choose: Callable[[Points], int],
) -> tuple[int, Points]:
    """The step that `choose` takes, and all points, which the stage's `validation.json` then holds.

    Each candidate draws one clip of each of the first `prompts` prompts, from the same noise; `sampling` is its steps, its
    batch and its guidance. The clips stand in the stage's journal.
    """
    points = {step: _point(run, stage, step, adapter, prompts, sampling) for step, adapter in candidates.items()}
    best = choose(points)
    named = {step: point._asdict() for step, point in points.items()}
    publish_text(run.dir.stage(stage) / "validation.json", json.dumps({"best": best, "steps": named}))
    return best, points


def largest_area(points: Points) -> int:
    """The step whose point spans the largest area above the origin: a product, whatever the units."""
    return _first_best(points, area)


def area(point: Point) -> float:
    """What a point spans above the origin."""
    return max(point.identity, 0.0) * max(point.motion, 0.0)


def most_motion(points: Points, least_identity: float) -> int:
    """Of the steps with at least that share of the identity of step 0, the one with the most motion.

    Where there is none, the one with the most identity.
    """
    kept = {step: point for step, point in points.items() if point.identity >= least_identity * points[0].identity}
    return _first_best(kept, lambda point: point.motion) if kept else _first_best(points, lambda point: point.identity)


def _first_best(points: Points, value: Callable[[Point], float]) -> int:
    return max(points, key=lambda step: (value(points[step]), -step))


def _point(run: Run, stage: str, step: int, adapter: Adapter, count: int, sampling: tuple[int, int, float | None]) -> Point:
    name = f"snapshot-{step}"
    wanted = [
        Wanted(f"validation/{name}-{p.number}", stage, p.text, item_seed(run.common.seed, "validation", p.id), name)
        for p in run.prompts()[:count]
    ]
    with loaded(run, {name: adapter}):
        videos = make_clips(run, stage, wanted, *sampling)
    return mean_rewards(run, videos)


def mean_rewards(run: Run, videos: Sequence[Video]) -> Point:
    """Of clips; those that cannot be measured are left out."""
    judges, settings = run.judges, run.dir.settings()
    known = (judges.face_reward, references_of(run, run.photos(), judges.face_reward))
    identity, motion = IdentityReward(*known), MotionReward(estimator_of(settings))
    scores = [score for score in run.dir.read("score", Score) if score.scaled]
    cap = motion_cap(scores, run.dir.read("sample", Video), settings["score.motion_cap_percentile"])

    def rewarded(video: Video) -> tuple[float, float]:
        seen = observe(read_video(run.file(video.file))[0], video.prompt, run.family.geometry.fps, judges.detector, *known)
        return identity(seen).value, min(motion(seen).value, cap)

    values = list(run.each("validate", side_by_side(rewarded, videos), len(videos)))
    finite = ([value for value in of_all if np.isfinite(value)] for of_all in zip(*values, strict=True))
    return Point(*(float(np.mean(found)) if found else 0.0 for found in finite))
