"""Identity pairs: far apart in identity, close in motion."""

from collections import Counter

import numpy as np
import pytest

from magicid.selection.identity_pairs import identity_pairs
from magicid.selection.scored import Scored


def videos(seed: int) -> list[Scored]:
    rng = np.random.default_rng(seed)
    origins = ["static"] * 6 + ["finetuned"] * 25 + ["base"] * 5
    return [Scored(f"{o}-{i:02d}", o, f"p{i % 4}", *map(float, rng.uniform(1, 10, 3))) for i, o in enumerate(origins)]


@pytest.mark.parametrize("seed", range(10))
def test_pairs_keep_the_gap_the_threshold_and_the_uses(seed: int) -> None:
    pairs = identity_pairs(videos(seed), 20, 2.0, 3.0, most_uses=2)
    assert 0 < len(pairs) <= 20
    assert all(p.identity_gap >= 2 and abs(p.motion_gap) <= 3 and p.loser.origin != "static" for p in pairs)
    assert max(Counter(v.id for p in pairs for v in (p.winner, p.loser)).values()) <= 2
    gaps = [p.identity_gap for p in pairs]
    assert gaps == sorted(gaps, reverse=True)


@pytest.mark.parametrize("seed", range(10))
def test_pairs_do_not_depend_on_the_order_of_the_videos(seed: int) -> None:
    assert identity_pairs(videos(seed)[::-1], 20, 2, 3, 2) == identity_pairs(videos(seed), 20, 2, 3, 2)


def test_a_wider_threshold_lets_still_winners_in() -> None:
    still, moving = Scored("still", "static", "t", 10, 1, 5), Scored("moving", "finetuned", "p", 3, 5, 5)
    assert identity_pairs([still, moving], 9, 2, 3.9, 9) == []
    assert [p.winner.id for p in identity_pairs([still, moving], 9, 2, 4.0, 9)] == ["still"]


def test_nobody_beats_himself_even_without_a_gap() -> None:
    pairs = identity_pairs(videos(0), 9999, 0, 9, 9999)
    assert pairs and all(p.winner.identity > p.loser.identity for p in pairs)


def test_equal_gaps_are_ordered_by_name() -> None:
    twins = [Scored(name, "finetuned", "p", identity, 5, 5) for name, identity in (("d", 1), ("b", 9), ("a", 9), ("c", 1))]
    assert [(p.winner.id, p.loser.id) for p in identity_pairs(twins, 9, 1, 9, 9)] == [
        ("a", "c"),
        ("a", "d"),
        ("b", "c"),
        ("b", "d"),
    ]
