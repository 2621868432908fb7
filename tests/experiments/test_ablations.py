"""The ablations of pairs and of rewards: rows differ in what their pairs are chosen by, and in nothing before that."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from magicid.comparison.markdown import SHORT
from magicid.comparison.people import common_of, person_run
from magicid.core.records import Pair
from magicid.core.run_dir import RunDir
from magicid.experiments.pair_ablation import PairAblation
from magicid.experiments.reward_ablation import RewardAblation
from magicid.selection.scored import RewardName
from tests.comparison.conftest import TINY
from tests.comparison.test_people import QUIET

ROWS = {
    PairAblation: ["base", "none", "start", "identity", "both", "ceiling"],
    RewardAblation: ["base", "start", "identity", "identity_motion", "identity_motion_prompt", "ceiling"],
}
KINDS = pytest.mark.parametrize("kind", ROWS)
Results = dict[type, dict[str, Any]]


@pytest.fixture(scope="module")
def results(world: None, work: Path) -> Results:
    return {kind: kind(people=2, prompts=1, seeds=1, work=work).run(quiet=True) for kind in ROWS}


def variants(work: Path, name: str) -> list[Path]:
    return sorted((work / "quick-1x1-0").glob(f"person-*-{name}_*"))


@KINDS
def test_every_row_has_its_figures_and_ours_is_set_against_each(results: Results, kind: type) -> None:
    rows = {row["method"]: row for row in results[kind]["rows"]}
    ours = ROWS[kind][-2]
    assert list(rows) == ROWS[kind]
    for name, row in rows.items():
        assert set(SHORT) <= set(row) and set(SHORT) <= set(row["intervals"]), name
        assert (set(SHORT) <= set(row["magicid_minus"])) == (name != ours), name
        difference = rows[ours]["face"] - row["face"]
        assert name == ours or row["magicid_minus"]["face"][0] == pytest.approx(difference, abs=1e-6), name
    assert {name for name, row in rows.items() if row["seconds"] > 0} == set(ROWS[kind][1:-1])
    json.dumps(results[kind], allow_nan=False)


def test_identity_pairs_alone_are_as_many_as_both_kinds_together_where_there_are_so_many(results: Results, work: Path) -> None:
    found = variants(work, "pairs")
    assert [path.name for path in found] == ["person-7-pairs_identity", "person-9-pairs_identity"]
    for path in found:
        settings = RunDir.read_settings(path)
        assert (settings["pair.identity"], settings["pair.dynamic"]) == (TINY.pair.identity + TINY.pair.dynamic, 0)
    pairs = results[PairAblation]["pairs"]
    assert pairs["identity"]["dynamic_pairs"] == 0 < pairs["both"]["dynamic_pairs"] <= TINY.pair.dynamic
    assert pairs["both"]["identity_pairs"] < pairs["identity"]["identity_pairs"] <= TINY.pair.identity + TINY.pair.dynamic


def test_only_what_pairs_are_chosen_by_differs_and_prompts_repository_and_scores_are_the_runs_own(
    results: Results, work: Path
) -> None:
    found = [*variants(work, "pairs"), *variants(work, "rewards")]
    assert len(found) == 2 + 4
    for path in found:
        own = path.with_name("-".join(path.name.split("-")[:2]))
        for stage in ("prepare", "finetune", "prompts", "distill", "sample", "score"):
            assert (path / stage / "manifest.jsonl").read_bytes() == (own / stage / "manifest.jsonl").read_bytes(), path
        ours, theirs = RunDir.read_settings(own), RunDir.read_settings(path)
        assert {key.split(".")[0] for key in theirs if theirs[key] != ours[key]} == {"pair"}, path
        if not path.name.endswith("identity_motion"):  # the double that judges prompts finds all clips alike
            assert (path / "pair" / "manifest.jsonl").read_bytes() != (own / "pair" / "manifest.jsonl").read_bytes(), path
    asked = {path.name.split("_", 1)[1]: RunDir.read_settings(path)["pair.rewards"] for path in variants(work, "rewards")}
    assert asked == {"identity": ["identity"], "identity_motion": ["identity", "motion"]}


def test_a_row_says_by_how_much_its_winners_are_better(results: Results, work: Path) -> None:
    run = work / "quick-1x1-0" / "person-9"
    common = common_of(work, 9, 0)
    pipeline = PairAblation(people=2, prompts=1, seeds=1, work=work).pipeline()
    with person_run(common, pipeline, run, QUIET) as opened:
        gaps = [pair.identity_gap for pair in opened.dir.read("pair", Pair)]
    one = PairAblation(people=1, prompts=1, seeds=1, work=work).run(quiet=True)["pairs"]["both"]
    assert one["identity_gap"] == pytest.approx(sum(gaps) / len(gaps))
    assert one["identity_pairs"] + one["dynamic_pairs"] == len(gaps)
    assert set(one) == {"identity_pairs", "dynamic_pairs", *(f"{name}_gap" for name in get_args(RewardName))}


@KINDS
def test_nothing_is_done_twice_and_it_prints_rows_and_pairs(
    results: Results, work: Path, kind: type, unchanged: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    again: list[dict[str, Any]] = []
    unchanged(work, lambda: again.append(kind(people=2, prompts=1, seeds=1, work=work).run()))
    said = capsys.readouterr().out
    assert again == [results[kind]] and f"\n| {ROWS[kind][-2]} minus |" in said and "pairs, means over people" in said
    assert all(f"\n| {name} |" in said for name in ROWS[kind])
