"""Likeness must last: no single frame wins it, no hidden face keeps it."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from magicid.core.interfaces import Face, Measured, Observation
from magicid.perception.face import SOLID, TEMPLATE
from magicid.rewards.identity import IdentityReward

FRAMES = 20


class Dial:
    """An encoder for which a crop's brightness is its cosine to the reference, from -1 at 0 to 1 at 255."""

    crop_size = 8
    same_person = 0.4

    def embed(self, crops: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        cosine = crops.mean((1, 2, 3)) / 127.5 - 1
        return np.stack([cosine, np.sqrt(1 - np.clip(cosine, -1, 1) ** 2)], 1).astype(np.float32)


def reward(likeness: Sequence[float | None]) -> Measured:
    """The reward of a clip with these cosines; None is a frame without a face."""
    frames = np.zeros((len(likeness), 16, 16, 3), np.uint8)
    face = Face((0, 0, 16, 16), 0.9, (TEMPLATE * 16).astype(np.float32))
    for frame, cosine in zip(frames, likeness):
        frame[:] = round(127.5 * ((cosine or 0) + 1))
    seen = [None if cosine is None else face for cosine in likeness]
    return IdentityReward(Dial(), np.array([[1, 0]], np.float32))(Observation(frames, "p", 8.0, seen))


def test_a_steady_likeness_is_its_own_value() -> None:
    measured = reward([0.8] * FRAMES)
    assert measured.state == "measured" and measured.value == pytest.approx(0.8, abs=0.01)
    assert measured.details["coverage"] == 1 and measured.details["slope"] == pytest.approx(0, abs=1e-6)


def test_one_good_frame_does_not_win() -> None:
    assert reward([0.95] + [0.2] * (FRAMES - 1)).value == pytest.approx(reward([0.2] * FRAMES).value, abs=0.01)


@pytest.mark.parametrize("hidden", [1, 5, 15, 19])
@pytest.mark.parametrize("cosine", [0.9, 0.3, -0.3])
def test_hiding_the_face_never_pays(cosine: float, hidden: int) -> None:
    some = reward([cosine] * (FRAMES - hidden) + [None] * hidden)
    assert some.details["coverage"] == pytest.approx(1 - hidden / FRAMES)
    whole = reward([cosine] * FRAMES)
    assert some.value < whole.value or (cosine < 0 and some.value == whole.value == 0)


def test_hiding_the_bad_frames_does_not_beat_showing_a_good_likeness() -> None:
    assert reward([0.9] * 10 + [None] * 10).value < reward([0.6] * FRAMES).value


@pytest.mark.parametrize("cosine", [0.5, -0.5])
def test_no_face_at_all_has_failed_with_0_and_nothing_scores_less(cosine: float) -> None:
    none = reward([None] * FRAMES)
    assert (none.state, none.value) == ("failed", 0.0)
    assert reward([cosine] * FRAMES).value >= 0


def test_a_likeness_that_fades_has_a_falling_slope_and_its_low_end_counts() -> None:
    fading = reward(list(np.linspace(0.9, 0.1, FRAMES)))
    assert fading.details["slope"] < 0 and fading.value < 0.25 < fading.details["mean"]


def clear_then(face: Face, clear: int) -> Measured:
    """The reward of a clip of the person himself: `clear` frames of a frontal face, then frames of `face`."""
    frontal = Face((0, 0, 16, 16), 0.9, (TEMPLATE * 16).astype(np.float32))
    frames = np.full((FRAMES, 16, 16, 3), 255, np.uint8)
    seen: list[Face | None] = [frontal if i < clear else face for i in range(FRAMES)]
    return IdentityReward(Dial(), np.array([[1, 0]], np.float32))(Observation(frames, "p", 8.0, seen))


def turned(degrees: float) -> Face:
    """A face turned to the picture's right."""
    yaw = np.radians(degrees)
    x, y, z = (SOLID * 16).T
    return Face((0, 0, 16, 16), 0.9, np.column_stack([x * np.cos(yaw) + z * np.sin(yaw), y]).astype(np.float32))


PROFILE = turned(73)
TINY = Face((0, 0, 3, 3), 0.9, (TEMPLATE * 3).astype(np.float32))  # 3 pixels; 8 x 48 / 112 are needed


@pytest.mark.parametrize("face", [PROFILE, TINY])
def test_faces_that_cannot_be_judged_are_counted_and_earn_nothing(face: Face) -> None:
    measured = clear_then(face, 15)
    assert measured.details["coverage"] == 0.75 and measured.details["unjudged"] == 0.25
    assert measured.value == pytest.approx(0.75, abs=0.01) and measured.details["p10"] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("face", [PROFILE, TINY])
def test_a_clip_of_nothing_else_is_unmeasurable(face: Face) -> None:
    measured = clear_then(face, 0)
    assert measured.state == "unmeasurable" and math.isnan(measured.value) and measured.details["unjudged"] == 1


def test_a_face_turned_halfway_is_judged() -> None:
    assert clear_then(turned(60), 0).details["coverage"] == 1


def test_the_nearest_reference_counts() -> None:
    reference = np.array([[-1, 0], [1, 0]], np.float32)
    face = Face((0, 0, 16, 16), 0.9, (TEMPLATE * 16).astype(np.float32))
    video = Observation(np.full((2, 16, 16, 3), 255, np.uint8), "p", 8.0, [face, face])
    assert IdentityReward(Dial(), reference)(video).value == pytest.approx(1, abs=0.01)
