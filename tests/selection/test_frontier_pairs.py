"""Dynamic pairs: fronts as Pareto has them, winners that win in both, no video worn out."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from magicid.selection.frontier_pairs import dominance_pairs, dominates, fronts, paper_pairs
from magicid.selection.scored import Scored

SEEDS = range(12)


def videos(seed: int, count: int = 40) -> list[Scored]:
    """Random scores, coarse in half of the repositories so that there are ties."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(1, 10, (count, 3)).round(0 if seed % 2 else 6)
    return [Scored(f"v{i:02d}", "finetuned", f"p{i % 5}", *map(float, row)) for i, row in enumerate(scores)]


def video(name: str, identity: float, motion: float, semantics: float = 5.0, prompt: str = "p") -> Scored:
    return Scored(name, "finetuned", prompt, identity, motion, semantics)


@pytest.mark.parametrize("seed", SEEDS)
def test_fronts_part_the_videos_and_nobody_dominates_within_one(seed: int) -> None:
    layers = fronts(videos(seed))
    assert sorted(v.id for layer in layers for v in layer) == [v.id for v in videos(seed)]
    assert not any(dominates(a, b) for layer in layers for a in layer for b in layer)


@pytest.mark.parametrize("seed", SEEDS)
def test_everyone_in_a_later_front_is_dominated_from_the_front_before(seed: int) -> None:
    layers = fronts(videos(seed))
    for before, layer in pairwise(layers):
        assert all(any(dominates(a, v) for a in before) for v in layer)


def test_nobody_dominates_himself_or_an_equal() -> None:
    a, b = video("a", 5, 5), video("b", 5, 5)
    assert not dominates(a, a) and not dominates(a, b) and fronts([a, b]) == [[a, b]]
    assert dominates(video("c", 5, 6), a) and not dominates(video("d", 6, 4), a)


@pytest.mark.parametrize("seed", SEEDS)
def test_dominant_winners_keep_both_gaps_the_floor_and_the_uses(seed: int) -> None:
    pairs = dominance_pairs(videos(seed), 30, 1.5, 1.0, 4.0, most_uses=3)
    assert 0 < len(pairs) <= 30
    for pair in pairs:
        assert pair.identity_gap >= 1.5 and pair.motion_gap >= 1.0 and pair.winner.prompt_score >= 4.0
    uses = Counter(v.id for pair in pairs for v in (pair.winner, pair.loser))
    assert max(uses.values()) <= 3


@pytest.mark.parametrize("seed", SEEDS)
def test_pairs_do_not_depend_on_the_order_of_the_videos(seed: int) -> None:
    repository = videos(seed)
    shuffled = [repository[i] for i in np.random.default_rng(seed + 100).permutation(len(repository))]
    assert dominance_pairs(shuffled, 30, 1, 1, 1, 4) == dominance_pairs(repository, 30, 1, 1, 1, 4)
    assert paper_pairs(shuffled, 30, 4) == paper_pairs(repository, 30, 4)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_pair_comes_twice_and_nobody_beats_himself_even_without_gaps(seed: int) -> None:
    for pairs in (dominance_pairs(videos(seed), 999, 0, 0, 0, 999), paper_pairs(videos(seed), 999, 999)):
        ids = [(pair.winner.id, pair.loser.id) for pair in pairs]
        assert len(set(ids)) == len(ids) and all(w != s for w, s in ids)


def test_pairs_of_one_prompt_come_first_then_the_largest_product_of_gaps() -> None:
    best, near, far = video("best", 9, 9, prompt="p"), video("near", 7, 7, prompt="p"), video("far", 1, 1, prompt="q")
    chosen = [(c.winner.id, c.loser.id) for c in dominance_pairs([far, near, best], 9, 1, 1, 1, 9)]
    assert chosen == [("best", "near"), ("best", "far"), ("near", "far")]


def test_a_moving_stranger_and_a_still_likeness_win_nothing() -> None:
    stranger, still, plain = video("stranger", 1, 10), video("still", 10, 1), video("plain", 4, 4)
    assert dominance_pairs([stranger, still, plain], 9, 1, 1, 1, 9) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_the_papers_winners_are_upper_losers_lower_and_the_widest_identity_gap_is_first(seed: int) -> None:
    layers = fronts(videos(seed))
    rank = {v.id: i for i, layer in enumerate(layers) for v in layer}
    pairs = paper_pairs(videos(seed), 30, 5)
    gaps = [pair.identity_gap for pair in pairs]
    assert pairs and gaps == sorted(gaps, reverse=True) and min(gaps) > 0
    assert all(rank[p.winner.id] < (len(layers) + 1) // 2 <= rank[p.loser.id] for p in pairs)


def test_one_front_or_none_gives_the_paper_no_pair() -> None:
    assert paper_pairs([], 9, 9) == [] and fronts([]) == []
    assert paper_pairs([video("a", 1, 9), video("b", 9, 1)], 9, 9) == []
