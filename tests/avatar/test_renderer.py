"""The drawn world is repeatable, and what it says about its pictures is true of them."""

from dataclasses import replace

import numpy as np
import pytest

from magicid.avatar.identity import Identity
from magicid.avatar.renderer import render_clip, render_photo
from magicid.avatar.truth import ACTIONS, CAMERAS, OUTFITS, SCENES, Truth, random_truth

PLAIN = Truth("office", "hoodie", "turns")
WHO = Identity.random(7)


def test_same_arguments_give_the_same_clip() -> None:
    first, second = (render_clip(Identity.random(7), PLAIN, 3) for _ in range(2))
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.landmarks, second.landmarks)
    assert not np.array_equal(first.frames, render_clip(WHO, PLAIN, 4).frames)
    assert not np.array_equal(first.frames, render_clip(Identity.random(8), PLAIN, 3).frames)


def test_shapes_follow_frames_and_size() -> None:
    clip = render_clip(WHO, PLAIN, 1, frames=5, size=96)
    assert clip.frames.shape == (5, 96, 96, 3) and clip.frames.dtype == np.uint8
    assert clip.landmarks.shape == (5, 5, 2) and clip.boxes.shape == (5, 4)
    assert clip.masks.shape == (5, 96, 96) and clip.masks.dtype == np.bool_
    photo = render_photo(WHO, 2)
    assert photo.image.shape == (256, 256, 3) and photo.landmarks.shape == (5, 2) and photo.mask.any()


@pytest.mark.parametrize("seed", range(40))
def test_landmarks_lie_in_the_box_and_on_the_person(seed: int) -> None:
    clip = render_clip(Identity.random(seed), random_truth(np.random.default_rng(seed)), seed)
    low, high = clip.boxes[:, None, :2], clip.boxes[:, None, 2:]
    assert (clip.boxes > -0.5).all() and (clip.boxes < 64.5).all()
    assert ((clip.landmarks > low - 0.5) & (clip.landmarks < high + 0.5)).all()
    x, y = np.moveaxis(clip.landmarks.astype(int), -1, 0)
    assert clip.masks[np.arange(17)[:, None], y, x].mean() > 0.97
    assert (clip.landmarks[:, 0, 0] < clip.landmarks[:, 1, 0]).all()


@pytest.mark.parametrize(("field", "names"), [("scene", SCENES), ("outfit", OUTFITS), ("action", ACTIONS)])
def test_every_name_has_a_look_of_its_own(field: str, names: tuple[str, ...]) -> None:
    clips = [render_clip(WHO, replace(PLAIN, **{field: name}), 5).frames.astype(float) for name in names]
    gaps = [np.abs(a - b).mean() for i, a in enumerate(clips) for b in clips[:i]]
    assert min(gaps) > 1


def test_every_scene_moves_behind_the_person() -> None:
    for scene in SCENES:
        clip = render_clip(WHO, replace(PLAIN, scene=scene), 5)
        behind = ~clip.masks.any(axis=0)
        assert np.ptp(clip.frames.astype(int), axis=0)[behind].max() > 40, scene


def test_a_moving_camera_moves_the_backdrop() -> None:
    ranges = {}
    for camera in CAMERAS:
        clip = render_clip(WHO, replace(PLAIN, camera=camera), 5)
        ranges[camera] = np.ptp(clip.frames.astype(int), axis=0)[~clip.masks.any(axis=0)].mean()
    assert all(ranges[camera] > ranges["still"] + 3 for camera in CAMERAS[1:])
