"""Strangers are the evaluation's prompts about somebody else, in words that the base model knows."""

import numpy as np

from magicid.avatar.judges import known_words
from magicid.avatar.prompts import describe, parse
from magicid.avatar.truth import Truth
from magicid.core.records import Prompt
from magicid.stages.generate import SOMEBODY, SOMEBODY_DRAWN, somebody, strangers

PROMPTS = [
    Prompt("prompt-020", "SKS person nods, and sks person waves.", "evaluation"),
    Prompt("p1", "A sks person.", "evaluation"),
]


def test_somebody_stands_where_the_trigger_stood() -> None:
    found = strangers(PROMPTS, "sks person", SOMEBODY, 3)
    assert [p.text for p in found] == ["A man nods, and a man waves.", "A woman.", "A man nods, and a man waves."]
    assert strangers([Prompt("p1", "Sks personal.", "evaluation")], "sks person", SOMEBODY, 1)[0].text == "Sks personal."
    assert len({p.number for p in found}) == 3 and strangers(PROMPTS, "sks person", SOMEBODY, 0) == []


def test_strangers_go_with_the_prompts_pronouns() -> None:
    assert somebody("Woman") == ("a woman",) and somebody("guy") == ("a guy",) and somebody("person") == SOMEBODY


def test_the_embedded_world_knows_its_strangers() -> None:
    truth = Truth("beach", "suit", "waves")
    said = describe(truth, np.random.default_rng(0), "sks person")
    for stranger in strangers([Prompt("p", said, "evaluation")], "sks person", SOMEBODY_DRAWN, 2):
        assert "sks" not in stranger.text.lower() and parse(stranger.text) == truth
        assert {word.strip(",.") for word in stranger.text.lower().split() if word.strip(",.").isalpha()} <= set(known_words())
