"""Photos of real people and what else comes with them, looked at by real networks."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from magicid.core.interfaces import Frames, Judges
from magicid.metrics.intake import advice, described
from magicid.perception.expression import NEUTRAL, OPEN, SMILING
from magicid.perception.intake import examine
from magicid.perception.look import Look
from magicid.perception.yunet import real_faces
from tests.doubles import FakeVideoText

DATA = Path(os.environ.get("MAGICID_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not (DATA / "weights").is_dir(), reason="no real photos here; MAGICID_TEST_DATA names their folder"
)
MOUTHS = {  # by eye; where lips are nearly closed, no one can say
    SMILING: "a/01 a/02 a/03 a/04 a/05 a/06 b/01 b/02 b/03 b/04 b/05 c/01 c/03 c/04 e/02 e/03 e/04 e/05 e/06 f/01 f/03",
    OPEN: "d/01 d/04 d/05 e/01 f/02",
    NEUTRAL: "b/06 c/02 c/05 c/06 d/02 d/03 d/06 f/04 g/01 g/02 g/03 h/01 h/02 h/03",
}


class MobileFace:
    """A `FaceEncoder` over the data's recogniser."""

    crop_size = 112
    same_person = 0.4

    def __init__(self) -> None:
        self.net = cv2.dnn.readNet(str(DATA / "weights" / "mobileface_id_v2.onnx"))

    def embed(self, crops: Frames) -> NDArray[np.float32]:
        """Unit vectors (N, 256)."""
        vectors = []
        for crop in crops:
            self.net.setInput(cv2.dnn.blobFromImage(np.ascontiguousarray(crop)))
            vectors.append(np.asarray(self.net.forward(), np.float32).ravel())
        return np.stack([vector / np.linalg.norm(vector) for vector in vectors])


@pytest.fixture(scope="module")
def real() -> Judges:
    weights, encoder, text = DATA / "weights", MobileFace(), FakeVideoText()
    return Judges(real_faces(weights / "yunet_n_dynamic.onnx", weights / "rfb_640.onnx"), encoder, encoder, text, text)


@pytest.fixture(scope="module")
def people(real: Judges) -> dict[str, Look]:
    """Every photo of the eight people, by its place: "a/01"."""
    looks = {f"{name}/{look.path.stem}": look for name in "abcdefgh" for look in examine(DATA / "people" / name, real)}
    assert len(looks) == 40
    return looks


def test_all_photos_of_one_person_are_kept(people: dict[str, Look]) -> None:
    assert [name for name, look in people.items() if not look.kept] == ["d/05"]  # the same file as d/04
    president = [look for name, look in people.items() if name[0] == "f"]
    assert len(president) == 4 and all(look.kept and look.faces == 1 and look.similarity > 0.7 for look in president)
    assert [look.portrait.view for look in president if look.portrait] == ["frontal", "half left", "frontal", "half right"]
    assert advice(president)[1:] == ["no profile: add a photo from the side."]


def test_photos_of_one_moment_are_called_nearly_the_same(people: dict[str, Look]) -> None:
    near = {name for name, look in people.items() if any("nearly the same" in line for line in look.warnings)}
    assert near == {"a/06", "d/03", "e/04"}


def test_mouths_are_told_roughly(people: dict[str, Look]) -> None:
    found = {said: [(n := people[name].portrait) and n.expression for name in names.split()] for said, names in MOUTHS.items()}
    assert {said: names.count(said) for said, names in found.items()} == {SMILING: 18, OPEN: 5, NEUTRAL: 14}


def test_the_outlier_is_named(tmp_path: Path, real: Judges) -> None:
    for i in range(1, 5):
        shutil.copy(DATA / "people" / "a" / f"{i:02d}.jpg", tmp_path / f"{i}.jpg")
    shutil.copy(DATA / "people" / "b" / "01.jpg", tmp_path / "guest.jpg")
    looks = {look.name: look for look in examine(tmp_path, real)}
    assert [name for name, look in looks.items() if not look.kept] == ["guest.jpg"]
    assert looks["guest.jpg"].problem.startswith("looks like another person (median similarity .")


def test_every_fixture_is_judged_as_its_note_says(tmp_path: Path, real: Judges) -> None:
    shutil.copytree(DATA / "fixtures", tmp_path / "photos")
    shutil.copy(DATA / "people" / "f" / "01.jpg", tmp_path / "photos" / "01.jpg")
    looks = {look.path.stem: look for look in examine(tmp_path / "photos", real)}
    counts = {name: look.faces for name, look in looks.items()}
    assert counts == {"01": 1, "dogs": 0, "group": 7, "partial_face": 1, "rgba": 1, "two_faces_1": 2, "two_faces_2": 3}
    assert [name for name, look in looks.items() if look.kept] == ["01", "partial_face", "rgba"]
    assert looks["partial_face"].warnings == ("the face is cut off by the photo's edge",)
    assert looks["rgba"].warnings == () and looks["rgba"].similarity > 0.6


@pytest.mark.parametrize(
    ("width", "blur", "kept", "said"),
    [
        (66, 0, True, " px high; from 40 it is known better"),
        (50, 0, False, "split the folder. Or it cannot be known: the face is 2"),
        (320, 2.5, True, "kept; the face is blurred (sharpness "),
        (320, 6, False, "split the folder. Or it cannot be known: the face is blurred (sharpness "),
    ],
)
def test_row_39_a_small_or_blurred_face_is_warned_of_while_it_is_known_at_all(
    tmp_path: Path, real: Judges, width: int, blur: float, kept: bool, said: str
) -> None:
    for i in (1, 2, 4):
        shutil.copy(DATA / "people" / "f" / f"{i:02d}.jpg", tmp_path / f"{i}.jpg")
    image = Image.open(DATA / "people" / "f" / "03.jpg").filter(ImageFilter.GaussianBlur(blur))
    image.resize((width, width * 3 // 4), Image.Resampling.BOX).save(tmp_path / "far.png")
    far = {look.name: look for look in examine(tmp_path, real)}["far.png"]
    assert far.kept == kept and said in described(far)
