"""What stands under a final name is whole."""

import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from magicid.core.errors import ResourceError
from magicid.core.files import append_line, digest, nearest, publish, publish_folder, publish_text


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_is_before_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.mp4"
    synced: list[tuple[bool, bool]] = []  # of a folder, and whether the file has its name

    def noted(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))

    monkeypatch.setattr(os, "fsync", noted)
    publish_text(path, "new")
    assert synced == [(False, False), (True, True)]
    append_line(path, "more", sync=True)
    assert synced[2:] == [(False, True)]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    publish_text(path, "old")

    def half(target: Path) -> None:
        target.write_text("ne")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        publish(path, half)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_final_name_appears_only_when_the_writer_is_done(tmp_path: Path) -> None:
    path = tmp_path / "new" / "clip.mp4"

    def write(target: Path) -> None:
        target.write_text("whole")
        assert not path.exists() and target.parent == path.parent and target.suffix == ".mp4"

    publish(path, write)
    assert path.read_text() == "whole"


def test_a_file_of_safetensors_can_be_read_by_whoever_can_read_others(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    publish(tmp_path / "adapter.safetensors", lambda target: save_file({"a": torch.zeros(2)}, target))
    assert (tmp_path / "adapter.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "base"

    def write(target: Path, text: str, fail: bool = False) -> None:
        (target / "inner").mkdir()
        (target / "inner" / text).write_text(text)
        if fail:
            raise RuntimeError("killed")

    publish_folder(folder, lambda target: write(target, "old"))
    with pytest.raises(RuntimeError, match="killed"):
        publish_folder(folder, lambda target: write(target, "new", fail=True))
    assert [path.name for path in (folder / "inner").iterdir()] == ["old"]
    with pytest.raises(FileNotFoundError):  # its place is taken away at the last moment
        publish_folder(folder, lambda target: target.rmdir())
    assert [path.name for path in (folder / "inner").iterdir()] == ["old"]
    publish_folder(folder, lambda target: write(target, "new"))
    assert [path.name for path in (folder / "inner").iterdir()] == ["new"]
    names: list[str] = []
    publish_folder(folder, lambda target: names.append(target.name) or write(target, "third"))
    folder.replace(folder.with_name(names[0].replace("new", "old")))  # a kill between the two renames
    (tmp_path / names[0]).mkdir()
    with pytest.raises(RuntimeError, match="killed"):
        publish_folder(folder, lambda target: write(target, "fourth", fail=True))
    assert [path.name for path in (folder / "inner").iterdir()] == ["third"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["a b'; $(x).txt", "-rf.txt", "ж" * 125 + ".txt", "n" * 196 + ".txt", "n" * 251 + ".txt"])
def test_any_name_that_the_disk_allows_is_published_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / name

    def write(target: Path) -> None:
        assert target != path
        target.write_text("whole")

    publish(path, write)
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line_with_exit_code_4(tmp_path: Path) -> None:
    def full(target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ResourceError, match=r"disk is full, .* left; free some space") as error:
        publish(tmp_path / "clip.mp4", full)
    assert error.value.exit_code == 4


def test_the_digest_of_a_folder_sees_one_bit_in_the_middle_of_a_large_file_and_a_new_name(tmp_path: Path) -> None:
    weights = tmp_path / "part" / "model.safetensors"
    weights.parent.mkdir()
    data = bytearray(3 * 2**20)
    weights.write_bytes(data)
    before = digest(tmp_path)
    assert digest(tmp_path) == before
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    flipped = digest(tmp_path)
    weights.rename(weights.with_name("other.safetensors"))
    assert len({before, flipped, digest(tmp_path)}) == 3


def test_the_nearest_is_the_path_itself_or_what_is_there_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").touch()
    assert nearest(tmp_path / "there") == nearest(Path("there/in/a/file")) == tmp_path / "there"
    assert nearest(Path("not/there")) == tmp_path and nearest(Path("/")) == Path("/")
