"""New words are learnt through frozen text encoders, and leave no trace in them."""

import pytest
import torch

from magicid.core import tables
from magicid.core.errors import DataError
from magicid.core.interfaces import Family
from magicid.training import keywords
from tests.families.tiny import tiny_family

SAID = "a <new1> <new2> person waves"


@pytest.fixture(scope="module", params=tables.FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return tiny_family(request.param, tmp_path_factory.mktemp(request.param))


def test_gradients_reach_every_row_and_nothing_else(family: Family) -> None:
    rows = keywords.new_rows(family, 2, "person", seed=0)
    assert len(rows) == len(family.text_encoders)
    with keywords.using(family, rows):
        condition = family.encode_prompts([SAID])
    sum(tensor.float().square().sum() for tensor in condition.values()).backward()  # type: ignore[union-attr]
    for name, own in rows.items():
        assert own.grad is not None and (own.grad.abs().sum(1) > 0).all(), name
    assert all(p.grad is None for _, encoder in family.text_encoders for p in encoder.parameters())


def test_each_word_has_its_own_row_and_its_place_counts(family: Family) -> None:
    rows = keywords.new_rows(family, 2, "person", seed=0)
    with keywords.using(family, rows), torch.no_grad():
        one, other = (family.encode_prompts([text]) for text in (SAID, "a <new2> <new1> person waves"))
        for own in rows.values():
            own.copy_(own.flip(0))
        flipped = family.encode_prompts([SAID])
    for name in one:
        same = torch.equal(one[name], other[name])
        assert same == name.endswith(("mask", "_2")), name  # _2: of what stands in quotes
        torch.testing.assert_close(flipped[name], other[name])


def test_a_row_that_copies_a_word_says_what_the_word_says(family: Family) -> None:
    rows = keywords.new_rows(family, 1, "person", seed=0)
    with torch.no_grad():
        for own, (tokenizer, encoder) in zip(rows.values(), family.text_encoders, strict=True):
            own.copy_(encoder.get_input_embeddings().weight[tokenizer("park", add_special_tokens=False).input_ids])
        plain = family.encode_prompts(["walks in the park"])
        with keywords.using(family, rows):
            copied = family.encode_prompts(["walks in the <new1>"])
    torch.testing.assert_close(copied, plain)


def test_prompts_without_new_words_and_embeddings_stay_as_they_were(family: Family) -> None:
    sizes = [encoder.get_input_embeddings().weight.shape for _, encoder in family.text_encoders]
    before = family.encode_prompts(["a person waves"])
    with keywords.using(family, keywords.new_rows(family, 4, "person", seed=0)):
        inside = family.encode_prompts(["a person waves"])
    after = family.encode_prompts(["a person waves"])
    for name in before:
        assert torch.equal(before[name], inside[name]) and torch.equal(before[name], after[name])
        assert not after[name].requires_grad
    assert sizes == [encoder.get_input_embeddings().weight.shape for _, encoder in family.text_encoders]


def test_rows_start_near_a_word_and_apart(family: Family) -> None:
    rows = keywords.new_rows(family, 3, "person", seed=0)
    again = keywords.new_rows(family, 3, "person", seed=0)
    for (name, own), (tokenizer, encoder) in zip(rows.items(), family.text_encoders, strict=True):
        weight = encoder.get_input_embeddings().weight
        person = weight[tokenizer("person", add_special_tokens=False).input_ids[0]]
        assert torch.equal(own, again[name])
        assert (own - person).norm(dim=1).max() < 0.3 * weight.std() * weight.shape[1] ** 0.5
        assert len({tuple(row.tolist()) for row in own}) == 3


def test_a_start_without_tokens_is_refused(family: Family) -> None:
    with pytest.raises(DataError, match="has no token"):
        keywords.new_rows(family, 4, "", seed=0)
