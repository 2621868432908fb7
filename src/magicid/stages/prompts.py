"""Prompts of the preference repository and of the evaluation, each with the trigger words that stand for the person.

From an OpenAI-compatible endpoint when one is configured (MAGICID_LLM_URL, MAGICID_LLM_MODEL, MAGICID_LLM_KEY), else
from the grammar of the embedded world, or from a list of thirty for other base models.
"""

import json
import math
import os
import re
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from typing import Literal, get_args

import numpy as np

from magicid.core.checks import at_least, one_of
from magicid.core.errors import DataError, UsageError
from magicid.core.pulse import waiting
from magicid.core.records import Prompt
from magicid.core.run import EMBEDDED, Run
from magicid.core.seeds import item_seed

Source = Literal["auto", "grammar", "list", "endpoint"]
SCENES_OF_LIFE = (
    "walks along a beach at sunset, waves rolling in", "dances at a street festival", "reads a book in a cafe and laughs",
    "runs through a park in autumn", "cooks in a bright kitchen, steam rising", "plays the guitar on a stage",
    "waves from the window of a train", "rides a bicycle through an old town", "as a firefighter turns to the camera",
    "as a scientist in a lab coat looks through a microscope", "in a tactical suit walks through smoke",
    "as a tribal warrior dances by a fire", "as an aviator climbs out of a plane", "throws snow into the air",
    "boxes in a gym", "paints on a large canvas", "talks to the camera in a garden", "jumps into a swimming pool",
    "in a business suit walks up stairs", "plays with a dog on a meadow",
    # the first twenty are the repository's, those from here on the evaluation's
    "skates along a frozen lake", "plays the drums in a small club", "carries a lantern through a dark forest",
    "as a chef tosses a pizza", "as an astronaut floats in a space station", "in a raincoat runs across a street in the rain",
    "waters flowers on a balcony", "practises tai chi at sunrise", "laughs on a carousel", "conducts an orchestra",
)  # fmt: skip


@dataclass(frozen=True)
class Prompts:
    """How many, and where from."""

    repository: int = 20
    evaluation: int = 10
    source: Source = "auto"

    def check(self) -> None:
        """Refuse settings that cannot work."""
        at_least("prompts", 1, repository=self.repository, evaluation=self.evaluation)
        one_of("prompts", get_args(Source), source=self.source)

    def run(self, run: Run) -> Sequence[Prompt]:
        """Write both sets; the evaluation's prompts do not occur in the repository."""
        self.check()
        total = self.repository + self.evaluation
        texts = {"grammar": _grammar, "list": _listed, "endpoint": _endpoint}[self._source(run)](run, total)
        texts = list(dict.fromkeys(texts))
        if len(texts) < total:
            raise DataError(
                f"{len(texts)} different prompts, {total} are needed; lower --prompts.repository or --prompts.evaluation."
            )
        splits = ["repository"] * self.repository + ["evaluation"] * self.evaluation
        chosen = list(zip(texts, splits, strict=False))
        return [Prompt(f"prompt-{i:03d}", text, split) for i, (text, split) in enumerate(run.each("prompts", chosen, total))]

    def _source(self, run: Run) -> str:
        if self.source == "endpoint" and not os.environ.get("MAGICID_LLM_URL"):
            raise UsageError("prompts.source 'endpoint' needs MAGICID_LLM_URL; set it, or choose auto, grammar or list.")
        if self.source != "auto":
            return self.source
        if os.environ.get("MAGICID_LLM_URL"):
            return "endpoint"
        return "grammar" if run.common.base == EMBEDDED else "list"


def _grammar(run: Run, count: int) -> list[str]:
    from magicid.avatar.prompts import describe
    from magicid.avatar.truth import VOCABULARIES, random_truth

    said = ("scene", "outfit", "action")
    most = math.prod(len(VOCABULARIES[field]) for field in said)
    if count > most:
        raise DataError(
            f"{count} prompts; the grammar has {most:,} combinations of {', '.join(said)}."
            " Lower --prompts.repository or --prompts.evaluation."
        )
    rng = np.random.default_rng(item_seed(run.common.seed, "prompts"))
    found: dict[str, str] = {}
    while len(found) < count:
        truth = random_truth(rng)
        found.setdefault(repr([getattr(truth, field) for field in said]), describe(truth, rng, run.common.trigger))
    return list(found.values())


def _listed(run: Run, count: int) -> list[str]:
    return [f"In this video, {run.common.trigger} {what}." for what in SCENES_OF_LIFE][:count]  # the trigger in its own case


def _endpoint(run: Run, count: int) -> list[str]:
    url = os.environ.get("MAGICID_LLM_URL", "").rstrip("/") + "/chat/completions"
    ask = (
        f"Write {count} prompts for a text-to-video model, one a line, no numbering. Each is one English sentence about "
        f"'{run.common.trigger}' (use these words for the person) with a clear action, an outfit or role, and a scene."
    )
    body = {
        "model": os.environ.get("MAGICID_LLM_MODEL", "default"),
        "seed": run.common.seed,
        "messages": [{"role": "user", "content": ask}],
    }
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        if key := os.environ.get("MAGICID_LLM_KEY"):
            request.add_header("Authorization", f"Bearer {key}")
        answer = waiting(partial(_fetched, request), "endpoint")
        lines = json.loads(answer)["choices"][0]["message"]["content"].splitlines()
    except (OSError, HTTPException, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        remedy = "choose --prompts.source grammar or list for the built-in prompts."
        raise DataError(f"{url}: no usable answer ({said}); {remedy}") from error
    trigger = re.compile(re.escape(run.common.trigger), re.IGNORECASE)
    kept = [trigger.sub(lambda _: run.common.trigger, line) for line in lines if trigger.search(line)]
    return [line.strip(" -*0123456789.)\t") + "." for line in kept][:count]


def _fetched(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=120) as response:
        return bytes(response.read())
