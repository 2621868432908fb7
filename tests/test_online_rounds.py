"""Rounds learn from clips of the policy, and one that brings nothing new changes nothing."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from magicid.core import tables
from magicid.core.errors import DataError
from magicid.core.records import Pair, Prompt, Score, Video
from magicid.core.run import Common
from magicid.core.run_dir import RunDir
from magicid.pipeline import run_pipeline
from magicid.rounds import ends, place
from magicid.runs import _more_steps
from magicid.selection.choice import Choice
from magicid.stages.optimize import Optimize
from magicid.training import preference
from magicid.training.log import Log
from tests.small_run import QUIET, SMALL

pytestmark = pytest.mark.usefixtures("judges")
STAGE = Optimize(steps=6, batch=2, learning_rate=1e-2, save_every_steps=2)
KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "ema": {"reference": "ema", "reference_decay": 0.7},
    "bank": {"draws": 2, "chunk": 1},
    "automatic beta": {"beta": 0.0},
}


def optimize(common: Common, finished: Path, root: Path, stage: Optimize, console: Console = QUIET) -> Path:
    """A run with its pairs, brought to the end of `optimize`; again, where it stopped there."""
    if not root.exists():
        shutil.copytree(finished, root, ignore=shutil.ignore_patterns("optimize", "generate", "evaluate"))
    run_pipeline(common, replace(SMALL, optimize=stage), root, console, until="optimize").close()
    return root / "optimize"


def losses(folder: Path) -> list[float]:
    """Of each step."""
    return [line["loss"] for line in Log(folder / "log.jsonl").read()]


@pytest.fixture(scope="module")
def plain(common: Common, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The training in one go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tables.JUDGES, "centred", "tests.doubles:centred_judges")
        yield optimize(common, finished, tmp_path_factory.mktemp("plain") / "run", STAGE)


def test_parts_are_equal_and_the_last_ends_with_the_training() -> None:
    assert ends(50, 1) == [50] and ends(6, 3) == [2, 4, 6] and ends(5, 2) == [2, 5]
    assert [place(n, "pair") for n in (1, 2)] == ["pair", "optimize/round-2/pair"]


def test_a_round_adds_clips_of_the_policy_and_chooses_of_all(common: Common, finished: Path, tmp_path: Path, plain: Path) -> None:
    stage = replace(STAGE, rounds=3, round_clips=2)
    folder = optimize(common, finished, tmp_path / "run", stage)
    run = RunDir(tmp_path / "run")
    prompts = [p.text for p in run.read("prompts", Prompt) if p.split == "repository"]
    second, third = (run.read(place(n, "sample"), Video) for n in (2, 3))
    for clips in (second, third):
        assert [video.prompt for video in clips] == [text for text in prompts for _ in range(2)]
    assert len({video.seed for video in [*second, *third, *run.read("sample", Video)]}) == 12 + len(run.read("sample", Video))
    raw = {score.video: score.raw for score in run.read(place(3, "score"), Score)}
    before = {score.video: score.raw for score in run.read("score", Score)}
    assert before.items() <= raw.items() and raw.keys() - before.keys() == {video.id for video in [*second, *third]}
    scaled = [score.scaled["motion"] for score in run.read(place(3, "score"), Score)]
    assert min(scaled) == 1 and max(scaled) == pytest.approx(10)
    sides = {side for pair in run.read(place(2, "pair"), Pair) for side in (pair.winner, pair.loser)}
    assert sides & {video.id for video in second}
    assert losses(folder)[:2] == losses(plain)[:2] and len(losses(folder)) == 6
    assert losses(folder)[2] != losses(plain)[2]
    assert not list(folder.rglob("journal.jsonl"))
    run.close()


def test_a_round_without_pairs_goes_on_with_those_there_are_as_if_it_had_not_been(
    common: Common, finished: Path, tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Choice, "choose", lambda self, videos: ([], []))
    console = Console(file=StringIO(), record=True, width=80)
    folder = optimize(common, finished, tmp_path / "run", replace(STAGE, rounds=2), console)
    said = [line for line in console.export_text().splitlines() if "goes on with the pairs" in line]
    assert len(said) == 1 and said[0].startswith("optimize: round 2 goes on") and "0 of 6 identity pairs" in said[0]
    for file in ("adapter.safetensors", "log.jsonl"):
        assert (folder / file).read_bytes() == (plain / file).read_bytes()
    assert [p.name for p in sorted((folder / "snapshots").iterdir())] == [p.name for p in sorted((plain / "snapshots").iterdir())]


def test_what_is_wrong_with_a_round_but_too_few_pairs_ends_it(
    common: Common, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Choice, videos: Any) -> Any:
        raise DataError("two videos of a pair are one and the same.")

    monkeypatch.setattr(Choice, "choose", broken)
    with pytest.raises(DataError, match="one and the same"):
        optimize(common, finished, tmp_path / "run", replace(STAGE, rounds=2))


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_in_the_second_part_it_ends_as_if_it_had_not_been(
    common: Common, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    stage, measures, count = replace(STAGE, rounds=2, **KINDS[kind]), preference.measures, [0]
    whole = optimize(common, finished, tmp_path / "whole", stage)

    def dies(*arguments: Any) -> dict[str, float]:
        count[0] += 1
        if count[0] == 6:
            raise RuntimeError("killed")
        return measures(*arguments)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(preference, "measures", dies)
        optimize(common, finished, tmp_path / "killed", stage)
    drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").rglob("round-2/*/*")}
    killed = optimize(common, finished, tmp_path / "killed", stage)
    assert drawn and drawn == {path: path.stat().st_mtime_ns for path in drawn}
    for file in ("adapter.safetensors", "log.jsonl", "round-2/pair/manifest.jsonl"):
        assert (killed / file).read_bytes() == (whole / file).read_bytes(), file
    assert len({json.loads(line)["beta"] for line in (whole / "log.jsonl").read_text().splitlines()}) == 1


@pytest.mark.parametrize(("change", "on"), [({}, True), ({"rounds": 2}, False), ({"validate": 1}, False), ({"beta": 9.0}, False)])
def test_a_fork_with_more_steps_goes_on_only_where_the_steps_before_would_be_the_same(change: dict[str, Any], on: bool) -> None:
    old = replace(STAGE, **{name: value for name, value in change.items() if name != "beta"})
    assert _more_steps(old, replace(STAGE, steps=9, **change)) == on


def test_where_no_checkpoint_is_left_each_part_is_learnt_of_its_own_pairs_again(
    common: Common, finished: Path, tmp_path: Path
) -> None:
    stage = replace(STAGE, rounds=2)
    folder = optimize(common, finished, tmp_path / "run", stage)
    files = {name: (folder / name).read_bytes() for name in ("adapter.safetensors", "log.jsonl")}
    shutil.rmtree(folder / "checkpoints")
    (folder / "manifest.jsonl").unlink()
    optimize(common, finished, tmp_path / "run", stage)
    assert {name: (folder / name).read_bytes() for name in files} == files


def test_a_round_whose_clips_are_gone_is_not_drawn_again_by_a_later_policy(
    common: Common, finished: Path, tmp_path: Path
) -> None:
    stage = replace(STAGE, rounds=2, round_clips=1)
    folder = optimize(common, finished, tmp_path / "run", stage)
    (folder / "manifest.jsonl").unlink()
    shutil.rmtree(folder / "round-2" / "sample")
    with pytest.raises(DataError, match=r"optimize/round-2/ lacks clips or scores; delete optimize/ and run again\.$"):
        optimize(common, finished, tmp_path / "run", stage)
