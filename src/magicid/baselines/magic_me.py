"""Magic-Me (arXiv:2402.09368) on our base: new words are learnt for the person, and nothing else.

Each text encoder gets a few rows beside its embedding; gradients reach them through the frozen networks. The photos are
reconstructed where the person is, and the prompt is "photo of a <new1> <new2> <new3> <new4> person". Left out: its
motion module and its two-stage upscaling, which belong to its own base model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.media.photo import read_photo
from magicid.perception.subject import subject_masks
from magicid.stages.finetune import Finetune
from magicid.training import keywords
from magicid.training.loop import LoopSettings
from magicid.training.reconstruction import learn, noised_prediction, stills
from magicid.training.sampling import repeat

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
        batch, clips = stage_one.batch, stills(run, stage_one.single_frame)
        masks_NFHW = person_masks(run, clips.latents.shape[2:]).to(clips.device)
        named = run.common.trigger.split()[-1]
        rows = keywords.new_rows(family, self.words, named, seed)
        prompt = f"photo of a {' '.join(keywords.words(self.words))} {named}"

        def loss(step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
            key = (seed, NAME, step, micro)
            chosen = clips.choose(batch, *key)
            x0 = clips.latents[chosen].to(clips.device)
            condition = repeat(family.encode_prompts([prompt]), batch)
            prediction, target = noised_prediction(family, x0, condition, *key)
            return masked_error(prediction, target, masks_NFHW[chosen.to(clips.device)]).mean(), {}

        with keywords.using(family, rows):
            settings = LoopSettings(self.steps, self.learning_rate, self.weight_decay)
            return [learn(run, NAME, rows, loss, settings)]


def masked_error(prediction_BCFHW: Tensor, target_BCFHW: Tensor, mask_BFHW: Tensor) -> Tensor:
    """Mean squared error (B,) over what the mask (0 or 1) holds."""
    squares = (prediction_BCFHW.float() - target_BCFHW.float()).square().mean(1)
    return (squares * mask_BFHW).flatten(1).sum(1) / mask_BFHW.flatten(1).sum(1).clamp(min=1)


def person_masks(run: Run, shape: Sequence[int]) -> Tensor:
    """1 where a latent shows any of the person (N, F, H, W), from each photo's face box enlarged to the body."""
    masks = []
    for photo in run.photos():
        image = read_photo(run.file(photo.image))
        face = run.judges.detector.detect(image[None])[0][0]
        person = torch.from_numpy(subject_masks(image[None], [face.box])[0].astype(np.float32))
        masks.append(F.adaptive_max_pool2d(person, tuple(shape[1:])).expand(*shape))
    return torch.stack(masks)


def said_with_keywords(prompt: str, trigger: str, count: int) -> str:
    """The prompt with the new words in the place of the trigger words, whose last word stays."""
    words = " ".join([*keywords.words(count), trigger.split()[-1]])
    return re.sub(re.escape(trigger), words, prompt, flags=re.IGNORECASE)


def load_rows(run: Run, tensors: dict[str, Tensor]) -> keywords.Rows:
    """Saved rows, on the family's device, to speak with and not to learn."""
    device = next(run.family.transformer.parameters()).device
    return {name: nn.Parameter(tensor.to(device), requires_grad=False) for name, tensor in sorted(tensors.items())}
