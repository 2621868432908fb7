"""The judges of real people on real photos and clips; the photos of people stay where they are."""

from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from magicid.core.interfaces import Face, FaceDetector, Frames
from magicid.media.photo import read_photo
from magicid.media.video import read_video
from magicid.perception.face import align, judgeable
from magicid.perception.motion import RATE, at_rate, scene_motion, subject_motion
from magicid.perception.recognisers import Recogniser
from magicid.perception.tracking import Appearance, observe, track
from magicid.perception.yunet import real_faces
from tests.doubles import turned
from tests.real_data import DATA, with_data

pytestmark = with_data
TALKING = ("talk_1", "talk_2", "talk_3", "talk_4")
SECONDS = 3  # of each clip that are looked at


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@cache
def detector() -> FaceDetector:
    return real_faces(DATA / "weights" / "yunet_n_dynamic.onnx", DATA / "weights" / "rfb_640.onnx")


@cache
def encoder() -> Recogniser:
    return Recogniser("mobileface", lambda: DATA / "weights" / "mobileface_id_v2.onnx")


def faces(image: NDArray[np.uint8]) -> list[Face]:
    return detector().detect(image[None])[0]


def embedded(image: NDArray[np.uint8], found: list[Face]) -> NDArray[np.float32]:
    return encoder().embed(np.stack([align(image, face.landmarks, 112) for face in found]))


@cache
def people() -> dict[str, NDArray[np.float32]]:
    """Embeddings of everybody's photos."""
    folders = sorted((DATA / "people").iterdir())
    photos = {folder.name: [read_photo(path) for path in sorted(folder.iterdir())] for folder in folders}
    return {name: np.concatenate([embedded(image, faces(image)[:1]) for image in images]) for name, images in photos.items()}


@cache
def clip(name: str) -> tuple[Frames, list[list[Face]]]:
    """The frames of a clip at the rate that motion is measured at, and their faces."""
    frames, fps = read_video(DATA / "clips" / f"{name}.mp4")
    frames = frames[at_rate(len(frames), fps)[0]][: int(SECONDS * RATE)]
    return frames, detector().detect(frames)


def motion(name: str, path: list[Face | None] | None = None) -> float:
    frames, found = clip(name)
    measure = subject_motion(frames, [face and face.box for face in path or track(found)], RATE)
    assert measure.state == "measured"
    return measure.value


def test_one_person_is_alike_in_99_of_100_pairs_and_two_never_are() -> None:
    known, least = people(), encoder().same_person
    same = [float(a @ b) for vectors in known.values() for a, b in combinations(vectors, 2)]
    other = [float((a @ b.T).max()) for a, b in combinations(known.values(), 2)]
    assert len(known) == 8 and len(same) == 87
    assert np.mean(np.array(same) >= least) >= 0.99 and max(other) < least - 0.05, (min(same), max(other))


def test_a_photo_turned_by_any_exif_value_gives_one_embedding(tmp_path: Path) -> None:
    with Image.open(DATA / "people" / "f" / "03.jpg") as file:
        upright = file.convert("RGB")
    vectors = []
    for orientation in range(1, 9):
        stored, exif = turned(upright, orientation)
        stored.save(tmp_path / "photo.png", exif=exif)
        image = read_photo(tmp_path / "photo.png")
        vectors.append(embedded(image, faces(image)[:1])[0])
    assert np.array_equal(np.stack(vectors), np.stack([vectors[0]] * 8))


def test_of_two_people_on_a_photo_one_is_who_is_meant() -> None:
    image = read_photo(DATA / "fixtures" / "two_faces_2.jpg")
    likeness = (embedded(image, faces(image)) @ people()["f"].T).max(1)
    assert (likeness >= encoder().same_person).sum() == 1, likeness


def test_half_a_face_and_one_on_glass_are_faces_that_can_be_judged() -> None:
    for name in ("partial_face.jpg", "rgba.png"):
        found = faces(read_photo(DATA / "fixtures" / name))
        assert len(found) == 1 and judgeable(found[0], 112)
    partial = read_photo(DATA / "fixtures" / "partial_face.jpg")
    assert (embedded(partial, faces(partial)) @ people()["f"].T).max() >= encoder().same_person


def test_small_faces_of_a_group_are_found_and_not_judged() -> None:
    small = [face for face in faces(read_photo(DATA / "fixtures" / "group.jpg")) if not judgeable(face, 112)]
    assert len(small) >= 4 and max(face.box[3] - face.box[1] for face in small) < 48


def test_a_face_that_fills_the_picture_is_found_by_looking_again() -> None:
    image = read_photo(DATA / "people" / "f" / "01.jpg")
    x0, y0, x1, y1 = (round(v) for v in faces(image)[0].box)
    close = cv2.resize(image[y0:y1, x0:x1], (600, 750))
    assert len(faces(np.asarray(close, np.uint8))) == 1


def test_who_talks_is_followed_nearly_all_the_time() -> None:
    shares = [np.mean([face is not None for face in track(clip(name)[1])]) for name in TALKING]
    assert min(shares) >= 0.94, shares


def test_of_several_people_the_one_meant_is_followed_through_cuts() -> None:
    frames, fps = read_video(DATA / "clips" / "several_people.mp4")
    frames = frames[at_rate(len(frames), fps)[0]]
    found = detector().detect(frames)
    singer = embedded(frames[40], found[40][:1])
    path = track(found, Appearance(frames, encoder(), singer))
    likeness = {t: float((embedded(frames[t], [face]) @ singer.T)[0, 0]) for t, face in enumerate(path) if face}
    audience = range(57, len(frames))  # after the last cut
    assert all(len(found[t]) > 1 and path[t] is None for t in audience)
    assert {*range(3), *range(22, 57)} <= likeness.keys() and min(likeness.values()) > 0.2, likeness


def test_talking_moves_more_than_a_still_and_less_than_bikes() -> None:
    frames, found = clip("talk_1")
    still = np.repeat(frames[:1], 4, 0)
    assert subject_motion(still, [found[0][0].box] * 4, RATE).value == scene_motion(still, RATE).value == 0
    assert min(motion(name) for name in TALKING) > 0.003
    scenes = {name: scene_motion(clip(name)[0], RATE).value for name in (*TALKING, "bikes")}
    assert all(speed > 0 for speed in scenes.values()) and max(scenes, key=lambda name: scenes[name]) == "bikes", scenes


def test_compression_is_no_motion() -> None:
    followed = track(clip("car_pristine")[1])
    assert motion("car_distorted") < motion("car_pristine")
    assert motion("car_distorted", followed) < motion("car_pristine", followed)  # nor where the face is known


def test_a_clip_of_nobody_is_no_motion_of_a_person() -> None:
    frames, found = clip("bikes")
    seen = observe(frames[:8], "p", RATE, detector())
    assert seen.faces == [None] * 8 and not any(found[:8])
    assert subject_motion(frames[:8], seen.faces, RATE).state == "failed"  # type: ignore[arg-type]
