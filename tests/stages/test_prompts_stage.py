"""Prompts name the person in the trigger's own words, from the grammar, the list, or whoever answers at the endpoint."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from magicid.core.errors import DataError, UsageError
from magicid.core.run import Run
from magicid.language import endpoint as asking
from magicid.language.scenes import EVALUATION, REPOSITORY, listed
from magicid.language.writer import lines
from magicid.stages.prompts import Prompts
from tests.doubles import fake_run
from tests.endpoint import answering, said


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.delenv("MAGICID_LLM_URL", raising=False)
    run = fake_run(tmp_path / "run", tmp_path)
    run.common = replace(run.common, trigger="sks Person")
    yield run
    run.dir.close()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What the endpoint shall answer, one after the other; the last stays."""
    answers: list[object] = []

    def answer(asked: dict[str, Any]) -> object:
        assert asked["path"] == "/v1/chat/completions" and "sks Person" in asked["messages"][0]["content"]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with answering(answer) as url:
        monkeypatch.setenv("MAGICID_LLM_URL", url)
        yield answers


@pytest.mark.parametrize("source", ["list", "grammar"])
def test_prompts_are_different_and_name_the_person(run: Run, source: str) -> None:
    prompts = Prompts(20, 10, source=source).run(run)  # type: ignore[arg-type]
    assert len({p.text for p in prompts}) == 30 and [p.split for p in prompts] == ["repository"] * 20 + ["evaluation"] * 10
    assert all("sks person" in p.text.lower() for p in prompts)


def test_the_list_keeps_the_triggers_case(run: Run) -> None:
    assert all("sks Person" in p.text for p in Prompts(20, 10, source="list").run(run))


def test_more_than_there_are_is_refused(run: Run) -> None:
    with pytest.raises(DataError, match=rf"^{len(REPOSITORY + EVALUATION)} different prompts, 31 are needed; lower"):
        Prompts(21, 10, source="list").ready(run.common)
    with pytest.raises(DataError, match=r"^1441 prompts; the grammar has 1,440 combinations .* Lower --prompts"):
        Prompts(1431, 10, source="grammar").ready(run.common)


def test_an_endpoint_that_is_not_named_is_refused(run: Run) -> None:
    with pytest.raises(UsageError, match=r"^prompts\.source 'endpoint' needs MAGICID_LLM_URL; set it, or choose"):
        Prompts(1, 1, source="endpoint").ready(run.common)


def test_a_local_model_that_is_not_there_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^prompts\.model '.*': cannot be read"):
        Prompts(1, 1, source="local", model=str(tmp_path)).ready(run.common)


def test_what_is_no_prompt_is_left_out() -> None:
    reply = """<think>Two about sks person.
      sks person waves, perhaps?</think>
      **Here are 2 prompts about 'sks person':**
      1. "Sks person nods."
      * 2 dogs run to sks person"""
    assert lines(reply, "sks person") == ["sks person nods.", "2 dogs run to sks person."]
    assert lines("<think>\nsks person waves, or", "sks person") == []
    assert lines("4nn4 woman runs", "4nn4 woman") == ["4nn4 woman runs."]


def test_answers_are_kept_in_any_case_and_said_in_the_triggers_own(run: Run, endpoint: list[object]) -> None:
    text = "Here you are:\n1. Sks person nods in the snow.\n- in the rain, sks Person waves\nsomeone else sings"
    endpoint.append(said(text))
    prompts = Prompts(1, 1, source="auto").run(run)
    assert [p.text for p in prompts] == ["sks Person nods in the snow.", "in the rain, sks Person waves."]


def test_what_is_missing_is_asked_for_again_and_then_counted(run: Run, endpoint: list[object]) -> None:
    endpoint += [said("sks Person nods."), said("SKS person nods.\n2) sks person sings."), said("sks person nods")]
    assert [p.text for p in Prompts(1, 1).run(run)] == ["sks Person nods.", "sks Person sings."]
    assert endpoint == [said("sks person nods")]
    with pytest.raises(DataError, match=r"^1 different prompts, 2 are needed; lower"):
        Prompts(1, 1).run(run)


@pytest.mark.parametrize(("trigger", "their"), [("sks man", "his"), ("sks woman", "her"), ("sks person", "their")])
def test_the_list_is_said_of_a_man_a_woman_or_a_person(run: Run, trigger: str, their: str) -> None:
    run.common = replace(run.common, trigger=trigger)
    texts = [p.text for p in Prompts(20, 10, source="list").run(run)]
    assert len(REPOSITORY) == 20 and len(EVALUATION) == 10 and texts == listed(trigger, trigger.split()[1])
    assert all(f"In this video, {trigger} " in text and "{" not in text for text in texts)
    others = {"his", "her", "their"} - {their}
    words = {word.strip(",.") for text in texts for word in text.split()}
    assert their in words and not others & words


def test_a_trigger_of_one_word_leaves_the_class_word_to_its_setting() -> None:
    assert Prompts().word_for("sks woman") == "woman" and Prompts(class_word="Woman").word_for("sks woman smiling") == "Woman"
    assert Prompts().word_for("sks") == "person" and Prompts(class_word="man").word_for("sks") == "man"
    said = r"^prompts\.class_word 'man' is not in the trigger 'sks person'; set --trigger 'sks man'\.$"
    with pytest.raises(UsageError, match=said):
        Prompts(class_word="man").word_for("sks person")


@pytest.mark.parametrize("answer", [[], {}, {"choices": []}, {"choices": [{"message": {"content": None}}]}])
def test_an_answer_without_prompts_is_one_line(run: Run, endpoint: list[object], answer: object) -> None:
    endpoint.append(answer)
    with pytest.raises(DataError, match=r"^http://127\.0\.0\.1:\d+/v1/chat/completions: no usable answer \(.*; choose --prompts"):
        Prompts(1, 1).run(run)


@pytest.mark.parametrize("url", ["nowhere", "http://127.0.0.1:1", "http://a b"])
def test_an_address_that_is_none_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(asking, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setenv("MAGICID_LLM_URL", url)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataError, match=r"^[^\n]+: no usable answer [^\n]+$"):
        Prompts(1, 1).run(run)
