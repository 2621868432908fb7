"""What is said is understood."""

import itertools

import numpy as np
import pytest

from magicid.avatar.prompts import SUBJECTS, TABLES, TEMPLATES, describe, parse, sentences
from magicid.avatar.truth import VOCABULARIES, Truth, pick, random_truth
from magicid.core.errors import DataError


def test_every_sentence_says_what_it_was_made_of() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        truth = random_truth(rng)
        sentence = describe(truth, rng)
        assert parse(sentence) == truth, sentence


def test_a_sentence_about_a_named_person_says_the_same_and_names_the_person() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        truth = random_truth(rng)
        sentence = describe(truth, rng, "sks person")
        assert parse(sentence) == truth and "sks person" in sentence.lower()


@pytest.mark.parametrize("field", TABLES)
def test_no_phrase_is_taken_for_another_value(field: str) -> None:
    plain = {"scene": "in the snow", "outfit": "in a hoodie", "action": "nods", "amplitude": "", "camera": ""} | {
        "outfit": "wearing a hoodie"
    }
    for value, phrases in TABLES[field].items():
        for phrase, template in itertools.product(phrases, TEMPLATES):
            sentence = template.format(subject="someone", **plain | {field: phrase})
            assert getattr(parse(sentence), field) == value, sentence


def test_every_value_of_the_world_has_phrases_and_no_other_has() -> None:
    assert {field: tuple(table) for field, table in TABLES.items()} == VOCABULARIES
    assert all(phrases for table in TABLES.values() for phrases in table.values())


def test_a_scientist_in_a_lab_coat_nods_in_the_snow() -> None:
    assert parse("a scientist in a lab coat nods in the snow") == Truth("snow", "scientist", "nods", "plain", "still")
    assert parse("SKS PERSON, a soldier in tactical gear hops on a train") == Truth("train", "tactical", "jumps")


@pytest.mark.parametrize(
    ("sentence", "missing"), [("a chef nods", "scene"), ("someone nods in the snow", "outfit"), ("a chef in the snow", "action")]
)
def test_what_is_not_said_is_asked_for(sentence: str, missing: str) -> None:
    with pytest.raises(DataError, match=f"names no {missing}; say one of: "):
        parse(sentence)


def test_words_inside_words_say_nothing() -> None:
    with pytest.raises(DataError, match="names no action"):
        parse("a chef in the snow with seahops and hopscotch")


def test_sentences_are_tidy_and_the_same_for_the_same_seed() -> None:
    drawn = sentences(200, 3)
    assert drawn == sentences(200, 3) != sentences(200, 4)
    for sentence in drawn:
        assert (
            sentence[0].isupper()
            and sentence.endswith(".")
            and not {"  ", " ,", ",.", "{"} & set(itertools.chain(map("".join, itertools.pairwise(sentence)), sentence))
        )


@pytest.mark.parametrize("count", range(1, 14))
def test_a_pick_is_what_choice_draws(count: int) -> None:
    ours, numpys = (np.random.default_rng(count) for _ in range(2))
    names = [f"name-{i}" for i in range(count)]
    assert [pick(ours, names) for _ in range(50)] == [str(numpys.choice(names)) for _ in range(50)]
    assert ours.random() == numpys.random()


def test_a_person_is_drawn_from_every_way_to_say_it() -> None:
    rng = np.random.default_rng(0)
    said = " ".join(describe(Truth("snow", "hoodie", "nods"), rng).lower() for _ in range(300))
    assert all(subject.format(t="sks") in said for subject in SUBJECTS)


def test_an_unknown_value_is_no_truth() -> None:
    with pytest.raises(ValueError, match="scene 'moon' is unknown; choose one of beach"):
        Truth("moon", "hoodie", "nods")
