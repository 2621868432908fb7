"""The rubric counts strict JSON only, asks once more for it, and is the same for a local model and an endpoint."""

import base64
import io
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from magicid.core.errors import DataError, UsageError
from magicid.core.interfaces import Observation
from magicid.perception.rubric import AGAIN, CRITERIA, FRAMES, LONG_SIDE, RubricJudge, marks, question
from magicid.perception.text_judges import DEFAULTS, text_encoder, text_judge
from magicid.rewards.prompt import PromptReward
from tests.endpoint import answering, said

CLIP = np.random.default_rng(0).integers(0, 255, (20, 90, 900, 3), np.uint8)
GOOD = json.dumps(dict.fromkeys(CRITERIA, 8))


class Model:
    """Replies in turn; the last reply stays."""

    def __init__(self, *replies: str) -> None:
        self.replies, self.asked, self.seen = list(replies), list[str](), list[Sequence[NDArray[np.uint8]]]()

    def __call__(self, pictures: Sequence[NDArray[np.uint8]], question: str) -> str:
        self.asked.append(question)
        self.seen.append(pictures)
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def test_the_measure_is_the_mean_mark_of_both_orderings() -> None:
    low = json.dumps(dict.fromkeys(CRITERIA, 2))
    model = Model(GOOD, low)
    assert RubricJudge(model).similarity([CLIP], ["someone waves"]) == pytest.approx([0.5])
    orders = [re.findall(r"^- (\w+):", asked, re.MULTILINE) for asked in model.asked]
    assert orders == [list(CRITERIA), list(CRITERIA)[::-1]] and all("someone waves" in asked for asked in model.asked)
    assert len(model.seen[0]) == FRAMES and model.seen[0][0].shape == (45, LONG_SIDE, 3)


def test_the_middle_of_a_scale_is_not_the_end_of_it() -> None:
    best, worst = (json.dumps(dict.fromkeys(CRITERIA, n)) for n in (10, 1))
    assert RubricJudge(Model(best)).similarity([CLIP, CLIP], ["a", "b"]).tolist() == [1, 1]
    assert RubricJudge(Model(worst)).similarity([CLIP], ["a"]) == pytest.approx([0.1])


def test_what_is_not_the_object_is_asked_for_once_more() -> None:
    model = Model("It waves nicely: 8", GOOD)
    assert RubricJudge(model).similarity([CLIP], ["someone waves"]) == pytest.approx([0.8])
    assert len(model.asked) == 3 and model.asked[1] == f"{AGAIN}\n\n{model.asked[0]}"


def test_what_is_still_not_the_object_is_unmeasurable_and_never_0() -> None:
    model = Model(GOOD, "no", "no")
    judge = RubricJudge(model)
    assert np.isnan(judge.similarity([CLIP], ["someone waves"])).all()
    found = PromptReward(judge)(Observation(CLIP, "someone waves", 8.0, []))
    assert found.state == "unmeasurable" and np.isnan(found.value)


@pytest.mark.parametrize(
    "reply",
    [
        "", "8", "[8]", "{}", f"Sure: {GOOD}", f"{GOOD} {GOOD}", GOOD.replace("8", '"8"'), GOOD.replace("8", "8.5"),
        GOOD.replace("8", "0"), GOOD.replace("8", "11"), GOOD.replace("8", "true"), GOOD.replace("8", "NaN"),
        GOOD.replace("}", ', "more": 8}'), "[" * 100_000,
    ],
)  # fmt: skip
def test_no_other_reply_counts(reply: str) -> None:
    assert marks(reply) is None


def test_a_code_fence_is_no_other_reply() -> None:
    assert marks(f"```json\n{GOOD}\n```") == marks(f" {GOOD}\n") == dict.fromkeys(CRITERIA, 8)
    assert "{" + ", ".join(f'"{name}": n' for name in CRITERIA) + "}" in question("a", 3, list(CRITERIA))


def test_an_endpoint_is_shown_the_frames_as_jpegs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def answer(what: dict[str, Any]) -> object:
        asked.append(what)
        return said(GOOD)

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with answering(answer) as url:
        monkeypatch.setenv("MAGICID_VLM_URL", url)
        found = text_judge("endpoint:tiny").similarity([CLIP], ["someone waves"])
    assert found == pytest.approx([0.8]) and [a["model"] for a in asked] == ["tiny"] * 2
    assert asked[0].keys() == {"model", "messages", "path", "key"}  # a temperature or limit is not taken everywhere
    *pictures, text = asked[0]["messages"][0]["content"]
    assert text["type"] == "text" and "someone waves" in text["text"] and len(pictures) == FRAMES
    head, _, data = pictures[0]["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (LONG_SIDE, 45)


def test_names_that_lead_nowhere_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.delenv("MAGICID_VLM_URL", raising=False)
    with pytest.raises(UsageError, match=r"^text judge 'clop' is unknown; did you mean 'clip'\?$"):
        text_judge("clop")
    with pytest.raises(UsageError, match=r"^text judge 'endpoint' needs MAGICID_VLM_URL; set it, or choose clip or vlm\.$"):
        text_judge("endpoint")
    for name in ("clip:no/such", "vlm:no/such"):
        with pytest.raises(DataError, match=r"^(clip|vlm) 'no/such': not a folder here, and the hub did not give it \([^\n]+$"):
            text_judge(name)


@pytest.mark.parametrize("name", [name for name in DEFAULTS if name != "clip"])
def test_the_report_takes_no_judge_without_embeddings(name: str) -> None:
    with pytest.raises(
        UsageError, match=rf"^text judge '{name}' gives marks and no embeddings, .*; choose clip for the report\.$"
    ):
        text_encoder(name)
