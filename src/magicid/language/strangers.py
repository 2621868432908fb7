"""A run's prompts said of somebody else, so that strangers can be told from the person."""

import re
from collections.abc import Sequence

from magicid.core.records import Prompt
from magicid.core.run import EMBEDDED, Run
from magicid.language.scenes import PRONOUNS

SOMEBODY = ("a man", "a woman")
SOMEBODY_DRAWN = ("a person", "someone")  # what the embedded world's grammar calls them


def somebody_else(run: Run) -> Sequence[str]:
    """Words for strangers that the run's base model and prompts know."""
    if run.common.base == EMBEDDED:
        return SOMEBODY_DRAWN
    return somebody(run.dir.settings().get("prompts.class_word") or run.common.trigger.split()[-1])


def somebody(class_word: str) -> Sequence[str]:
    """Words for strangers; where prompts about such a person say "his" or "her", those that agree."""
    return (f"a {class_word.lower()}",) if class_word.lower() in PRONOUNS else SOMEBODY


def strangers(prompts: Sequence[Prompt], trigger: str, words: Sequence[str], count: int) -> list[Prompt]:
    """`count` of the prompts, in turn, with one of the `words` for a person where the trigger words stood."""
    said, found = re.compile(rf"(?:\b(?:an?|the)\s+)?{re.escape(trigger)}", re.IGNORECASE), []
    for i in range(count):
        prompt, who = prompts[i % len(prompts)], words[i % len(words)]
        text = said.sub(lambda _, who=who: who, prompt.text)  # type: ignore[misc]
        found.append(Prompt(f"prompt-s{i:02d}", text[:1].upper() + text[1:], prompt.split))
    return found
