"""Stage one's adapter learns to change the head alone: scene, clothes and motion stay those of the base model. Ours.

The base model draws a clip of each prompt. On these, at every noise level, a copy of stage one's adapter learns to say what
that adapter says where the head is, and what the base model says elsewhere. It is a LoRA like any other then, and needs no
region. Photos alone cannot teach this: they hold neither motion nor the scenes of the prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from magicid.core.checks import at_least, one_of, positive
from magicid.core.device import autocast
from magicid.core.errors import DataError
from magicid.core.records import Adapter, Video
from magicid.core.run import Run
from magicid.core.seeds import item_seed
from magicid.media.video import read_video
from magicid.perception.tracking import observe
from magicid.training import lora
from magicid.training.adapters import load_adapter
from magicid.training.clips import Wanted, make_clips, read_latents, sampling_of
from magicid.training.loop import LoopSettings, Loss
from magicid.training.objectives import video_error
from magicid.training.recompute import Level, recomputing
from magicid.training.reconstruction import Clips, learn, noised
from magicid.training.regions import head_region

TEACHER, STUDENT = "stage_one", "distilled"


@dataclass(frozen=True)
class Distill:
    """How long, and on how many clips."""

    steps: int = 0  # 0: none, stage one's adapter stays as it is, as in the paper
    learning_rate: float = 2e-5
    weight_decay: float = 1e-4
    batch: int = 4  # clips
    per_prompt: int = 1  # clips of each prompt of the repository, drawn as those are
    recompute: Level = "nothing"  # of the activations, in the backward pass: less memory, more time
    save_every_steps: int = 50  # a kill loses at most so many

    def check(self) -> None:
        """Refuse settings that cannot work."""
        at_least("distill", 0, steps=self.steps, weight_decay=self.weight_decay)
        at_least("distill", 1, batch=self.batch, per_prompt=self.per_prompt, save_every_steps=self.save_every_steps)
        positive("distill", learning_rate=self.learning_rate)
        one_of("distill", get_args(Level), recompute=self.recompute)

    def run(self, run: Run) -> Sequence[Adapter]:
        """Draw the clips, train, and save `distill/adapter.safetensors`; without steps, stage one's adapter is the outcome."""
        stage_one = run.dir.read("finetune", Adapter)[0]
        if not self.steps:
            return [stage_one]
        clips, heads = self._clips(run)
        for name in (TEACHER, STUDENT):
            load_adapter(run, name, stage_one)

        def held(step: int) -> list[str]:
            return [clips.ids[i] for i in clips.choose(self.batch, run.common.seed, "distill", step, 0)]

        settings = LoopSettings(self.steps, self.learning_rate, self.weight_decay, save_every_steps=self.save_every_steps)
        with recomputing(run.family.transformer, self.recompute):
            parameters = lora.parameters(run.family, STUDENT)
            adapter = learn(run, "distill", parameters, distillation(run, clips, heads, self.batch), settings, batch=held)
        for name in (TEACHER, STUDENT):
            lora.remove_adapter(run.family, name)
        return [adapter]

    def _clips(self, run: Run) -> tuple[Clips, Tensor]:
        """Clips of the base model, and where they show the head (N, F, H, W)."""
        wanted = [
            Wanted(f"base-{prompt.number}-{i}", "base", prompt.text, item_seed(run.common.seed, "distill", prompt.id, i), None)
            for prompt in run.prompts()
            for i in range(self.per_prompt)
        ]
        drawn = make_clips(run, "distill", wanted, *sampling_of(run))
        heads = [_head(run, video) for video in run.each("heads", drawn, len(drawn))]
        run.forget_judges()  # training needs the memory
        kept = [(video, head) for video, head in zip(drawn, heads, strict=True) if head.any()]
        if not kept:
            raise DataError(f"no head is seen in any of {len(drawn)} clips of the base model; set --distill.steps 0.")
        if lost := len(drawn) - len(kept):
            run.console.print(f"distill: {lost} of {len(drawn)} clips of the base model show no head and are left out")
        latents = read_latents(run, [video.id for video, _ in kept], drawn)
        x0 = torch.stack([latents[video.id] for video, _ in kept])
        clips = Clips(run, [video.id for video, _ in kept], x0, [video.prompt for video, _ in kept])
        return clips, torch.stack([head for _, head in kept])


def _head(run: Run, video: Video) -> Tensor:
    """Where a clip's head is (F, H, W)."""
    size = run.clips()
    frames = read_video(run.file(video.file))[0]
    faces = observe(frames, video.prompt, size.fps, run.judges.detector).faces
    return head_region(frames, faces, run.family.latents_shape(size.frames, size.height, size.width)[1:])


def distillation(run: Run, clips: Clips, heads_NFHW: Tensor, batch: int) -> Loss:
    """The loss of each step: how far the student is from the teacher where the head is (1), and from the base model elsewhere."""
    family = run.family

    def loss(step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        key = (run.common.seed, "distill", step, micro)
        chosen = clips.choose(batch, *key)
        condition = clips.condition(chosen)
        x_t, t, _ = noised(family, clips.latents[chosen].to(clips.device), *key)

        def said(by: str | None) -> Tensor:
            with lora.using(family, by), autocast(x_t.device), torch.set_grad_enabled(by == STUDENT):
                return family.predict(x_t, t, condition)

        inside = heads_NFHW[chosen][:, None].to(x_t.device) > 0
        target = torch.where(inside, said(TEACHER), said(None))
        return video_error(said(STUDENT), target).mean(), {}

    return loss
