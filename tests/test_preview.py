"""`magicid prepare PHOTOS` tells what it sees in a table, and on a page, and writes nothing else."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from magicid.cli import main
from magicid.core import tables
from magicid.core.interfaces import Judges
from magicid.core.run import Common
from magicid.media.photo import write_png
from magicid.metrics.intake import advice
from magicid.perception.face import Pose
from magicid.perception.look import Look, Portrait
from tests.doubles import BLUE, RED, fake_judges, picture

EXAMPLES = Path(__file__).parent.parent / "examples"
GOOD = {"a": picture((10, 30, RED)), "b": picture((60, 9, RED), height=150), "c": picture((90, 60, RED), width=200)}


def fakes(*_: object) -> Judges:
    """The doubles, whatever judges are made of."""
    return fake_judges()


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(tables.JUDGES, "fake", "tests.test_preview:fakes")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def told(
    capsys: pytest.CaptureFixture[str], folder: Path, images: dict[str, NDArray[np.uint8]], *more: str
) -> tuple[int, dict[str, str], str]:
    """Exit code, the table's lines by photo, and all that was said."""
    for name, image in images.items():
        write_png(folder / f"{name}.png", image)
    before = sorted(path.name for path in folder.parent.iterdir())
    code = main(["prepare", str(folder), "--judges", "fake", *more])
    captured = capsys.readouterr()
    assert "--report" in more or sorted(path.name for path in folder.parent.iterdir()) == before, "something was written"
    rows = re.findall(r"^│ (\S+\.png) .*$", captured.out, re.MULTILINE)
    lines = {name: next(line for line in captured.out.splitlines() if line.startswith(f"│ {name} ")) for name in rows}
    return code, lines, captured.out + captured.err


def test_good_photos_are_kept_and_the_set_is_advised_on(capsys: pytest.CaptureFixture[str], photos: Path) -> None:
    code, lines, said = told(capsys, photos, GOOD)
    assert code == 0 and list(lines) == ["a.png", "b.png", "c.png"] and "3 of 3 photos kept." in said
    assert all("frontal" in line and "1.00" in line and "kept" in line for line in lines.values())
    assert "poses: 3 frontal" in said and "no profile: add a photo from the side." in said and "A run stops" not in said


def test_every_reason_is_told_beside_its_photo(capsys: pytest.CaptureFixture[str], photos: Path) -> None:
    bad = {"copy": GOOD["a"], "guest": picture((10, 30, BLUE)), "near": picture((11, 30, RED)), "sea": picture()}
    bad |= {"pair": picture((10, 10, RED), (100, 40, RED)), "held_out/h": picture((20, 20, RED)), "held_out/x": picture()}
    photos.mkdir()
    (photos / "zip.png").write_bytes(b"PK")
    code, lines, said = told(capsys, photos, GOOD | bad)
    assert code == 0 and "5 of 11 photos kept, 1 of them held out." in said and "A run stops at a photo" in said
    for name, reason in {
        "copy": "dropped: the same file as a.png",
        "guest": "dropped: looks like another person (median similarity ",
        "near": "nearly the same picture as a.png",
        "sea": "dropped: 0 faces; need exactly 1.",
        "pair": "dropped: 2 faces; need exactly 1. Crop it to the one meant",
        "held_out/x": "dropped: 0 faces",
        "zip": "dropped: not a readable picture",
    }.items():
        assert reason in lines[f"{name}.png"], name
    assert "A run stops" not in told(capsys, photos, {}, "--prepare.skip-unusable")[2]


def test_files_that_are_not_looked_at_are_named_in_one_line(capsys: pytest.CaptureFixture[str], photos: Path) -> None:
    assert "not looked at" not in told(capsys, photos, GOOD | {"held_out/h": picture((20, 20, RED))})[2]
    (photos / "folder.tif").mkdir()
    for name in ("scan [2].TIF", "me.gif", ".DS_Store", "held_out/me.avif", "held_out/.hidden.svg"):
        (photos / name).touch()
    said = told(capsys, photos, {})[2].splitlines()
    shown = "not looked at: me.gif, scan [2].TIF, held_out/me.avif; photos end in .jpg, .jpeg, .png, .webp, .heic, .heif. Export"
    assert [line.startswith(shown) for line in said if "not looked at" in line] == [True]
    for i in range(10):
        (photos / f"{i}.svg").touch()
    assert "not looked at: 0.svg, 1.svg, 2.svg, 3.svg, 4.svg, 5.svg, 6.svg, 7.svg and 5 more; " in told(capsys, photos, {})[2]


def test_with_too_few_the_table_comes_first_and_the_exit_code_is_3(capsys: pytest.CaptureFixture[str], photos: Path) -> None:
    code, lines, said = told(capsys, photos, {"a": GOOD["a"], "sea": picture()})
    assert code == 3 and len(lines) == 2
    assert said.endswith("1 of 2 photos can be used; need at least 2. Add photos of the same person.\n")
    code, _, said = told(capsys, photos, GOOD, "--prepare.least-photos", "4")
    assert code == 3 and "3 of 4 photos can be used; need at least 4." in said


def test_a_small_stranger_may_be_one_who_cannot_be_known(
    capsys: pytest.CaptureFixture[str], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = picture()
    far[30:50, 20:36] = BLUE
    monkeypatch.setenv("COLUMNS", "400")
    _, lines, _ = told(capsys, photos, GOOD | {"far": far})
    assert "looks like another person" in lines["far.png"]
    assert "split the folder. Or it cannot be known: the face is 20 px high" in lines["far.png"]


def test_the_page_stands_alone_and_shows_every_photo(capsys: pytest.CaptureFixture[str], photos: Path) -> None:
    page = photos.parent / "new" / "seen.html"
    code, _, said = told(capsys, photos, GOOD | {"sea <3": picture()}, "--report", str(page))
    text = page.read_text()
    assert code == 0 and f"page: {page}" in said
    assert text.count('src="data:image/jpeg;base64,') == 7 and "://" not in text and "sea &lt;3.png" in text
    assert "3 of 4 photos kept." in text and "dropped: 0 faces" in text and text.count("50 px high") == 3
    code, _, said = told(capsys, photos, {}, "--report", str(photos))
    assert code == 2 and "a page is one file in a folder that can be written." in said


def test_drawn_people_are_seen_by_their_judges(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["prepare", str(EXAMPLES / "ava"), "--judges", "avatar"]) == 0
    said = capsys.readouterr().out
    assert "11 of 11 photos kept, 4 of them held out." in said and "poses: 7 frontal" in said


def test_who_is_not_drawn_is_sent_to_the_judges_of_real_people(capsys: pytest.CaptureFixture[str], photos: Path) -> None:
    for name in "ab":
        write_png(photos / f"{name}.png", picture())
    assert main(["prepare", str(photos), "--out", "run"]) == 3
    said = "magicid: a.png: 0 faces; need exactly 1. Choose one that shows the face, or drop it. The judges 'avatar' know drawn"
    assert capsys.readouterr().err.startswith(f"{said} people only; for others set --judges real. (and 1 more")


def test_the_preview_takes_the_networks_of_a_run(
    capsys: pytest.CaptureFixture[str], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def judges(common: Common) -> Judges:
        asked.append((common.detector, common.face_reward))
        return fake_judges()

    monkeypatch.setattr("tests.test_preview.fakes", judges)
    assert told(capsys, photos, GOOD, "--detector", "yunet", "--face-reward", "auraface")[0] == 0
    assert asked == [("yunet", "auraface")]
    assert told(capsys, photos, GOOD, "--judges", "avatar", "--face-reward", "sface")[0] == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("nowhere", 3, "nowhere: no such folder"),
        ("", 2, "see magicid prepare --help"),
        ("x --judges fak", 2, "judges 'fak' is unknown"),
    ],
)
def test_a_wrong_word_is_answered_in_one_line(
    capsys: pytest.CaptureFixture[str], photos: Path, words: str, code: int, said: str
) -> None:
    write_png(Path("x/a.png"), GOOD["a"])
    assert main(["prepare", *words.split()]) == code
    captured = capsys.readouterr()
    assert not captured.out and captured.err.count("\n") == 1 and said in captured.err


def view(yaw: float, expression: str = "neutral", share: float = 0.3) -> Look:
    crop = np.zeros((8, 8, 3), np.uint8)
    return Look(Path("a"), "a", 1, portrait=Portrait(crop, 100, share, 100, Pose(yaw, 0, 0), expression))


@pytest.mark.parametrize(
    ("looks", "said", "unsaid"),
    [
        ([view(3), view(-30), view(30), view(60)], [], ["add"]),
        ([view(3), view(-5)], ["all from the front", "no profile"], ["calm"]),
        ([view(3), view(30)], ["none turned to the picture's left: add one.", "1 half right"], ["all from"]),
        ([view(-80), view(30)], ["none from the front", "1 profile left"], ["no profile"]),
        ([view(3, "smiling"), view(1, "smiling")], ["all photos smile: add one with a calm face."], []),
        ([view(3, share=0.7)], ["all photos are close-ups"], []),
    ],
)
def test_the_set_is_told_what_it_lacks(looks: list[Look], said: list[str], unsaid: list[str]) -> None:
    lines = " ".join(advice(looks))
    assert all(words in lines for words in said) and not any(words in lines for words in unsaid)
