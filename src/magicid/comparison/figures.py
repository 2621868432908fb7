"""What is measured of each clip: the report's figures, and what only the embedded world can say of it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from magicid.avatar.judges import Classifier
from magicid.avatar.prompts import parse
from magicid.comparison.clips import FOLDER, Shown
from magicid.core.files import text_digest
from magicid.core.interfaces import Frames, VideoTextEncoder
from magicid.core.records import ClipFigures
from magicid.core.run import Run
from magicid.core.run_dir import Journal
from magicid.media.photo import read_photo
from magicid.media.video import evenly
from magicid.metrics.video import video_metrics
from magicid.perception.optical_flow import estimator_of
from magicid.perception.tracking import observe
from magicid.stages.evaluate import gallery

NAMES = {  # as the report calls them -> as the field's tables do
    "identity_mean": "face", "identity": "face_p10", "motion": "motion", "top_flow": "motion_top5",
    "consistency": "consistency", "prompt": "prompt",
}  # fmt: skip
FIGURES = (*NAMES.values(), "prompt_accuracy", "image_similarity")
SAID = ("scene", "outfit", "action")  # fields of the truth that a prompt always says
_STILLS = 4  # frames of a clip that are compared with the photos


def measure(run: Run, clips: Sequence[Shown]) -> list[ClipFigures]:
    """Figures of every clip; those that the journal holds are not measured again."""
    journal, judge, figures = Journal(run.dir, FOLDER), _Judge(run), []
    photos = text_digest(*(photo.sha256 for photo in (*run.gallery(), *run.photos())))
    for clip in run.each("measure", clips, len(clips)):
        key = f"figures-{clip.place}-{clip.key}-{text_digest(clip.prompt)}-{photos}"
        found = journal.get(ClipFigures, key)
        if found is None:
            found = judge(clip)
            journal.add(found, key)
        figures.append(replace(found, method=clip.method))
    return figures


class _Judge:
    """The judges and what they know of the person, made ready when a clip is to be measured."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @cached_property
    def _classifier(self) -> Classifier:
        return Classifier()

    @cached_property
    def _references(self) -> NDArray[np.float32]:
        return gallery(self._run)

    @cached_property
    def _photos(self) -> NDArray[np.float32]:
        images = [read_photo(self._run.file(photo.image)) for photo in self._run.photos()]
        return held_still(self._run.judges.text_report, images, self._run.family.geometry.frames)

    def __call__(self, clip: Shown) -> ClipFigures:
        frames, judges = clip.frames(), self._run.judges
        fps, references = self._run.family.geometry.fps, self._references
        seen = observe(frames, clip.prompt, fps, judges.detector, judges.face_report, references)
        report = video_metrics(seen, judges, references, estimator_of(self._run.dir.settings()))
        shown, said = self._classifier.predict([frames])[0], parse(clip.prompt)
        values = {name: report[own] for own, name in NAMES.items()} | {
            "prompt_accuracy": float(np.mean([getattr(shown, field) == getattr(said, field) for field in SAID])),
            "image_similarity": image_similarity(judges.text_report, frames, self._photos),
        }
        features = tuple(self._classifier.features([frames])[0].tolist())
        return ClipFigures(clip.method, clip.place, values, features)


def image_similarity(encoder: VideoTextEncoder, frames: Frames, photos: NDArray[np.float32]) -> float:
    """Mean over some frames of the cosine with the nearest photo (P, D), all held still for the encoder.

    The field's image score (CLIP-I), and like it won by copying a photo, scene and all.
    """
    chosen = list(evenly(frames, _STILLS))
    return float((held_still(encoder, chosen, len(frames)) @ photos.T).max(1).mean())


def held_still(encoder: VideoTextEncoder, images: Sequence[NDArray[np.uint8]], frames: int) -> NDArray[np.float32]:
    """Embeddings (N, D) of pictures held for so many frames."""
    return encoder.embed_video([np.repeat(image[None], frames, 0) for image in images])
