"""The table: base, fine-tuned and MagicID on the same prompts and seeds, judged by encoders that no reward has used.

And the leakage check: how much of the person's likeness strangers have taken on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magicid.core.checks import at_least
from magicid.core.files import publish_text
from magicid.core.finite import finite
from magicid.core.lanes import side_by_side
from magicid.core.records import STRANGERS, Metric, Value, Video
from magicid.core.run import Run
from magicid.core.run_dir import Journal
from magicid.export.result import NAMES, export_result
from magicid.media.video import read_video
from magicid.metrics.bootstrap import interval
from magicid.metrics.leakage import MOST, leakage
from magicid.metrics.video import DEFINITION, face_metrics, video_metrics
from magicid.perception.face import references_of
from magicid.perception.optical_flow import estimator_of
from magicid.perception.tracking import observe


@dataclass(frozen=True)
class Evaluate:
    """The clips are those of `generate`."""

    most_leakage: float = MOST  # of the identity that the person gained: where strangers gained more, the report warns

    def check(self) -> None:
        """Refuse settings that cannot work."""
        at_least("evaluate", 0, most_leakage=self.most_leakage)

    def run(self, run: Run) -> Sequence[Metric]:
        """Measure every clip, average per method, and export the adapter."""
        videos = run.dir.read("generate", Video)
        journal = Journal(run.dir, "evaluate")
        references, flow = gallery(run), estimator_of(run.dir.settings())
        judges, fps = run.judges, run.family.geometry.fps

        def measured(video: Video) -> Value:
            frames = read_video(run.file(video.file))[0]
            if video.origin in STRANGERS.values():
                seen = observe(frames, video.prompt, fps, judges.detector)
                return Value(video.id, face_metrics(seen, judges.face_report, references))
            seen = observe(frames, video.prompt, fps, judges.detector, judges.face_report, references)
            return Value(video.id, video_metrics(seen, judges, references, flow))

        keys = {video.id: f"{video.id}-{DEFINITION}" for video in videos}
        values = {name: record.values for name, key in keys.items() if (record := journal.get(Value, key))}
        left = [video for video in videos if video.id not in values]
        for made in run.each("evaluate", side_by_side(measured, left, len(videos)), len(left)):
            journal.add(made, keys[made.video])
            values[made.video] = made.values
        shown = [video for video in videos if video.origin not in STRANGERS.values()]
        publish_text(run.dir.stage("evaluate") / "values.json", json.dumps(finite({v.id: values[v.id] for v in shown}), indent=1))
        methods = dict.fromkeys(video.origin for video in shown)
        metrics = [metric for method in methods for metric in _metrics(method, shown, values)]
        metrics += leakage(videos, {key: value["identity"] for key, value in values.items()})
        export_result(run, run.dir.root / NAMES["universal"], metrics)
        return metrics


def gallery(run: Run) -> NDArray[np.float32]:
    """Embeddings (R, D) of the report's photos by the report's encoder."""
    return references_of(run, run.gallery(), run.judges.face_report)


def _metrics(method: str, videos: Sequence[Video], values: dict[str, dict[str, float]]) -> list[Metric]:
    own = [video for video in videos if video.origin == method]
    metrics = []
    for name in values[own[0].id]:
        numbers = [values[video.id][name] for video in own]
        mean, low, high = interval(numbers, [video.prompt for video in own])
        metrics.append(Metric(method, name, mean, low, high, int(np.isfinite(numbers).sum())))
    return metrics
