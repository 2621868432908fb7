"""What only the embedded world can say of a clip is right for clips of which everything is known."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from magicid.comparison.figures import image_similarity
from tests.doubles import FakeVideoText


class Brightness(FakeVideoText):
    """Embeds a clip as a direction that its mean brightness gives."""

    def embed_video(self, clips: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        angles = np.array([clip.mean() / 255 * np.pi / 2 for clip in clips])
        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_each_frame_is_compared_with_the_nearest_photo() -> None:
    frames = np.repeat(np.array([0, 0, 255, 255], np.uint8), 8 * 8 * 3).reshape(4, 8, 8, 3)
    black, white, middle = (np.array([[np.cos(a), np.sin(a)]], np.float32) for a in (0, np.pi / 2, np.pi / 4))
    assert image_similarity(Brightness(), frames, np.concatenate([black, white])) == pytest.approx(1)
    assert image_similarity(Brightness(), frames, black) == pytest.approx(0.5)
    assert image_similarity(Brightness(), frames, middle) == pytest.approx(np.cos(np.pi / 4))
