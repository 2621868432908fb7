"""The demo's table on several people keeps its shape, and asks everyone something else."""

import json
from pathlib import Path

import pytest

from magicid.core.records import Video
from magicid.core.run_dir import RunDir
from magicid.experiments.three_rows import COMPARED, SHOWN, ThreeRows

pytestmark = pytest.mark.usefixtures("world")


def test_every_row_and_difference_of_two_people(tmp_path: Path) -> None:
    asked = ThreeRows(people=(9, 7), work=tmp_path)
    result = asked.run(quiet=True)
    assert list(result["table"]) == ["base", "finetuned", "magicid", "ceiling"] and set(result["clips"].values()) == {2}
    assert list(result["differences"]) == [f"{a} - {b}" for a, b in COMPARED]
    assert all(set(row) == set(SHOWN) for row in (result["table"] | result["differences"]).values())
    assert json.dumps(asked.run(quiet=True)) == json.dumps(result)
    drawn = [RunDir(tmp_path / "quick-0" / f"person-{person}").read("generate", Video) for person in (9, 7)]
    assert {video.prompt for video in drawn[0]}.isdisjoint(video.prompt for video in drawn[1])
    assert {video.seed for video in drawn[0]}.isdisjoint(video.seed for video in drawn[1])
