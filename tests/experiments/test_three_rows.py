"""The demo's table on several people keeps its shape, asks everyone something else, and serves the studies after it."""

import json
from pathlib import Path
from typing import Any

import pytest

from magicid.core.records import Video
from magicid.core.run_dir import RunDir
from magicid.experiments.three_rows import COLUMNS, ThreeRows


@pytest.fixture(scope="module")
def asked(world: None, work: Path) -> ThreeRows:
    return ThreeRows(people=2, prompts=1, seeds=1, work=work)


@pytest.fixture(scope="module")
def result(asked: ThreeRows) -> dict[str, Any]:
    return asked.run(quiet=True)


def test_every_row_has_its_figures_and_both_differences(asked: ThreeRows, result: dict[str, Any]) -> None:
    rows = {row["method"]: row for row in result["rows"]}
    assert list(rows) == ["base", "finetuned", "magicid", "ceiling"] and result["people"] == [9, 7]
    for name, row in rows.items():
        assert set(COLUMNS) <= set(row) and row["measured"]["prompt"] == row["measured"]["face"] == 2, name
    for ours in ("magicid", "finetuned"):
        minus = {name: row[f"{ours}_minus"] for name, row in rows.items()}
        assert not minus.pop(ours)
        for name, difference in minus.items():
            assert difference["face"][0] == pytest.approx(rows[ours]["face"] - rows[name]["face"], abs=1e-6), name
    assert 0 == rows["base"]["seconds"] < rows["finetuned"]["seconds"] < rows["magicid"]["seconds"]
    assert json.dumps(asked.run(quiet=True), allow_nan=False) == json.dumps(result)


def test_everyone_is_asked_something_else(result: dict[str, Any], work: Path) -> None:
    drawn = [RunDir(work / "quick-1x1-0" / f"person-{person}").read("generate", Video) for person in (9, 7)]
    assert {video.prompt for video in drawn[0]}.isdisjoint(video.prompt for video in drawn[1])
    assert {video.seed for video in drawn[0]}.isdisjoint(video.seed for video in drawn[1])


def test_both_tables_of_differences_are_printed(asked: ThreeRows, capsys: pytest.CaptureFixture[str]) -> None:
    asked.run()
    said = capsys.readouterr().out
    assert said.count("MagicID minus") == said.count("fine-tuned minus") == 1
