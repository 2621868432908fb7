"""Faces are aligned, followed and embedded as promised, whatever finds them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from magicid.avatar.actions import Pose as Stance
from magicid.avatar.head import Head
from magicid.avatar.identity import Identity
from magicid.core.interfaces import Face
from magicid.perception.face import SOLID, TEMPLATE, align, embed_faces, overlap, pose, similarity_warp
from magicid.perception.tracking import observe, track


def face(x: float, score: float = 0.9, side: float = 20) -> Face:
    landmarks = (TEMPLATE * side + (x, 10)).astype(np.float32)
    return Face((x, 10, x + side, 10 + side), score, landmarks)


@pytest.mark.parametrize("degrees", [0, 35, -120, 180])
@pytest.mark.parametrize("scale", [0.3, 1, 4])
def test_align_maps_landmarks_onto_the_template(degrees: float, scale: float) -> None:
    turn = scale * np.exp(1j * np.radians(degrees))
    moved = (TEMPLATE @ (1, 1j)) * turn + (7 - 3j)
    landmarks = np.stack((moved.real, moved.imag), 1)
    warp = similarity_warp(landmarks, TEMPLATE * 112)
    assert np.allclose(landmarks @ warp[:, :2].T + warp[:, 2], TEMPLATE * 112, atol=1e-6)


def test_aligned_crop_shows_the_landmarks_where_the_template_has_them() -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[28:33, 18:23] = 255  # about the left eye
    spots = TEMPLATE * 40 + (20 - TEMPLATE[0, 0] * 40, 30 - TEMPLATE[0, 1] * 40)
    crop = align(frame, spots, 32)
    y, x = np.argwhere(crop[..., 0] > 127).mean(0)
    assert crop.shape == (32, 32, 3)
    assert (x, y) == pytest.approx(tuple(TEMPLATE[0] * 32), abs=1)


def test_track_follows_the_person_it_began_with_and_gives_none_in_gaps() -> None:
    walker, other = [face(2.0 * t, 0.8) for t in range(6)], face(40, 0.7)
    detections = [[other, one] for one in walker]
    detections[3], detections[5] = [other], []
    assert track(detections) == [walker[0], walker[1], walker[2], None, walker[4], None]


def test_track_of_nothing_is_nothing() -> None:
    assert track([[], []]) == [None, None]
    assert track([]) == []


def test_overlap_is_one_for_equal_boxes_and_zero_apart() -> None:
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (5, 5, 6, 6)) == 0


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(0, 0, 0), (35, 0, 0), (-70, 0, 0), (0, 20, 0), (0, -20, 0), (0, 0, 30), (30, 0, -45)]
)
@pytest.mark.parametrize("size", [9.0, 300.0])
def test_a_pose_is_found_as_it_was_made(yaw: float, pitch: float, roll: float, size: float) -> None:
    a, b, c = np.radians([yaw, pitch, roll])
    x, y, z = SOLID.T * size
    x, z = x * np.cos(a) + z * np.sin(a), z * np.cos(a) - x * np.sin(a)
    y = y * np.cos(b) + z * np.sin(b)
    landmarks = np.stack([x * np.cos(c) - y * np.sin(c), x * np.sin(c) + y * np.cos(c)], 1) + 40
    assert pose(landmarks) == pytest.approx((yaw, pitch, roll), abs=1e-6)


@pytest.mark.parametrize("yaw", [-60, -30, 0, 45])
def test_the_pose_of_drawn_heads_is_theirs_on_average(yaw: float) -> None:
    found = []
    for person in range(40):
        points = Head(Identity.random(person), [Stance(yaw=yaw)]).landmarks(0, Stance(yaw=yaw))
        found.append(pose(np.stack([points.real, points.imag], 1)))
    assert np.mean(found, 0) == pytest.approx((yaw, 0, 0), abs=8)


class OneFace:
    """Finds the same face in every frame that is not black."""

    def detect(self, frames: NDArray[np.uint8]) -> list[list[Face]]:
        return [[face(20)] if frame.any() else [] for frame in frames]


class MeanColour:
    """Embeds a crop as its direction in RGB."""

    crop_size = 16
    same_person = 0.9

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        means = crops.reshape(len(crops), -1, 3).mean(1).reshape(len(crops), 3)
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def test_frames_without_a_face_are_not_a_number() -> None:
    frames = np.full((4, 64, 64, 3), 90, np.uint8)
    frames[2] = 0
    video = observe(frames, "a person", 8.0, OneFace())
    embeddings, faces = embed_faces(video, MeanColour()), video.faces
    assert embeddings.shape == (4, 3)
    assert np.isnan(embeddings).all(1).tolist() == [False, False, True, False]
    assert [found is None for found in faces] == [False, False, True, False]
