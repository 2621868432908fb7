"""The probe's targets say who and where; it reads each frame by itself; its error trains the transformer too."""

from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from magicid.avatar.dataset import ClipStore, clip_store
from magicid.avatar.identity import BEARDS, HAIR_STYLES, Identity
from magicid.avatar.pretrain_transformer import Curriculum, TextToLatents, TransformerLoss, new_tokenizer
from magicid.avatar.probe import Probe, probe_targets, traits


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    return clip_store(tmp_path_factory.mktemp("probe"), seed=2, count=6)


def test_people_are_told_apart_by_every_trait() -> None:
    person = Identity.random(3)
    other = {
        "hair_style": next(style for style in HAIR_STYLES if style != person.hair_style),
        "beard": next(style for style in BEARDS if style != person.beard),
        "freckles": not person.freckles,
    }
    for name, value in zip(person.__dataclass_fields__, astuple(person), strict=True):
        changed = other.get(name, tuple(c + 1 for c in value) if isinstance(value, tuple) else value)
        changed = changed if changed != value else value + 1
        assert (traits(person) != traits(replace(person, **{name: changed}))).any(), name


def test_targets_are_standardised_and_belong_to_their_clips(store: ClipStore) -> None:
    who, where = probe_targets(store)
    assert who.shape == (6, len(traits(Identity.random(0)))) and where.shape == (6, 17, 14)
    flat = where.float().reshape(-1, 14)
    torch.testing.assert_close(flat.mean(0), torch.zeros(14), atol=2e-3, rtol=0)
    torch.testing.assert_close(flat.std(0), torch.ones(14), atol=1e-2, rtol=0)
    x0 = torch.from_numpy(store.boxes[..., 0].copy())
    assert torch.equal(where[..., 0].flatten().argsort(stable=True), x0.flatten().argsort(stable=True))


def test_a_frame_is_read_from_its_own_tokens() -> None:
    probe, hidden = Probe(8, tokens_per_frame=4, who=3, where=2), torch.randn(2, 12, 8)
    changed = hidden.clone()
    changed[:, 4:8] += 1  # the second of three frames
    differs = (probe(changed) != probe(hidden)).any(-1)
    assert differs.tolist() == [[False, True, False]] * 2


def test_knowing_nothing_costs_the_variance() -> None:
    who, where = torch.tensor([[1.0, -1.0]]), torch.tensor([[[1.0], [-1.0]]])
    missed = Probe(8, 4, who=2, where=1).loss(torch.zeros(1, 2, 3), who, where)
    assert [float(one) for one in missed] == [1, 1]


def test_the_probe_trains_the_blocks_before_it_and_is_logged(store: ClipStore, tmp_path: Path) -> None:
    tokenizer: Any = new_tokenizer()
    grown = {}
    for weight in (0.0, 0.5):
        model = TextToLatents(4, len(tokenizer))
        latents = torch.zeros(6, 4, 17, 4, 4)
        curriculum = Curriculum(short_batch=2, batch=2, whole_from=0, probe_weight=weight)
        loss, logged = TransformerLoss(model, tokenizer, store, latents, curriculum)(0, 0)
        loss.backward()  # type: ignore[no-untyped-call]
        assert ("who" in logged) == bool(weight)
        gradient = model.transformer.blocks[0].ffn.net[2].weight.grad
        grown[weight] = gradient.clone()
    assert not torch.equal(grown[0.0], grown[0.5])
