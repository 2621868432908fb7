"""Photos are drawn once, and nobody's are drawn over."""

from pathlib import Path

import pytest

from magicid.avatar.photos import new_photos
from magicid.core.errors import UsageError
from magicid.media.photo import find_photos


def draw(out: Path, seed: int = 7, count: int = 2) -> dict[str, bytes]:
    """What the folder holds afterwards."""
    new_photos(seed, out, count=count, held_out=1, size=32)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.*")}


def test_an_interrupted_drawing_comes_to_the_same_end(tmp_path: Path) -> None:
    whole = draw(tmp_path / "whole")
    assert list(whole) and len(find_photos(tmp_path / "whole")) == 2 and len(whole) == 3
    (tmp_path / "whole" / "held_out" / "photo-1.png").unlink()
    (tmp_path / "whole" / ".tmp-1-killed.png").touch()
    assert draw(tmp_path / "whole") == whole | {".tmp-1-killed.png": b""}


@pytest.mark.parametrize("name", ["photo-1.png", "me.JPG", "held_out/photo-1.png", "held_out/me.heic"])
def test_photos_of_someone_else_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "held_out").mkdir()
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(UsageError, match=rf"^{tmp_path / name}: there already; .+ of person 7, .+\. Choose another --out\.$"):
        draw(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_bytes() == b"mine"


def test_drawing_says_where_the_photos_are_and_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("photo-1.png", "photo-2.png", "held_out/photo-1.png")
    assert new_photos(7, tmp_path, count=2, held_out=1, size=32) == [tmp_path / name for name in names]
    assert capsys.readouterr().out == ""


def test_two_people_do_not_share_a_folder(tmp_path: Path) -> None:
    seven = draw(tmp_path, count=3)
    for seed, count in ((8, 3), (8, 1), (7, 2)):
        with pytest.raises(UsageError, match="there already"):
            draw(tmp_path, seed, count)
    assert draw(tmp_path, count=3) == seven


@pytest.mark.parametrize("counts", [(0, 1), (1001, 0), (1, -1), (1, 1001)])
def test_no_photo_is_both_given_and_held_out_or_somebody_elses(tmp_path: Path, counts: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=r"need 1 to 1000 photos, 0 to as many held out"):
        new_photos(7, tmp_path, *counts, size=32)
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder_for_photos(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "photos"):
        with pytest.raises(UsageError, match=rf"^{out}: .+; photos need a folder that can be written\."):
            draw(out)
    assert (tmp_path / "notes.txt").read_text() == "mine"
