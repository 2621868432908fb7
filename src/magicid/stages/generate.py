"""The same prompts and seeds from three models: the base, the fine-tuned one, and the one that HPO made.

And, from the first and the last, clips of strangers: evaluation prompts that say "a man" in the place of the trigger words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from magicid.core.checks import at_least, positive
from magicid.core.records import STRANGERS, Adapter, Prompt, Video
from magicid.core.run import EMBEDDED, Run
from magicid.core.seeds import item_seed
from magicid.core.words import whole
from magicid.language.scenes import PRONOUNS
from magicid.training.adapters import loaded
from magicid.training.clips import Wanted, make_clips

T = TypeVar("T")
MADE_BY = {"base": None, "finetuned": "finetune", "magicid": "optimize"}  # method -> the stage that made its adapter
SOMEBODY = ("a man", "a woman")  # in turn over the strangers' prompts
SOMEBODY_DRAWN = ("a person", "someone")  # what the embedded world's grammar calls them


@dataclass(frozen=True)
class Generate:
    """How many clips of each evaluation prompt, and how they are drawn."""

    seeds: int = 2
    strangers: int = 2  # prompts about somebody else, drawn before and after training for the leakage check; 0: no check
    steps: int = 50
    batch: int = 10
    guidance: float | None = None  # classifier-free; None: the base model's own, 1: none
    frames: int = 0  # of these clips, and of those of `magicid generate`; 0: as the clips that were learnt from
    height: int = 0  # pixels
    width: int = 0

    def check(self) -> None:
        """Refuse settings that cannot work."""
        at_least("generate", 1, seeds=self.seeds, steps=self.steps, batch=self.batch)
        at_least("generate", 0, strangers=self.strangers, frames=self.frames, height=self.height, width=self.width)
        if self.guidance is not None:
            positive("generate", guidance=self.guidance)

    def run(self, run: Run) -> Sequence[Video]:
        """Draw what is not there yet."""
        prompts = [p for p in run.dir.read("prompts", Prompt) if p.split == "evaluation"]
        others = strangers(prompts, run.common.trigger, self._words(run), self.strangers)
        wanted = [self._clip(run, *clip) for clip in self.clips(prompts, others)]
        size = run.clips(self.frames, self.height, self.width)
        with loaded(run, {stage: run.dir.read(stage, Adapter)[0] for stage in filter(None, MADE_BY.values())}):
            return make_clips(run, "generate", wanted, self.steps, self.batch, self.guidance, size)

    def clips(self, prompts: Sequence[T], others: Sequence[T]) -> list[tuple[str, str, T, int]]:
        """Method, origin, prompt and seed's number of every clip; `others` are the strangers' prompts."""
        shown = [(method, method, prompt) for method in MADE_BY for prompt in prompts]
        # last, so that the methods' clips keep their company in batches
        shown += [(method, origin, prompt) for method, origin in STRANGERS.items() for prompt in others]
        return [(*clip, i) for clip in shown for i in range(self.seeds)]

    def _words(self, run: Run) -> Sequence[str]:
        if run.common.base == EMBEDDED:
            return SOMEBODY_DRAWN
        return somebody(run.dir.settings().get("prompts.class_word") or run.common.trigger.split()[-1])

    def _clip(self, run: Run, method: str, origin: str, prompt: Prompt, index: int) -> Wanted:
        stage = MADE_BY[method]
        seed = item_seed(run.common.seed, "generate", prompt.id, index)  # the same noise for every method
        return Wanted(f"{origin}-{prompt.number}-{index}", origin, prompt.text, seed, stage, float(stage is not None))


def somebody(class_word: str) -> Sequence[str]:
    """Words for strangers; where prompts about such a person say "his" or "her", those that agree."""
    return (f"a {class_word.lower()}",) if class_word.lower() in PRONOUNS else SOMEBODY


def strangers(prompts: Sequence[Prompt], trigger: str, words: Sequence[str], count: int) -> list[Prompt]:
    """`count` of the prompts, in turn, with one of the `words` for a person where the trigger words stood."""
    said, found = re.compile(rf"(?:\b(?:an?|the)\s+)?{whole(trigger).pattern}", re.IGNORECASE), []
    for i in range(count):
        prompt, who = prompts[i % len(prompts)], words[i % len(words)]
        text = said.sub(lambda _, who=who: who, prompt.text)  # type: ignore[misc]
        found.append(Prompt(f"prompt-s{i:02d}", text[:1].upper() + text[1:], prompt.split))
    return found
