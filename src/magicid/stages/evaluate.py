"""The table: base, fine-tuned and MagicID on the same prompts and seeds, judged by encoders that no reward has used."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magicid.core.files import publish_text
from magicid.core.records import Adapter, Metric, Value, Video
from magicid.core.run import Run
from magicid.core.run_dir import Journal
from magicid.export.lora_file import export_adapter
from magicid.media.photo import read_photo
from magicid.media.video import read_video
from magicid.metrics.bootstrap import interval
from magicid.metrics.video import video_metrics
from magicid.perception.face import reference_faces
from magicid.perception.tracking import observe


@dataclass(frozen=True)
class Evaluate:
    """Nothing to set: the clips are those of `generate`."""

    def check(self) -> None:
        """Nothing to refuse."""

    def run(self, run: Run) -> Sequence[Metric]:
        """Measure every clip, average per method, and export the adapter."""
        videos = run.dir.read("generate", Video)
        journal = Journal(run.dir, "evaluate")
        references = gallery(run)
        values: dict[str, dict[str, float]] = {}
        for video in run.each("evaluate", videos, len(videos)):
            record = journal.get(Value, video.id)
            if record is None:
                frames = read_video(run.file(video.file))[0]
                judges, fps = run.judges, run.family.geometry.fps
                seen = observe(frames, video.prompt, fps, judges.detector, judges.face_report, references)
                record = Value(video.id, video_metrics(seen, judges, references))
                journal.add(record, video.id)
            values[video.id] = record.values
        publish_text(run.dir.stage("evaluate") / "values.json", json.dumps(values))
        methods = dict.fromkeys(video.origin for video in videos)
        metrics = [metric for method in methods for metric in _metrics(method, videos, values)]
        export_adapter(run, run.dir.read("optimize", Adapter)[0], run.dir.root / "adapter.safetensors", metrics)
        return metrics


def gallery(run: Run) -> NDArray[np.float32]:
    """Embeddings (R, D) of the report's photos by the report's encoder."""
    images = [read_photo(run.file(photo.image)) for photo in run.gallery()]
    return reference_faces(images, run.judges.detector, run.judges.face_report)


def _metrics(method: str, videos: Sequence[Video], values: dict[str, dict[str, float]]) -> list[Metric]:
    own = [video for video in videos if video.origin == method]
    metrics = []
    for name in values[own[0].id]:
        numbers = [values[video.id][name] for video in own]
        mean, low, high = interval(numbers, [video.prompt for video in own])
        metrics.append(Metric(method, name, mean, low, high, int(np.isfinite(numbers).sum())))
    return metrics
