"""What is measured of each clip: the report's figures, and what only the embedded world can say of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from magicid.avatar.judges import Classifier
from magicid.avatar.prompts import parse
from magicid.comparison.clips import FOLDER, Shown
from magicid.core.files import text_digest
from magicid.core.interfaces import Frames, Observation, VideoTextEncoder
from magicid.core.lanes import side_by_side
from magicid.core.records import ClipFigures, FrameLikeness
from magicid.core.run import Run
from magicid.core.run_dir import Journal
from magicid.media.photo import read_photo
from magicid.media.video import evenly
from magicid.metrics.video import DEFINITION, embed_stills, video_metrics
from magicid.perception.likeness import likeness_of
from magicid.perception.optical_flow import estimator_of
from magicid.perception.tracking import observe
from magicid.stages.evaluate import gallery

NAMES = {  # as the report calls them -> as the field's tables do
    "identity_mean": "face", "identity": "face_p10", "motion": "motion", "top_flow": "motion_top5",
    "consistency": "consistency", "prompt": "prompt",
}  # fmt: skip
FIGURES = (*NAMES.values(), "prompt_accuracy", "image_similarity")
SAID = ("scene", "outfit", "action")  # fields of the truth that a prompt always says
R = TypeVar("R", ClipFigures, FrameLikeness)
_STILLS = 4  # frames of a clip that are compared with the photos


def measure(run: Run, clips: Sequence[Shown]) -> list[ClipFigures]:
    """Figures of every clip."""
    return _once(run, f"figures-{DEFINITION}", ClipFigures, clips, _Judge.figures)


def likenesses(run: Run, clips: Sequence[Shown]) -> list[FrameLikeness]:
    """How like the person every frame of every clip is."""
    return _once(run, f"frames-{DEFINITION}", FrameLikeness, clips, _Judge.likeness)


def _once(run: Run, what: str, kind: type[R], clips: Sequence[Shown], judge: "Callable[[_Judge, Shown], R]") -> list[R]:
    """What is said of each clip, in its own method's name; what the journal holds is not asked again."""
    journal = Journal(run.dir, FOLDER)
    photos = text_digest(*(photo.sha256 for photo in (*run.gallery(), *run.photos())))
    keys = [f"{what}-{clip.place}-{clip.key}-{text_digest(clip.prompt)}-{photos}" for clip in clips]
    known = {key: record for key in keys if (record := journal.get(kind, key))}
    left = {key: clip for key, clip in zip(keys, clips, strict=True) if key not in known}
    if left:
        judged = side_by_side(partial(judge, _Judge(run)), list(left.values()), len(clips))
        for key, made in zip(left, run.each("measure", judged, len(left)), strict=True):
            journal.add(made, key)
            known[key] = made
    return [replace(known[key], method=clip.method) for key, clip in zip(keys, clips, strict=True)]


class _Judge:
    """The judges and what they know of the person, made ready before the lanes begin."""

    def __init__(self, run: Run) -> None:
        self._judges, self._geometry = run.judges, run.family.geometry
        self._classifier, self._flow = Classifier(), estimator_of(run.dir.settings())
        self._references = gallery(run)
        images = (read_photo(run.file(photo.image)) for photo in run.photos())
        self._photos = embed_stills(self._judges.text_report, images)

    def _seen(self, clip: Shown) -> Observation:
        judges = self._judges
        return observe(clip.frames(), clip.prompt, self._geometry.fps, judges.detector, judges.face_report, self._references)

    def likeness(self, clip: Shown) -> FrameLikeness:
        """By the report's encoder, in every frame that shows the person."""
        cosines = likeness_of(self._seen(clip), self._judges.face_report, self._references).cosines
        return FrameLikeness(clip.method, clip.place, tuple(cosines.tolist()))

    def figures(self, clip: Shown) -> ClipFigures:
        """All of `FIGURES`."""
        judges, seen = self._judges, self._seen(clip)
        frames = seen.frames
        report = video_metrics(seen, judges, self._references, self._flow)
        shown, said = self._classifier.predict([frames])[0], parse(clip.prompt)
        values = {name: report[own] for own, name in NAMES.items()} | {
            "prompt_accuracy": float(np.mean([getattr(shown, field) == getattr(said, field) for field in SAID])),
            "image_similarity": image_similarity(judges.text_report, frames, self._photos),
        }
        features = tuple(self._classifier.features([frames])[0].tolist())
        return ClipFigures(clip.method, clip.place, values, features)


def image_similarity(encoder: VideoTextEncoder, frames: Frames, photos: NDArray[np.float32]) -> float:
    """Mean over some frames of the cosine with the nearest photo (P, D), each a still for the encoder.

    The field's image score (CLIP-I), and like it won by copying a photo, scene and all.
    """
    return float((embed_stills(encoder, evenly(frames, _STILLS)) @ photos.T).max(1).mean())
