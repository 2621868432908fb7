"""Prompts by a language model: strictly one a line, each with the trigger words; what is missing is asked for again."""

import re
from collections.abc import Callable

from magicid.core.words import whole

Ask = Callable[[str, int], str]  # a question and the number of its round -> the reply

ROUNDS = 4


def written(ask: Ask, count: int, trigger: str, class_word: str) -> list[str]:
    """At most `count` different prompts, in the order they came; fewer where `ROUNDS` replies held no more.

    A line without the trigger words is not one; they are said in their own case, whatever the model's.
    """
    found: dict[str, None] = {}
    for number in range(ROUNDS):
        reply = ask(question(count - len(found), trigger, class_word, list(found)), number)
        found |= dict.fromkeys(lines(reply, trigger))
        if len(found) >= count:
            break
    return list(found)[:count]


def question(count: int, trigger: str, class_word: str, known: list[str]) -> str:
    """What is asked; `known` prompts must not come again."""
    plural = "prompt" if count == 1 else f"{count} prompts"
    asked = (
        f"Write {plural} for a text-to-video model, one a line, no numbering, nothing else. Each is one English sentence about "
        f"'{trigger}' (use exactly these words for the person, a {class_word}) with a clear action, an outfit or role, "
        "and a scene."
    )
    return "\n".join([asked, "They differ from all of these:", *known]) if known else asked


def lines(reply: str, trigger: str) -> list[str]:
    """The lines of a reply that are prompts, without list marks and quotes.

    What a model thinks before it answers is none of them, nor is a line that ends in a colon.
    """
    said = whole(trigger)
    answer = re.sub(r"\A.*</think>|<think>.*", "", reply, flags=re.DOTALL)
    bare = [re.sub(r"^\s*(?:[-*]|\d+[.):])\s+", "", line).strip(" \t\"'.!*") for line in answer.splitlines()]
    return [said.sub(lambda _: trigger, line) + "." for line in bare if said.search(line) and not line.endswith(":")]
