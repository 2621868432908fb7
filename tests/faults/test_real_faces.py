"""A pet is nobody: a face counts only where it scores as people do and a second network finds it too."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from magicid.core.errors import DataError
from magicid.core.interfaces import Face, Frames
from magicid.media.photo import read_photo
from magicid.perception.yunet import Agreed, Box, YuNet, real_faces
from tests.doubles import RED, FakeDetector, picture
from tests.faults.guards import Guard
from tests.real_data import DATA, with_data

GUARDS = {36: Guard("perception/yunet.py", "if score >= self.least_score", "if True")}

FRAME = picture((10, 30, RED))
FACE: Box = (10, 30, 50, 80)


class FakeNet:
    """Stands for OpenCV's YuNet: faces of the given scores, side by side."""

    def __init__(self, *scores: float) -> None:
        self.rows = np.array([[60 * i, 10, 40, 50, *[60 * i + 5, 20] * 5, score] for i, score in enumerate(scores)], np.float32)

    def setInputSize(self, size: tuple[int, int]) -> None:
        self.size = size

    def detect(self, image: NDArray[np.uint8]) -> tuple[int, NDArray[np.float32] | None]:
        assert (image.shape[1], image.shape[0]) == self.size
        return 1, self.rows if len(self.rows) else None


def yunet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *scores: float) -> YuNet:
    (tmp_path / "net.onnx").touch()
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: FakeNet(*scores))
    return YuNet(tmp_path / "net.onnx")


def test_row_36_what_scores_as_dogs_do_is_no_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = yunet(tmp_path, monkeypatch, 0.84, 0.905, 0.95).detect(FRAME[None])[0]
    assert [round(face.score, 3) for face in faces] == [0.95, 0.905]
    assert faces[0].box == (120, 10, 160, 60) and faces[0].landmarks.tolist() == [[125, 20]] * 5
    assert yunet(tmp_path, monkeypatch).detect(FRAME[None]) == [[]]


def test_row_36_large_pictures_are_seen_small_and_their_faces_come_back_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = yunet(tmp_path, monkeypatch, 0.95).detect(np.zeros((1, 1280, 960, 3), np.uint8))[0][0]
    assert face.box == (0, 20, 80, 120) and face.landmarks[0].tolist() == [10, 40]


@pytest.mark.parametrize(
    ("boxes", "count"), [([FACE], 1), ([], 0), ([(10, 30, 50, 49)], 0), ([(90, 30, 130, 80)], 0), ([(0, 0, 9, 9), FACE], 1)]
)
def test_row_36_two_networks_must_agree(boxes: list[Box], count: int) -> None:
    found = Agreed(FakeDetector(), lambda _: boxes).detect(np.stack([FRAME, picture()]))
    assert [len(faces) for faces in found] == [count, 0]


@pytest.mark.parametrize("content", [None, b"", b"not a network"])
def test_what_is_no_network_is_an_error_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(DataError, match=r"^\S+net\.onnx: .+; a face detector is an onnx file\. .+\.$") as e:
        real_faces(tmp_path / "net.onnx", tmp_path / "net.onnx")
    assert "\n" not in str(e.value)


def detected(*names: str) -> list[list[Face]]:
    weights = DATA / "weights"
    detector = real_faces(weights / "yunet_n_dynamic.onnx", weights / "rfb_640.onnx")
    frames: list[Frames] = [read_photo(DATA / name)[None] for name in names]
    return [detector.detect(frame)[0] for frame in frames]


@with_data
def test_row_36_dogs_are_no_people_and_people_are(tmp_path: Path) -> None:
    assert detected("fixtures/dogs.jpg") == [[]]
    people = sorted(path.relative_to(DATA).as_posix() for path in (DATA / "people").glob("*/*"))
    faces = detected(*people)
    assert len(people) == 40 and [len(found) for found in faces] == [1] * 40
    assert np.percentile([found[0].score for found in faces], 5) >= 0.93


@with_data
def test_faces_are_counted() -> None:
    counts = [len(found) for found in detected("fixtures/two_faces_1.jpg", "fixtures/two_faces_2.jpg", "fixtures/group.jpg")]
    assert counts == [2, 3, 7]  # a child stands behind the two of the second
