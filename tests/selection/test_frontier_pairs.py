"""Dynamic pairs: fronts as Pareto has them, winners that win in both, no video worn out."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from magicid.selection.frontier_pairs import dominance_pairs, fronts, paper_pairs
from magicid.selection.scored import Candidate, RewardName, Scored, spread

SEEDS = range(12)
GAPS: dict[RewardName, float] = {"identity": 1.0, "motion": 1.0}
NONE: dict[RewardName, float] = {"identity": 0.0, "motion": 0.0}


def videos(seed: int, count: int = 40) -> list[Scored]:
    """Random scores, coarse in half of the repositories so that there are ties."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(1, 10, (count, 3)).round(0 if seed % 2 else 6)
    return [Scored(f"v{i:02d}", "finetuned", f"p{i % 5}", *map(float, row)) for i, row in enumerate(scores)]


def video(name: str, identity: float, motion: float, semantics: float = 5.0, prompt: str = "p") -> Scored:
    return Scored(name, "finetuned", prompt, identity, motion, semantics)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("axes", [("identity",), ("identity", "motion"), ("identity", "motion", "prompt")])
def test_fronts_part_the_videos_by_the_rewards_that_take_part(seed: int, axes: tuple[RewardName, ...]) -> None:
    layers = fronts(videos(seed), axes)
    assert sorted(v.id for layer in layers for v in layer) == [v.id for v in videos(seed)]
    for before, after in pairwise(layers):
        for v in after:
            assert any(
                all(w.reward(a) >= v.reward(a) for a in axes) and any(w.reward(a) > v.reward(a) for a in axes) for w in before
            )


@pytest.mark.parametrize("seed", SEEDS)
def test_dominant_winners_keep_both_gaps_the_floor_and_the_uses(seed: int) -> None:
    pairs = dominance_pairs(videos(seed), 30, {"identity": 1.5, "motion": 1.0, "prompt": -2.0}, 4.0, most_uses=3)
    assert 0 < len(pairs) <= 30
    for pair in pairs:
        assert pair.gap("identity") >= 1.5 and pair.gap("motion") >= 1.0 and pair.gap("prompt") >= -2.0
        assert pair.winner.prompt_score >= 4.0
    assert max(Counter(name for pair in pairs for name in pair.ids).values()) <= 3


@pytest.mark.parametrize("seed", SEEDS)
def test_pairs_taken_before_count_as_uses_and_do_not_come_again(seed: int) -> None:
    first = dominance_pairs(videos(seed), 10, GAPS, most_uses=3)
    second = dominance_pairs(videos(seed), 30, GAPS, most_uses=3, taken=first)
    assert first and second and not {p.ids for p in first} & {p.ids for p in second}
    assert max(Counter(name for p in [*first, *second] for name in p.ids).values()) <= 3
    assert paper_pairs(videos(seed), 5, taken=paper_pairs(videos(seed), 5)) == paper_pairs(videos(seed), 10)[5:]


def test_a_pair_does_not_come_again_the_other_way_round() -> None:
    one, other = videos(0)[:2]
    assert spread([Candidate(other, one), Candidate(one, other)], 2, taken=[Candidate(one, other)]) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reward_that_takes_no_part_changes_nothing(seed: int) -> None:
    shaken = [replace(v, motion=10 - v.motion, prompt_score=1) for v in videos(seed)]
    for asked in ({"identity": 1.0}, {"identity": 0.0}):
        pairs = [[p.ids for p in dominance_pairs(some, 30, asked, most_uses=5)] for some in (videos(seed), shaken)]  # type: ignore[arg-type]
        assert pairs[0] == pairs[1] != []
    assert [p.ids for p in paper_pairs(videos(seed), 30, ("identity",))] == [
        p.ids for p in paper_pairs(shaken, 30, ("identity",))
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_pairs_do_not_depend_on_the_order_of_the_videos(seed: int) -> None:
    repository = videos(seed)
    shuffled = [repository[i] for i in np.random.default_rng(seed + 100).permutation(len(repository))]
    assert dominance_pairs(shuffled, 30, GAPS, 1, 4) == dominance_pairs(repository, 30, GAPS, 1, 4)
    assert paper_pairs(shuffled, 30) == paper_pairs(repository, 30)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_pair_comes_twice_and_nobody_beats_himself_even_without_gaps(seed: int) -> None:
    for pairs in (dominance_pairs(videos(seed), 999, NONE), paper_pairs(videos(seed), 999)):
        ids = [(pair.winner.id, pair.loser.id) for pair in pairs]
        assert len(set(ids)) == len(ids) and all(w != s for w, s in ids)


def test_pairs_of_one_prompt_come_first_then_the_largest_product_of_gaps() -> None:
    best, near, far = video("best", 9, 9, prompt="p"), video("near", 7, 7, prompt="p"), video("far", 1, 1, prompt="q")
    chosen = [(c.winner.id, c.loser.id) for c in dominance_pairs([far, near, best], 9, GAPS)]
    assert chosen == [("best", "near"), ("best", "far"), ("near", "far")]


def test_a_moving_stranger_and_a_still_likeness_win_nothing() -> None:
    stranger, still, plain = video("stranger", 1, 10), video("still", 10, 1), video("plain", 4, 4)
    assert dominance_pairs([stranger, still, plain], 9, GAPS) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_the_papers_winners_are_upper_losers_lower_and_the_widest_identity_gap_is_first(seed: int) -> None:
    layers = fronts(videos(seed))
    rank = {v.id: i for i, layer in enumerate(layers) for v in layer}
    pairs = paper_pairs(videos(seed), 30)
    gaps = [pair.gap("identity") for pair in pairs]
    assert pairs and gaps == sorted(gaps, reverse=True) and min(gaps) > 0
    assert all(rank[p.winner.id] < (len(layers) + 1) // 2 <= rank[p.loser.id] for p in pairs)


def test_one_front_or_none_gives_the_paper_no_pair() -> None:
    assert paper_pairs([], 9) == [] and fronts([]) == []
    assert paper_pairs([video("a", 1, 9), video("b", 9, 1)], 9) == []
