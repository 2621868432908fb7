"""What the settings of selection do to the pairs of one repository."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from magicid.core.errors import UsageError
from magicid.selection.scored import Scored
from magicid.stages.pair import Pair

ORIGINS = ["static"] * 6 + ["finetuned"] * 60 + ["base"] * 14
FEW = Pair(identity=20, dynamic=20)


def repository(seed: int = 0) -> list[Scored]:
    rows = np.random.default_rng(seed).uniform(1, 10, (len(ORIGINS), 3)).tolist()
    return [Scored(f"{o}-{i:02d}", o, f"p{i % 9}", *row) for i, (o, row) in enumerate(zip(ORIGINS, rows, strict=True))]


@pytest.mark.parametrize("rule", ["dominance", "paper"])
@pytest.mark.parametrize(("identity", "dynamic"), [(0, 0), (9, 0), (0, 9), (9, 9)])
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
        replace(FEW, rewards=rewards).choose(repository())
