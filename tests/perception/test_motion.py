"""The motion measure sees the person, not the camera, noise or light; the field's two measures do not."""

from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from magicid.avatar import renderer
from magicid.avatar.actions import poses
from magicid.avatar.identity import Identity
from magicid.avatar.renderer import Clip, render_clip
from magicid.avatar.truth import ACTIONS, Truth
from magicid.core.errors import UsageError
from magicid.core.interfaces import Face, Observation
from magicid.perception.motion import MotionMeasure, at_rate, refuse_short, subject_motion, top_flow
from magicid.perception.optical_flow import background_motion, consistent, flow, residual_flow
from magicid.rewards.motion import MotionReward

Frames = NDArray[np.uint8]
SIDE, COUNT = 128, 9
HEAD = (52.0, 30.0, 76.0, 58.0)
WHO = Identity.random(7)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


def texture(seed: int, side: int = SIDE, colour: tuple[float, float, float] = (1, 1, 1)) -> Frames:
    """(side, side, 3) smooth noise, about two pixels a spot."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(side, side)), (0, 0), 2)
    picture: Frames = np.clip((120 + 48 * noise[..., None] / noise.std()) * colour, 0, 255).astype(np.uint8)
    return picture


def scene(shift: tuple[int, int] = (0, 0), person: float = 0, arm: float | None = None, cloth: int = 2) -> Frames:
    """One frame: textured room and person, the room and person shifted (x, y), the person besides by `person` pixels;
    the forearm hangs at `arm` degrees from upright."""
    dx, dy = shift
    frame = texture(1, SIDE + 64, (0.6, 0.8, 1.0))[32 - dy : 32 - dy + SIDE, 32 - dx : 32 - dx + SIDE].copy()
    figure, mask = texture(cloth, SIDE, (1.0, 0.6, 0.4)), np.zeros((SIDE, SIDE), np.uint8)
    cv2.rectangle(mask, (52, 30), (76, 58), 255, -1)
    cv2.rectangle(mask, (36, 62), (92, 128), 255, -1)
    move = np.array([[1, 0, dx + person], [0, 1, dy]], np.float64)
    layers = [(figure, mask, move)]
    if arm is not None:
        limb = np.zeros((SIDE, SIDE), np.uint8)
        cv2.rectangle(limb, (90, 30), (102, 74), 255, -1)
        layers.append((figure, limb, cv2.getRotationMatrix2D((96, 74), arm, 1.0) + np.array([[0, 0, dx], [0, 0, dy]])))
    for picture, where, affine in layers:
        inside = cv2.warpAffine(where, affine, (SIDE, SIDE)) > 127
        frame[inside] = cv2.warpAffine(picture, affine, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)[inside]
    return frame


def cases() -> dict[str, Frames]:
    """The table's cases (docs: METRICS), each (COUNT, SIDE, SIDE, 3)."""
    rng, steps = np.random.default_rng(0), range(COUNT)
    shakes = rng.integers(-5, 6, (COUNT, 2)).tolist()
    rest = scene().astype(np.float64)
    made = {
        "noise": [rest + rng.normal(0, 15, rest.shape) for _ in steps],
        "flicker": [rest * (1 + 0.15 * (-1) ** t) for t in steps],
        "boiling": [0.7 * rest + 0.3 * scene(cloth=10 + t) for t in steps],
        "shake": [scene((x, y)) for x, y in shakes],
        "pan": [scene((4 * t - 16, 0)) for t in steps],
        "waving": [scene(arm=25 * np.sin(2 * np.pi * 1.1 * t / 8)) for t in steps],
        "walking": [scene(person=5.0 * t - 20) for t in steps],
        "walking in a pan": [scene((3 * t - 12, 0), person=2.0 * t - 8) for t in steps],
    }
    return {name: np.clip(np.stack(frames), 0, 255).astype(np.uint8) for name, frames in made.items()}


def signed_flow(frames: Frames) -> float:
    """Absolute mean of the x and y flow over all pixels and pairs, as OpenS2V's MotionScore takes it."""
    return float(np.abs(np.mean([flow(a, b) for a, b in pairwise(frames)], axis=(0, 1, 2))).max())


def heads_of(name: str) -> list[tuple[float, float, float, float]]:
    speed = {"walking": 5, "walking in a pan": 5, "pan": 4}.get(name, 0)
    return [(HEAD[0] + s, HEAD[1], HEAD[2] + s, HEAD[3]) for s in (speed * (t - COUNT // 2) for t in range(COUNT))]


def value(measure: MotionMeasure) -> float:
    assert measure.state == "measured" and np.isfinite(measure.value)
    return measure.value


def measure(clip: Clip) -> float:
    return value(subject_motion(clip.frames, [tuple(box.tolist()) for box in clip.boxes], 8.0))


def test_only_the_person_counts_in_the_synthetic_table() -> None:
    made = cases()
    ours = {name: value(subject_motion(frames, heads_of(name), 8.0)) for name, frames in made.items()}
    still = ("noise", "flicker", "boiling", "shake", "pan")
    moving = ("waving", "walking", "walking in a pan")
    assert max(ours[name] for name in still) < 0.35 * min(ours[name] for name in moving), ours
    assert max(ours[name] for name in ("flicker", "shake", "pan")) < 0.02, ours
    top, signed = ({name: how(made[name]) for name in made} for how in (lambda frames: top_flow(frames, 8.0), signed_flow))
    assert min(top["pan"], top["shake"]) > 3, top  # takes the camera for the person
    assert signed["pan"] > 10 * signed["waving"] and signed["waving"] < 0.15, signed  # and this one misses waving


def test_walking_has_its_speed() -> None:
    expected = 5 * 8 / (7.5 * (HEAD[3] - HEAD[1]))  # pixels per frame, frames per second, pixels per subject
    assert value(subject_motion(cases()["walking"], heads_of("walking"), 8.0)) == pytest.approx(expected, rel=0.3)


def test_a_static_video_is_exactly_still() -> None:
    clip = render_clip(WHO, Truth("street", "hoodie", "waves"), 3)
    frames = np.repeat(clip.frames[:1], 17, axis=0)
    assert value(subject_motion(frames, [tuple(clip.boxes[0].tolist())] * 17, 8.0)) == 0
    assert top_flow(frames, 8.0) == 0


@pytest.mark.parametrize("camera", ["pan", "zoom", "handheld"])
def test_the_camera_does_not_move_the_person(camera: str, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Truth("office", "striped", "turns", camera=camera)
    turning = measure(render_clip(WHO, truth, 4))
    monkeypatch.setattr(renderer, "poses", lambda *args: poses(*args)[:1] * args[2])
    resting = measure(render_clip(WHO, truth, 4))
    assert resting < 0.02 and resting < 0.4 * turning, (resting, turning)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_strong_action_is_seen(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Truth("office", "hoodie", action, "strong")
    moving = measure(render_clip(WHO, truth, 5))
    monkeypatch.setattr(renderer, "poses", lambda *args: poses(*args)[:1] * args[2])
    resting = measure(render_clip(WHO, truth, 5))
    assert moving > 0.008 and moving > 2 * resting, (moving, resting)


def test_what_cannot_be_measured_is_not_zero() -> None:
    frames = np.repeat(scene()[None], 3, axis=0)
    nobody = subject_motion(frames, [None] * 3, 8.0)
    filling = subject_motion(frames, [(5.0, 5.0, 120.0, 125.0)] * 3, 8.0)
    broken = subject_motion(frames, [(float("nan"),) * 4, (9.0, 9.0, 9.0, 9.0), None], 8.0)
    outside = subject_motion(frames, [(-90.0, -95.0, -60.0, -70.0)] * 3, 8.0)
    assert (nobody.state, nobody.value) == (broken.state, broken.value) == ("failed", 0.0)
    assert outside.state == filling.state == "unmeasurable"
    assert np.isnan([outside.value, filling.value]).all()


def test_the_reward_keeps_the_three_states() -> None:
    face = Face(HEAD, 0.9, np.zeros((5, 2), np.float32))
    still = np.repeat(cases()["walking"][:1], 3, 0)
    reward = MotionReward()
    filling = Face((5.0, 5.0, 120.0, 125.0), 0.9, np.zeros((5, 2), np.float32))
    seen, unseen, hidden = (reward(Observation(still, "someone stands", 8.0, [f] * 3)) for f in (face, None, filling))
    assert (seen.state, seen.value, unseen.state, unseen.value) == ("measured", 0.0, "failed", 0.0)
    assert hidden.state == "unmeasurable" and np.isnan(hidden.value)


def test_a_lost_head_costs_its_share() -> None:
    frames, heads = cases()["walking"], heads_of("walking")
    whole, lost = subject_motion(frames, heads, 8.0), subject_motion(frames, [*heads[:4], *[None] * 5], 8.0)
    assert 0.2 * whole.valid < lost.valid < 0.5 * whole.valid and value(lost) < 0.6 * value(whole)


@pytest.mark.parametrize(("fps", "least"), [(8.0, 3), (4.0, 3), (16.0, 5), (24.0, 7), (25.0, 8)])
def test_clips_are_long_enough_from_two_neighbouring_pairs_on(fps: float, least: int) -> None:
    refuse_short("frames", least, fps)
    with pytest.raises(UsageError, match=f"frames {least - 1}: of {fps:g} a second, motion needs {least} or more"):
        refuse_short("frames", least - 1, fps)


def test_frames_are_taken_at_eight_a_second() -> None:
    assert at_rate(49, 24.0)[0].tolist() == list(range(0, 49, 3))
    assert at_rate(7, 12.0)[0].tolist() == [0, 2, 3, 5, 6]
    assert at_rate(3, 6.0)[0].tolist() == [0, 1, 2] and at_rate(3, 6.0)[1] == 6


def test_a_fitted_similarity_leaves_no_residual() -> None:
    y, x = np.mgrid[:64, :96].astype(np.float32)
    zoom = np.stack([0.02 * x - 3, 0.02 * y + 1], -1)
    moved = zoom.copy()
    moved[20:40, 30:50] += 9
    affine = background_motion(moved, np.ones((64, 96), np.bool_))
    assert affine is not None and np.abs(residual_flow(zoom, affine)).max() < 1e-3
    assert background_motion(moved, np.zeros((64, 96), np.bool_)) is None


def test_flow_is_in_pixels_of_the_frames_and_checks_itself() -> None:
    small = [np.asarray(cv2.resize(scene((dx, 0)), (64, 64), interpolation=cv2.INTER_AREA), np.uint8) for dx in (0, 4)]
    forward, backward = flow(small[0], small[1]), flow(small[1], small[0])
    assert np.median(forward[..., 0]) == pytest.approx(2, abs=0.2) and forward.shape == (64, 64, 2)
    trusted = consistent(forward, backward)
    assert trusted[:, 4:58].mean() > 0.9 and not trusted[:, -1].any()


def test_a_pair_of_frames_without_a_neighbour_says_nothing_of_motion() -> None:
    frames, heads = cases()["waving"], list(heads_of("waving"))
    alone = [head if i % 3 else None for i, head in enumerate(heads)]  # seen in frames 1, 2, 4, 5, ...: no two pairs touch
    found = subject_motion(frames, alone, 8.0)
    assert found.state == "unmeasurable" and np.isnan(found.value)


def test_the_fields_flow_does_not_depend_on_the_frame_rate() -> None:
    frames = cases()["pan"]
    assert top_flow(np.repeat(frames, 3, 0), 24.0) == top_flow(frames, 8.0)
