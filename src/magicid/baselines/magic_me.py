"""Magic-Me (arXiv:2402.09368) on our base: new words are learnt for the person, and nothing else.

Each text encoder gets a few rows beside its embedding; gradients reach them through the frozen networks. The photos are
reconstructed where the person is, and the prompt is "photo of a <new1> <new2> <new3> <new4> person". Left out: its
motion module and its two-stage upscaling, which belong to its own base model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from magicid.core.device import device_of
from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.core.words import whole
from magicid.perception.subject import Head, Masks, subject_masks
from magicid.stages.finetune import Finetune
from magicid.training import keywords
from magicid.training.loop import LoopSettings
from magicid.training.reconstruction import learn
from magicid.training.sampling import repeat
from magicid.training.stills import stills

NAME = "magic_me"


@dataclass(frozen=True)
class MagicMe:
    """How many words, and how they are learnt; the batch is stage one's."""

    steps: int = 6000
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    words: int = 4

    def run(self, run: Run) -> Sequence[Adapter]:
        """Train and save `magic_me/adapter.safetensors`, the rows of each text encoder."""
        family, seed, stage_one = run.family, run.common.seed, Finetune.of(run)
        batch, clips = stage_one.batch, stills(run, stage_one.single_frame, stage_one.mirrored, person_masks)
        named = run.common.trigger.split()[-1]
        rows = keywords.new_rows(family, self.words, named, seed)
        prompt = f"photo of a {' '.join(keywords.words(self.words))} {named}"

        def loss(step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
            key = (seed, NAME, step, micro)
            chosen = clips.choose(batch, *key)
            condition = repeat(family.encode_prompts([prompt]), batch)
            return clips.error(family, chosen, condition, *key).mean(), {}

        with keywords.using(family, rows):
            settings = LoopSettings(self.steps, self.learning_rate, self.weight_decay)
            return [learn(run, NAME, rows, loss, settings, batch=clips.held(batch, seed, NAME))]


def person_masks(frames: NDArray[np.uint8], heads: Sequence[Head]) -> Masks:
    """Masks (T, H, W) of heads and bodies."""
    return subject_masks(frames, heads)[0]


def said_with_keywords(prompt: str, trigger: str, count: int) -> str:
    """The prompt with the new words in the place of the trigger words, whose last word stays."""
    words = " ".join([*keywords.words(count), trigger.split()[-1]])
    return whole(trigger).sub(words, prompt)


def load_rows(run: Run, tensors: dict[str, Tensor]) -> keywords.Rows:
    """Saved rows, on the family's device, to speak with and not to learn."""
    device = device_of(run.family.transformer)
    return {name: nn.Parameter(tensor.to(device), requires_grad=False) for name, tensor in sorted(tensors.items())}
