"""A training's folder goes on with what it began with, and refuses what it did not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from magicid.avatar.pretrain_folder import hold
from magicid.core.errors import UsageError

ASKED: dict[str, Any] = {"steps": 3, "betas": (0.9, 0.99), "curriculum": {"batch": 2, "guided": {"swing": 0.0}}, "vae": "ab"}


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """Weights to start from."""
    folder = tmp_path / "weights"
    (folder / "transformer").mkdir(parents=True)
    (folder / "transformer" / "model").write_text("first")
    return folder


def test_a_training_that_writes_over_its_start_goes_on_from_the_copy(tmp_path: Path, start: Path) -> None:
    kept = hold(tmp_path / "work", ASKED, start)
    assert kept and kept != start
    (start / "transformer" / "model").write_text("outcome")
    assert hold(tmp_path / "work", ASKED, start) == kept
    assert (kept / "transformer" / "model").read_text() == "first"
    shutil.rmtree(start)
    assert hold(tmp_path / "work", ASKED, start) == kept


def test_without_a_start_there_is_no_copy(tmp_path: Path) -> None:
    assert hold(tmp_path, ASKED, None) is None and [file.name for file in tmp_path.iterdir()] == ["settings.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 4}, "steps 3, not 4"),
        ({"curriculum": {"batch": 2, "guided": {"swing": 0.5}}}, "curriculum.guided.swing 0.0, not 0.5"),
        ({"vae": "cd"}, "vae ab, not cd"),
    ],
)
def test_another_training_is_refused_with_what_differs(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    hold(tmp_path, ASKED, None)
    with pytest.raises(UsageError, match=f"has begun with {said}; give what it began with, or another --work"):
        hold(tmp_path, ASKED | change, None)


def test_another_start_is_refused(tmp_path: Path, start: Path) -> None:
    hold(tmp_path / "work", ASKED, None)
    with pytest.raises(UsageError, match=r"start None, not .*weights"):
        hold(tmp_path / "work", ASKED, start)


def test_a_folder_that_is_older_than_a_setting_goes_on(tmp_path: Path) -> None:
    hold(tmp_path, {key: value for key, value in ASKED.items() if key != "vae"}, None)
    hold(tmp_path, ASKED, None)
    assert json.loads((tmp_path / "settings.json").read_text())["vae"] == "ab"
