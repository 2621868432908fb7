"""Videos by identity, motion and prompt: raw values and states, each measured once; then all together calibrated to 1..10."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from magicid.core import records, tables
from magicid.core.checks import one_of, within
from magicid.core.errors import DataError
from magicid.core.faults import reach
from magicid.core.files import sha256
from magicid.core.interfaces import FlowEstimator, Frames, Judges, Observation, Reward
from magicid.core.lanes import side_by_side
from magicid.core.records import Photo, Video
from magicid.core.run import Run
from magicid.core.run_dir import Journal
from magicid.media.photo import read_photo
from magicid.media.video import read_video
from magicid.perception.face import references_of
from magicid.perception.optical_flow import estimator
from magicid.perception.tracking import observe
from magicid.rewards.calibration import calibrate

Flow = Literal["dis", "raft"]


@dataclass(frozen=True)
class Scoring:
    """How motion is measured, what counts as too much of it, and when to give up."""

    flow: Flow = "dis"  # the optical flow, of the rewards and of the report; "raft" needs magicid[gpu]
    flow_weights: str = ""  # of raft, a .safetensors file; "": torchvision's own
    motion_cap_percentile: float = 75.0  # of the base model's clips: beyond it, more motion is not better
    most_unusable: float = 0.5  # share of videos without a finite score at which the stage stops

    def check(self) -> None:
        """Refuse settings that cannot work."""
        within("score", 0, 100, motion_cap_percentile=self.motion_cap_percentile)
        one_of("score", get_args(Flow), flow=self.flow)
        if self.flow == "raft":
            from magicid.perception.raft import check_raft

            check_raft(self.flow_weights)
        within("score", 0, 1, most_unusable=self.most_unusable)

    def weights_digest(self) -> dict[str, str]:
        """The sha256 of RAFT's file, to be frozen with the settings."""
        named = self.flow == "raft" and self.flow_weights
        return {"score.flow_weights_sha256": sha256(Path(self.flow_weights))} if named else {}

    def measured(self, run: Run, stage: str, sources: Sequence[Video | Photo]) -> list[records.Score]:
        """Raw rewards of videos and of static videos, in their order; each is entered in the stage's journal."""
        judges, photos, fps = run.judges, run.photos(), run.family.geometry.fps
        references = references_of(run, photos, judges.face_reward)
        flow, journal = estimator(self.flow, self.flow_weights), Journal(run.dir, stage)
        done = {source.id: score for source in sources if (score := journal.get(records.Score, source.id))}
        left = [source for source in sources if source.id not in done]

        def measure(source: Video | Photo) -> records.Score:
            own = [i for i, photo in enumerate(photos) if photo.id == source.id]  # a photo is not compared with itself
            others = np.delete(references, own, 0)
            prompt = source.prompt if isinstance(source, Video) else run.common.trigger
            seen = observe(frames_of(run, source), prompt, fps, judges.detector, judges.face_reward, others)
            return self._measure(source.id, self._rewards(judges, others, flow), seen)

        for score in run.each("score", side_by_side(measure, left, len(sources)), len(left)):
            journal.add(score, score.video)
            done[score.video] = score
        return [done[source.id] for source in sources]

    def _rewards(self, judges: Judges, references: NDArray[np.float32], flow: FlowEstimator) -> list[Reward]:
        arguments = {"identity": (judges.face_reward, references), "motion": (flow,), "prompt": (judges.text_reward,)}
        return [tables.load(tables.REWARDS, "reward", name)(*arguments.get(name, ())) for name in tables.REWARDS]

    def _measure(self, key: str, rewards: list[Reward], video: Observation) -> records.Score:
        measured = {reward.name: reward(video) for reward in rewards}
        raw = {name: m.value * reach("reward", key) for name, m in measured.items()}
        finite = {name: bool(np.isfinite(value)) for name, value in raw.items()}
        return records.Score(
            key,
            raw=raw,
            scaled={},
            state={name: m.state if finite[name] or m.state == "failed" else "unmeasurable" for name, m in measured.items()},
            details={name: m.details for name, m in measured.items()},
        )

    def calibrated(self, run: Run, scores: Sequence[records.Score], videos: Sequence[Video]) -> list[records.Score]:
        """The same with `scaled` filled, of those whose raw rewards are all finite; `videos` has the clips among them."""
        usable = [s for s in scores if all(np.isfinite(v) for v in s.raw.values())]
        if len(usable) < max(1, (1 - self.most_unusable) * len(scores)):
            raise DataError(
                f"{len(usable)} of {len(scores)} videos have finite scores; look at the mp4s of the others in {run.dir.root}."
            )
        if lost := len(scores) - len(usable):
            verbs = ("has", "is") if lost == 1 else ("have", "are")
            run.console.print("{} of {} videos {} no finite score and {} left out".format(lost, len(scores), *verbs))
        cap = motion_cap(usable, videos, self.motion_cap_percentile)
        scaled = {
            name: calibrate({s.video: s.raw[name] for s in usable}, cap if name == "motion" else float("inf"))
            for name in tables.REWARDS
        }
        for name in ("identity", "motion"):
            if len(set(scaled[name].values())) == 1:
                raise DataError(
                    f"all {len(usable)} videos have the same {name}, {usable[0].raw[name]:.3g}"
                    f"{f' or more (capped at {cap:.3g})' if name == 'motion' else ''}: nothing can be preferred; "
                    "sample with more steps, or fine-tune longer."
                )
        good = {s.video for s in usable}
        return [
            records.Score(
                s.video,
                s.raw,
                {name: scaled[name][s.video] for name in scaled} if s.video in good else {},
                s.state,
                s.details,
            )
            for s in scores
        ]


def motion_cap(scores: Sequence[records.Score], videos: Sequence[Video], percentile: float) -> float:
    """The percentile of the base model's raw motion in a repository: beyond it, more motion is not better."""
    base = {video.id for video in videos if video.origin == "base"}
    motions = [s.raw["motion"] for s in scores if s.video in base and np.isfinite(s.raw["motion"])]
    return float(np.percentile(motions, percentile)) if motions else float("inf")


def frames_of(run: Run, record: Video | Photo) -> Frames:
    """A record's frames at the family's size."""
    geometry = run.family.geometry
    if isinstance(record, Photo):
        return np.repeat(read_photo(run.file(record.image))[None], geometry.frames, 0)
    return read_video(run.file(record.file))[0]
