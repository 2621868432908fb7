"""What the settings of selection do to the pairs of one repository."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magicid.core.errors import DataError, UsageError
from magicid.core.records import Photo, Score, Video
from magicid.core.run import Run
from magicid.selection.scored import Scored
from magicid.stages.pair import Pair
from tests.doubles import fake_run

ORIGINS = ["static"] * 6 + ["finetuned"] * 60 + ["base"] * 14
FEW = Pair(identity=20, dynamic=20)


def repository(seed: int = 0) -> list[Scored]:
    rows = np.random.default_rng(seed).uniform(1, 10, (len(ORIGINS), 3)).tolist()
    return [Scored(f"{o}-{i:02d}", o, f"p{i % 9}", *row) for i, (o, row) in enumerate(zip(ORIGINS, rows, strict=True))]


@pytest.mark.parametrize("rule", ["dominance", "paper"])
@pytest.mark.parametrize(("identity", "dynamic"), [(9, 0), (0, 9), (9, 9)])
def test_each_kind_can_be_left_out(rule: Any, identity: int, dynamic: int) -> None:
    found = Pair(identity, dynamic, rule).choose(repository())
    assert [len(pairs) for pairs in found] == [identity, dynamic]


@pytest.mark.parametrize("rule", ["dominance", "paper"])
def test_no_pair_is_of_both_kinds_and_none_has_a_static_side_where_motion_is_meant(rule: Any) -> None:
    identity, dynamic = Pair(200, 200, rule).choose(repository())
    assert not {p.ids for p in identity} & {p.ids for p in dynamic}
    assert all("static" not in (p.winner.origin, p.loser.origin) for p in dynamic)


@pytest.mark.parametrize("rule", ["dominance", "paper"])
@pytest.mark.parametrize("rewards", [("identity",), ("identity", "motion"), ("identity", "prompt")])
def test_a_reward_left_out_chooses_nothing(rule: Any, rewards: tuple[Any, ...]) -> None:
    pair, videos = replace(FEW, rule=rule, rewards=rewards), repository()
    shaken = [replace(v, motion=v.motion if "motion" in rewards else 11 - v.motion) for v in videos]
    shaken = [replace(v, prompt_score=v.prompt_score if "prompt" in rewards else 11 - v.prompt_score) for v in shaken]
    for before, after in zip(pair.choose(videos), pair.choose(shaken), strict=True):
        assert [p.ids for p in before] == [p.ids for p in after] != []


@pytest.mark.parametrize("rule", ["dominance", "paper"])
def test_each_reward_that_is_added_chooses_other_pairs(rule: Any) -> None:
    asked: list[tuple[Any, ...]] = [("identity",), ("identity", "motion"), ("identity", "motion", "prompt")]
    chosen = [replace(FEW, rule=rule, rewards=rewards).choose(repository()) for rewards in asked]
    found = [{p.ids for pairs in both for p in pairs} for both in chosen]
    assert found[0] != found[1] != found[2]
    moving = [np.mean([p.gap("motion") for p in both[1]]) for both in chosen]
    assert moving[1] > moving[0], "with the motion reward, dynamic winners move more than their losers"
    assert all(p.winner.prompt_score >= 6 for p in chosen[2][1])


def test_prompts_that_all_are_followed_equally_well_exclude_nobody() -> None:
    equal = [replace(v, prompt_score=1.0) for v in repository()]
    without = replace(FEW, rewards=("identity", "motion"))
    assert [len(pairs) for pairs in FEW.choose(equal)] == [20, 20]
    assert FEW.choose(equal) == without.choose(equal)


def test_no_video_is_in_too_many_pairs_of_both_kinds_together() -> None:
    ids = [name for pairs in Pair(200, 200, most_uses=3).choose(repository()) for p in pairs for name in p.ids]
    assert max(map(ids.count, ids)) == 3


@pytest.mark.parametrize("rewards", [(), ("motion", "prompt"), ("identity", "beauty")])
def test_rewards_that_cannot_choose_are_refused(rewards: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError, match="must hold identity, and may hold motion and prompt"):
        replace(FEW, rewards=rewards).check()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Two photos and four clips; the base model's follow no prompt."""
    run = fake_run(tmp_path / "run", tmp_path)
    run.dir.publish("prepare", [Photo(name, "", "", "", name, False) for name in ("photo-0", "photo-1")])
    clips = {"finetuned-0": (6, 4, 9), "finetuned-1": (5, 2, 9), "base-0": (1, 9, 3), "base-1": (2, 10, 1)}
    run.dir.publish("sample", [Video(name, name.split("-")[0], name[-1], 0, 1.0, "", "", name) for name in clips])
    rows = {"photo-0": (10, 1, 5), "photo-1": (9, 1, 5)} | clips
    scores = [Score(name, {}, dict(zip(("identity", "motion", "prompt"), map(float, row))), {}) for name, row in rows.items()]
    run.dir.publish("score", scores)
    yield run
    run.dir.close()


def test_too_few_pairs_are_refused_with_what_each_condition_left(run: Run) -> None:
    with pytest.raises(DataError) as error:
        Pair(9, 9).run(run)
    assert str(error.value) == (
        "6 usable videos gave 4 of 9 identity pairs (30 ordered pairs, 20 whose loser is a clip, 12 with the identity gap, "
        "4 under the motion threshold, 4 whose winner follows its prompt) and 1 of 9 dynamic pairs (12 ordered pairs, "
        "10 whose winner is better in something, 6 with the identity gap, 2 with the motion gap, 1 with the prompt gap, "
        "1 whose winner follows its prompt); need 4 of each kind. "
        "Lower the gaps of --pair, or sample more clips or adapter strengths."
    )


def test_only_kinds_that_are_asked_for_are_counted_and_the_papers_by_their_fronts(run: Run) -> None:
    with pytest.raises(DataError, match=r"gave 0 of 9 identity pairs \(30 ordered .*\); need 4 of each kind"):
        Pair(9, 0, identity_least_gap=10).run(run)
    with pytest.raises(
        DataError, match=r"gave \d of 9 dynamic pairs \(12 ordered pairs, \d from an upper to a lower front, .*\); need"
    ):
        Pair(0, 9, "paper").run(run)


def test_no_pair_at_all_is_refused_even_where_none_is_required(run: Run) -> None:
    nothing = Pair(9, 9, identity_least_gap=10, dynamic_least_identity_gap=10, least=0)
    with pytest.raises(
        DataError, match=r"gave 0 of 9 identity pairs .* and 0 of 9 dynamic pairs .*; need at least 1 pair\. Lower the gaps"
    ):
        nothing.run(run)
    assert [pair.kind for pair in replace(nothing, dynamic_least_identity_gap=1).run(run)] == ["dynamic"]


def test_identity_is_learnt_of_the_neutral_words_and_motion_of_the_winners_prompt(run: Run) -> None:
    prompts = {video.id: video.prompt for video in run.dir.read("sample", Video)}
    pairs = Pair(9, 9, least=0).run(run)
    assert {pair.kind for pair in pairs} == {"identity", "dynamic"}
    for pair in pairs:
        assert pair.prompt == (run.common.trigger if pair.kind == "identity" else prompts[pair.winner])
