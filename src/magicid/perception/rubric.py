"""One rubric for every vision-language model, local or behind an endpoint: marks in strict JSON, in two orderings.

A model is a function of pictures and a question, so that the rubric, the parser and the second try are the same for all.
"""

import json
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from magicid.core.interfaces import Frames
from magicid.media.photo import shrunk
from magicid.media.video import evenly

Ask = Callable[[Sequence[NDArray[np.uint8]], str], str]  # pictures (H, W, 3) in order of time, a question -> the reply

FRAMES = 8  # of a clip are shown
LONG_SIDE = 448  # pixels; larger frames are shrunk
MOST = 10  # the best mark; the worst is 1
CRITERIA = {
    "action": "what the person does, as far as it can be seen over the frames",
    "appearance": "clothes, role and things held",
    "scene": "place, time of day, weather, and the camera",
}
AGAIN = "An answer to this question was not the JSON object asked for. Nothing but that object counts."


class RubricJudge:
    """A `VideoTextJudge` whose measure is the mean mark, 0.1 to 1."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def similarity(self, clips: Sequence[Frames], sentences: Sequence[str]) -> NDArray[np.float32]:
        """Means (N,) of both orderings; nan where a reply, asked for once more, was not the JSON object."""
        return np.array([self._judged(clip, said) for clip, said in zip(clips, sentences, strict=True)], np.float32)

    def _judged(self, clip: Frames, sentence: str) -> float:
        pictures = [shrunk(frame, LONG_SIDE) for frame in evenly(clip, FRAMES)]
        orders = (list(CRITERIA), list(CRITERIA)[::-1])
        return float(np.mean([self._marked(pictures, question(sentence, len(pictures), order)) for order in orders]))

    def _marked(self, pictures: Sequence[NDArray[np.uint8]], asked: str) -> float:
        for text in (asked, f"{AGAIN}\n\n{asked}"):
            if found := marks(self._ask(pictures, text)):
                return float(np.mean(list(found.values()))) / MOST
        return float("nan")


def question(sentence: str, frames: int, order: Sequence[str]) -> str:
    """The rubric for one sentence, its criteria in the order given."""
    rules = "\n".join(f"- {name}: {CRITERIA[name]}" for name in order)
    form = ", ".join(f'"{name}": n' for name in order)
    return (
        f"These are {frames} frames of one short video, in order of time. How well does it show what this sentence says?\n"
        f"{sentence}\n\n"
        "A word without meaning, such as sks, is the person's name: do not judge who it is, nor how good the picture is.\n"
        f"For each of these give a whole number n from 1 (not at all as said) to {MOST} (fully as said):\n{rules}\n"
        "Where the sentence is silent, judge whether what is seen fits it.\n"
        f"Answer with one JSON object and nothing else: {{{form}}}"
    )


def marks(reply: str) -> dict[str, int] | None:
    """The marks in a reply, or None unless it is the JSON object, bare or in one code fence."""
    bare = re.sub(r"\A\s*```(?:json)?\s*(.*?)\s*```\s*\Z", r"\1", reply, flags=re.DOTALL)
    try:
        found = json.loads(bare)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.keys() != CRITERIA.keys():
        return None
    return found if all(type(mark) is int and 1 <= mark <= MOST for mark in found.values()) else None
