"""An epoch has every pair once; pairs that go together have one winner."""

from itertools import chain

import torch

from magicid.core.records import Pair
from magicid.core.seeds import generator
from magicid.training.pair_data import PairData


def pairs() -> list[Pair]:
    """Winner a of 5 pairs (one under another prompt), b of 2, c of 1."""
    rows = [("a", f"l{i}", "one") for i in range(4)] + [
        ("a", "l4", "two"),
        ("b", "l0", "one"),
        ("b", "a", "one"),
        ("c", "b", "two"),
    ]
    return [Pair(str(i), "dynamic" if w == "c" else "identity", w, x, p, 1.0, float(i % 2)) for i, (w, x, p) in enumerate(rows)]


def data() -> PairData:
    names = {name for p in pairs() for name in (p.winner, p.loser)}
    latents = {name: torch.full((1, 2, 2, 2), float(ord(name[-1]))) for name in names}
    return PairData(pairs(), latents, lambda prompts: {"text": torch.tensor([[float(len(p))] for p in prompts])})


def test_each_video_and_each_prompt_is_kept_once() -> None:
    found = data()
    assert len(found) == 8 and len(found.latents) == 8
    for i, pair in enumerate(pairs()):
        assert found.latents[found.winners[i]].max() == ord(pair.winner[-1])
        assert found.latents[found.losers[i]].max() == ord(pair.loser[-1])
        assert found.condition([found.prompts[i]])["text"] == len(pair.prompt)
    assert found.identity == [True] * 7 + [False] and found.moving.tolist() == [0] * 7 + [1]


def test_groups_have_every_pair_once_and_one_kind_winner_and_prompt_each() -> None:
    found = data()
    for share, sizes in [(1, [1] * 8), (2, [1, 1, 2, 2, 2]), (9, [1, 1, 2, 4])]:
        groups = found.groups(share, generator(share))
        assert sorted(chain(*groups)) == list(range(8)) and sorted(map(len, groups)) == sizes
        assert all(len({(found.winners[p], found.prompts[p]) for p in group}) == 1 for group in groups)


def test_an_epoch_has_every_pair_once_and_epochs_differ() -> None:
    found = data()
    sequence = [pair for step in range(8) for group in found.batch(step, 3, 2, 0) for pair in group]
    epochs = [sequence[start : start + 8] for start in (0, 8, 16)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs) and epochs[0] != epochs[1] != epochs[2]


def test_a_batch_depends_on_its_number_alone() -> None:
    found = data()
    forwards = [found.batch(step, 3, 4, 5) for step in range(9)]
    assert [data().batch(step, 3, 4, 5) for step in reversed(range(9))] == forwards[::-1]
    assert all(len(list(chain(*groups))) == 3 for groups in forwards)


def test_a_batch_may_be_larger_than_an_epoch() -> None:
    counts = torch.tensor(list(chain(*data().batch(0, 20, 2, 0)))).bincount()
    assert len(counts) == 8 and counts.min() >= 2 and counts.max() <= 3
