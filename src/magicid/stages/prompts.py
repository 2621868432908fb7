"""Prompts of the preference repository and of the evaluation, each with the trigger words that stand for the person.

From an OpenAI-compatible endpoint when one is configured (MAGICID_LLM_URL, MAGICID_LLM_MODEL, MAGICID_LLM_KEY) or a local
language model when asked for, else from the grammar of the embedded world, or for other base models from a shipped list.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from magicid.core.checks import at_least, one_of
from magicid.core.errors import DataError, UsageError
from magicid.core.records import Prompt
from magicid.core.run import EMBEDDED, Common, Run
from magicid.core.seeds import item_seed
from magicid.language.endpoint import Endpoint
from magicid.language.scenes import listed
from magicid.language.writer import Ask, written

Source = Literal["auto", "grammar", "list", "endpoint", "local"]
_BUILT_IN = "choose --prompts.source grammar or list for the built-in prompts."


@dataclass(frozen=True)
class Prompts:
    """How many, where from, and what the person is called."""

    repository: int = 20
    evaluation: int = 10
    source: Source = "auto"
    model: str = "Qwen/Qwen3-4B-Instruct-2507"  # for source local: an instruct model, hub id or folder
    class_word: str = ""  # man, woman, person or another; "": the trigger's last word

    def check(self) -> None:
        """Refuse settings that cannot work."""
        at_least("prompts", 1, repository=self.repository, evaluation=self.evaluation)
        one_of("prompts", get_args(Source), source=self.source)

    def word_for(self, trigger: str) -> str:
        """What kind of person the trigger names; `UsageError` where the setting and the trigger say different things.

        A trigger of several words ends with the class word ("sks woman"); one of a single word ("sks") says none.
        """
        words = trigger.lower().split()
        if len(words) < 2:
            return self.class_word or "person"
        if self.class_word and self.class_word.lower() not in words:
            asked = " ".join([*trigger.split()[:-1], self.class_word])
            raise UsageError(
                f"prompts.class_word {self.class_word!r} is not in the trigger {trigger!r}; set --trigger {asked!r}."
            )
        return self.class_word or words[-1]

    def run(self, run: Run) -> Sequence[Prompt]:
        """Write both sets; the evaluation's prompts do not occur in the repository."""
        texts, total = self._texts(run.common), self.repository + self.evaluation
        splits = ["repository"] * self.repository + ["evaluation"] * self.evaluation
        chosen = list(zip(texts, splits, strict=False))
        return [Prompt(f"prompt-{i:03d}", text, split) for i, (text, split) in enumerate(run.each("prompts", chosen, total))]

    def ready(self, common: Common) -> None:
        """Refuse, before anything is made, a source that is not there, and more prompts than the built-in ones."""
        source = self._source(common)
        if source == "local":
            self._instruct(common)
        elif source != "endpoint":
            self._texts(common)

    def _texts(self, common: Common) -> list[str]:
        total = self.repository + self.evaluation
        sources = {"grammar": _grammar, "list": self._listed, "endpoint": self._asked, "local": self._local}
        texts = list(dict.fromkeys(sources[self._source(common)](common, total)))
        if len(texts) < total:
            raise DataError(
                f"{len(texts)} different prompts, {total} are needed; lower --prompts.repository or --prompts.evaluation."
            )
        return texts

    def _source(self, common: Common) -> str:
        configured = Endpoint.configured("LLM", _BUILT_IN) is not None
        if self.source == "endpoint" and not configured:
            raise UsageError("prompts.source 'endpoint' needs MAGICID_LLM_URL; set it, or choose auto, grammar, list or local.")
        if self.source != "auto":
            return self.source
        if configured:
            return "endpoint"
        return "grammar" if common.base == EMBEDDED else "list"

    def _listed(self, common: Common, count: int) -> list[str]:
        return listed(common.trigger, self.word_for(common.trigger))[:count]

    def _asked(self, common: Common, count: int) -> list[str]:
        endpoint, trigger = Endpoint.configured("LLM", _BUILT_IN), common.trigger
        assert endpoint is not None, "the source 'endpoint' without an endpoint"

        def ask(question: str, number: int) -> str:
            return endpoint.ask(question, seed=common.seed + number)

        return written(ask, count, trigger, self.word_for(trigger))

    def _local(self, common: Common, count: int) -> list[str]:
        return written(self._instruct(common), count, common.trigger, self.word_for(common.trigger))

    def _instruct(self, common: Common) -> Ask:
        from magicid.language.instruct import Instruct

        return Instruct(self.model, common.seed)


def _grammar(common: Common, count: int) -> list[str]:
    from magicid.avatar.prompts import describe
    from magicid.avatar.truth import VOCABULARIES, random_truth

    said = ("scene", "outfit", "action")
    most = math.prod(len(VOCABULARIES[field]) for field in said)
    if count > most:
        raise DataError(
            f"{count} prompts; the grammar has {most:,} combinations of {', '.join(said)}."
            " Lower --prompts.repository or --prompts.evaluation."
        )
    rng = np.random.default_rng(item_seed(common.seed, "prompts"))
    found: dict[str, str] = {}
    while len(found) < count:
        truth = random_truth(rng)
        found.setdefault(repr([getattr(truth, field) for field in said]), describe(truth, rng, common.trigger))
    return list(found.values())
