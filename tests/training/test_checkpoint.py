"""At every instant the newest whole checkpoint can be loaded."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from magicid.core.errors import DataError
from magicid.training import checkpoint
from magicid.training.checkpoint import Checkpoint


def state(step: int) -> Checkpoint:
    tensors = {"w": torch.full((3, 2), float(step))}
    return Checkpoint(
        step, {"model": tensors, "optimizer": {"w:exp_avg": torch.arange(4.0)[::2], "w:step": torch.tensor(float(step))}}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, state(step))
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def step_of(folder: Path) -> int | None:
    found = checkpoint.latest(folder)
    return found and found.step


def test_what_was_saved_is_loaded(folder: Path) -> None:
    found = checkpoint.latest(folder)
    assert found is not None and found.step == 3 and found.groups.keys() == {"model", "optimizer"}
    for group, tensors in state(3).groups.items():
        assert all(torch.equal(found.groups[group][name], tensor) for name, tensor in tensors.items())


def test_no_folder_holds_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path / "none") is None


def test_only_the_newest_two_are_kept(folder: Path) -> None:
    assert names(folder) == ["step-00000002", "step-00000003"]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "empty"])
def test_a_harmed_checkpoint_is_passed_over_as_a_whole(folder: Path, file: str, harm: str) -> None:
    path = folder / "step-00000003" / file
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes({"flip": bytes(data), "cut": bytes(data[:-4]), "empty": b""}[harm])
    assert step_of(folder) == 2


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"step": 3}', "3", "\x00\x00", '{"files": {}}'])
def test_a_checkpoint_without_a_whole_manifest_is_passed_over(folder: Path, text: str | None) -> None:
    path = folder / "step-00000003" / "manifest.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert step_of(folder) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_published(folder: Path, value: float) -> None:
    with pytest.raises(DataError, match=r"step-00000004/model\.safetensors: w is not finite"):
        checkpoint.save(folder, Checkpoint(4, {"model": {"w": torch.tensor([1.0, value])}}))
    assert names(folder) == ["step-00000002", "step-00000003"]


class Killed(BaseException):
    """As good as kill -9: no handler of ours catches it."""


@pytest.mark.parametrize(
    "function", ["write_weights", "publish_text", "sync_folder", "shutil.rmtree", "Path.rename", "Path.mkdir"]
)
@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_kill_at_any_point_of_saving_leaves_a_whole_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, function: str, calls: int
) -> None:
    owner = {"shutil.rmtree": shutil, "Path.rename": Path, "Path.mkdir": Path}.get(function, checkpoint)
    name = function.split(".")[-1]
    original, count = getattr(owner, name), [0]

    def dies(*arguments: object, **named: object) -> object:
        count[0] += 1
        if count[0] >= calls:
            raise Killed
        return original(*arguments, **named)

    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(owner, name, dies)
        checkpoint.save(folder, state(4))
    assert step_of(folder) in (3, 4)
    checkpoint.save(folder, state(4))
    assert step_of(folder) == 4 and names(folder) == ["step-00000003", "step-00000004"]


def test_a_kill_inside_pruning_leaves_a_whole_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: Path, **_: object) -> None:
        for file in list(path.iterdir() if path.exists() else [])[:1]:
            file.unlink()
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(shutil, "rmtree", half)
        checkpoint.save(folder, state(4))
    assert step_of(folder) == 4


def test_a_harmed_checkpoint_does_not_count_as_one_of_those_kept(folder: Path) -> None:
    (folder / "step-00000003" / "model.safetensors").write_bytes(b"torn")
    assert step_of(folder) == 2
    checkpoint.save(folder, state(4))
    assert names(folder) == ["step-00000002", "step-00000003", "step-00000004"]
    checkpoint.save(folder, state(5))
    assert names(folder) == ["step-00000004", "step-00000005"]


def test_a_checkpoint_of_another_step_than_its_name_is_passed_over(folder: Path) -> None:
    manifest = folder / "step-00000003" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"step": 3', '"step": 9'))
    assert step_of(folder) == 2


def test_harmed_newer_checkpoints_do_not_crowd_out_whole_ones(folder: Path) -> None:
    for path in folder.iterdir():
        (path / "manifest.json").unlink()
    assert step_of(folder) is None
    checkpoint.save(folder, state(1))
    assert step_of(folder) == 1
