"""The report's figures of one video: consistency is told by neighbouring frames."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from magicid.core.interfaces import Frames, Observation
from magicid.metrics.video import MEANINGS, video_metrics


class Brightness:
    """A `VideoTextEncoder` that sees one thing: an angle of so many degrees as a clip's mean brightness."""

    crop_size, same_person = 8, 0.5

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.ones((len(crops), 2), np.float32)

    def embed_video(self, clips: Sequence[Frames]) -> NDArray[np.float32]:
        angles = np.radians([clip.mean() for clip in clips])
        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)

    def similarity(self, clips: Sequence[Frames], sentences: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros(len(clips), np.float32)


@pytest.mark.parametrize(
    ("levels", "degrees"), [((9, 9, 9, 9), (0, 0, 0)), ((0, 30, 60, 90), (30, 30, 30)), ((0, 60, 0), (60, 60))]
)
def test_consistency_is_the_mean_cosine_of_neighbouring_frames(levels: Sequence[int], degrees: Sequence[int]) -> None:
    frames = np.stack([np.full((16, 16, 3), level, np.uint8) for level in levels])
    judges: Any = SimpleNamespace(face_report=Brightness(), text_report=Brightness())
    seen = Observation(frames, "a person", 8.0, [None] * len(frames))
    found = video_metrics(seen, judges, np.ones((1, 2), np.float32))
    assert found["consistency"] == pytest.approx(np.cos(np.radians(degrees)).mean(), abs=1e-6)
    assert found["identity"] == 0
    assert set(MEANINGS) == set(found), "a figure without a meaning, or the other way round"
