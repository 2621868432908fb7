"""What is seen in one photo is told in the same words however it was stored, and no clip shows a face alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicid.media.photo import write_png
from magicid.perception.expression import NEUTRAL, OPEN, SMILING, expression
from magicid.perception.face import TEMPLATE
from magicid.perception.look import CLOSE_UP, Look, look_at
from tests.doubles import GREY, RED, UNDO, FakeDetector, picture, turned


def seen(path: Path, shape: tuple[int, int] | None = None) -> Look:
    return look_at(path, FakeDetector(), 16, shape)


def redness(look: Look) -> float:
    """The share of a picture's height that the face takes."""
    assert look.picture is not None
    rows = np.argwhere((np.abs(look.picture.astype(int) - RED) < 40).all(2))[:, 0]
    return float(np.ptp(rows) + 1) / len(look.picture)


@pytest.mark.parametrize("orientation", UNDO)
def test_a_photo_is_the_same_however_the_camera_was_held(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(picture((30, 20, RED)))
    stored, exif = turned(image, orientation)
    stored.save(tmp_path / "a.png", exif=exif)
    found = seen(tmp_path / "a.png", (48, 64))
    image.save(tmp_path / "b.png")
    upright = seen(tmp_path / "b.png", (48, 64))
    assert found.portrait and upright.portrait and found.picture is not None and found.mark is not None
    assert np.array_equal(found.picture, upright.picture) and np.array_equal(found.mark, upright.mark)
    assert np.array_equal(found.portrait.crop, upright.portrait.crop)
    assert (found.faces, found.warnings, found.portrait.pose) == (1, upright.warnings, upright.portrait.pose)


@pytest.mark.parametrize(("height", "width"), [(90, 160), (64, 64), (160, 90), (120, 800)])
@pytest.mark.parametrize(("rows", "columns"), [(240, 100), (100, 240), (150, 150)])
def test_no_clip_shows_a_face_alone_where_the_photo_shows_more(
    tmp_path: Path, rows: int, columns: int, height: int, width: int
) -> None:
    write_png(tmp_path / "a.png", picture((30, 20, RED), height=rows, width=columns))  # a face of 50 pixels
    found = seen(tmp_path / "a.png", (height, width))
    assert found.picture is not None and found.picture.shape == (height, width, 3)
    assert redness(found) <= CLOSE_UP + 1.5 / height
    assert not [line for line in found.warnings if "close-up" in line]


def test_a_photo_that_is_filled_by_the_face_is_called_a_close_up_and_made_no_closer(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", picture((30, 5, RED), height=60, width=100))
    found = seen(tmp_path / "a.png", (120, 480))
    assert found.kept and found.warnings[-2] == "a close-up (the face fills 83% of the height), which teaches close-ups"
    assert found.warnings[-1] == "58% of the clip's width is filled in; a wider photo would do without"
    assert redness(found) == pytest.approx(50 / 60, abs=0.03)


def test_a_face_that_reaches_over_the_edge_is_called_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png(tmp_path / "a.png", picture((30, 20, RED)))
    assert not [line for line in seen(tmp_path / "a.png").warnings if "edge" in line]
    face = FakeDetector()._faces(picture((30, 20, RED)))[0]
    monkeypatch.setattr(FakeDetector, "_faces", lambda *_: [type(face)((-3, 20, 40, 70), 0.9, face.landmarks)])
    assert "the face is cut off by the photo's edge" in seen(tmp_path / "a.png").warnings


@pytest.mark.parametrize(
    ("mouth", "inside", "said"),
    [((200, 160, 150), None, NEUTRAL), ((205, 200, 195), 6, SMILING), ((40, 15, 15), 7, OPEN)],
)
def test_a_mouth_is_told_by_its_colours(mouth: tuple[int, int, int], inside: int | None, said: str) -> None:
    image = np.full((224, 224, 3), (210, 160, 140), np.uint8)
    x, y = (TEMPLATE[3:].mean(0) * 224).astype(int)
    if inside:
        image[y - inside : y + inside, x - 24 : x + 24] = mouth
    assert expression(image, TEMPLATE * 224) == said


def test_what_is_no_photo_or_nobody_says_so_and_has_no_portrait(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"PK")
    write_png(tmp_path / "b.png", np.full((40, 40, 3), GREY, np.uint8))
    broken, empty = seen(tmp_path / "a.jpg"), seen(tmp_path / "b.png")
    assert broken.faces is None and broken.problem.startswith("not a readable picture; ") and broken.picture is None
    assert empty.faces == 0 and empty.problem.startswith("0 faces; need exactly 1.") and empty.picture is not None
    assert broken.portrait is empty.portrait is None and not broken.kept and not empty.kept
