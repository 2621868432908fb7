"""Trigger words are found where they are said, and only there."""

import pytest

from magicid.core.words import whole


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("sks person", "SKS Person nods."),
        ("sks person ", "a sks person's hat"),
        ("<new4> person", "a <new4> person"),
        ("ohwx!", "ohwx! waves"),
        ("sks人", "一个sks人在雪中"),
        ("sks 사람", "sks 사람이 웃는다"),
    ],
)
def test_words_are_found_in_any_case_and_script(words: str, sentence: str) -> None:
    assert whole(words).search(sentence)


@pytest.mark.parametrize("sentence", ["a cook in a cannery", "Hannah", "Anna nods", "ann2", "\u00c4nn", "ann\u0435"])
def test_a_part_of_a_word_is_none(sentence: str) -> None:
    assert not whole("ann").search(sentence)
