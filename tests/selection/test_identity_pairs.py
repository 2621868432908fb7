"""Identity pairs: far apart in identity, close in motion."""

from collections import Counter

import numpy as np
import pytest

from magicid.selection.identity_pairs import identity_conditions, identity_pairs, paper_identity_pairs
from magicid.selection.scored import Candidate, Scored, candidates, counted


def videos(seed: int) -> list[Scored]:
    rng = np.random.default_rng(seed)
    origins = ["static"] * 6 + ["finetuned"] * 25 + ["base"] * 5
    return [Scored(f"{o}-{i:02d}", o, f"p{i % 4}", *map(float, rng.uniform(1, 10, 3))) for i, o in enumerate(origins)]


def gaps(pairs: list[Candidate]) -> list[float]:
    return [pair.gap("identity") for pair in pairs]


@pytest.mark.parametrize("seed", range(10))
def test_pairs_keep_the_gap_the_threshold_the_floor_and_the_uses(seed: int) -> None:
    pairs = identity_pairs(videos(seed), 20, 2.0, 3.0, 4.0, most_uses=2)
    assert 0 < len(pairs) <= 20 and min(gaps(pairs)) >= 2
    assert all(abs(p.gap("motion")) <= 3 and p.loser.origin != "static" for p in pairs)
    assert all(p.winner.prompt_score >= 4 or p.winner.origin == "static" for p in pairs)
    assert max(Counter(name for p in pairs for name in p.ids).values()) <= 2


@pytest.mark.parametrize("seed", range(10))
def test_photos_come_first_then_pairs_of_one_prompt_each_by_the_widest_gap(seed: int) -> None:
    pairs = identity_pairs(videos(seed), 99, 2.0, 9.0, most_static=7)
    groups = [(p.winner.origin != "static", not p.same_prompt) for p in pairs]
    assert groups == sorted(groups) and sum(not moving for moving, _ in groups) == 7
    for group in set(groups):
        own = [gap for gap, g in zip(gaps(pairs), groups) if g == group]
        assert own == sorted(own, reverse=True)


@pytest.mark.parametrize("seed", range(10))
def test_the_papers_pairs_are_the_widest_of_all_under_the_threshold(seed: int) -> None:
    pairs, everyone = paper_identity_pairs(videos(seed), 20, 3.0), videos(seed)
    allowed = [
        w.identity - s.identity
        for w in everyone
        for s in everyone
        if s.origin != "static" and w.identity > s.identity and abs(w.motion - s.motion) <= 3
    ]
    assert gaps(pairs) == sorted(allowed, reverse=True)[:20]


@pytest.mark.parametrize("seed", range(10))
def test_pairs_do_not_depend_on_the_order_of_the_videos(seed: int) -> None:
    assert identity_pairs(videos(seed)[::-1], 20, 2, 3, 4, 2, 5) == identity_pairs(videos(seed), 20, 2, 3, 4, 2, 5)
    assert paper_identity_pairs(videos(seed)[::-1], 20, 3) == paper_identity_pairs(videos(seed), 20, 3)


def test_a_photo_has_no_scene_that_a_sentence_could_ask_for() -> None:
    still, deaf, loser = (
        Scored("still", "static", "t", 10, 1, 1),
        Scored("deaf", "base", "p", 9, 1, 1),
        Scored("l", "base", "p", 1, 1, 1),
    )
    assert {p.winner.id for p in identity_pairs([still, deaf, loser], 9, 2, 9, least_prompt=6)} == {"still"}


def test_a_wider_threshold_lets_still_winners_in() -> None:
    still, moving = Scored("still", "static", "t", 10, 1, 5), Scored("moving", "finetuned", "p", 3, 5, 5)
    for rule in (identity_pairs, paper_identity_pairs):
        least = (2,) if rule is identity_pairs else ()
        assert rule([still, moving], 9, *least, 3.9) == []
        assert [p.winner.id for p in rule([still, moving], 9, *least, 4.0)] == ["still"]


def test_nobody_beats_himself_even_without_a_gap() -> None:
    for pairs in (identity_pairs(videos(0), 9999, 0), paper_identity_pairs(videos(0), 9999)):
        assert pairs and all(p.winner.identity > p.loser.identity for p in pairs)


def test_equal_gaps_are_ordered_by_name() -> None:
    twins = [Scored(name, "finetuned", "p", identity, 5, 5) for name, identity in (("d", 1), ("b", 9), ("a", 9), ("c", 1))]
    assert [(p.winner.id, p.loser.id) for p in identity_pairs(twins, 9, 1)] == [
        ("a", "c"),
        ("a", "d"),
        ("b", "c"),
        ("b", "d"),
    ]


@pytest.mark.parametrize("seed", range(10))
def test_counts_fall_from_all_ordered_pairs_to_the_candidates(seed: int) -> None:
    conditions = identity_conditions(2.0, 3.0, 4.0)
    counts = [int(part.split()[0]) for part in counted(videos(seed), conditions).split(", ")]
    assert counts == sorted(counts, reverse=True) and len(counts) == 1 + len(conditions)
    assert counts[0] == 36 * 35 and counts[-1] == len(candidates(videos(seed), conditions)) > 0
