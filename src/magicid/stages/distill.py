"""Stage one's adapter learns to change the head alone: scene, clothes and motion stay those of the base model. Ours.

The base model draws a clip of each prompt. From the same noise a second clip is drawn with the adapter at work only where
the first shows the head, its motion enlarged there (training/regions.py). On these joined clips a copy of the adapter
learns to predict, at every noise level, the same: on the head the adapter's prediction, so enlarged, elsewhere the base
model's. What comes out is an ordinary LoRA and needs no region.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from magicid.core.checks import at_least, one_of, positive, within
from magicid.core.device import autocast
from magicid.core.errors import DataError
from magicid.core.interfaces import Condition, Predict
from magicid.core.records import Adapter, Video
from magicid.core.run import Run
from magicid.core.seeds import generator, item_seed
from magicid.media.video import read_video
from magicid.perception.tracking import observe
from magicid.training import lora
from magicid.training.adapters import loaded
from magicid.training.clips import Wanted, make_clips, read_latents
from magicid.training.loop import LoopSettings, Loss
from magicid.training.objectives import video_error
from magicid.training.recompute import Level, recomputing
from magicid.training.reconstruction import Clips, learn, noised
from magicid.training.regions import head_region, regional

TEACHER, STUDENT = "stage_one", "distilled"


@dataclass(frozen=True)
class Distill:
    """How long, and on how many clips."""

    steps: int = 0  # 0: none, stage one's adapter stays as it is, as in the paper
    learning_rate: float = 2e-5
    weight_decay: float = 1e-4
    batch: int = 4  # clips
    teacher_strength: float = 1.0  # of stage one's adapter: a weaker teacher lets the head move more, at some likeness
    student_strength: float = 1.0  # of stage one's adapter, at which the student begins: a weaker one has less to unlearn
    average_decay: float = 0.0  # of the running average that is then the outcome, a step, at most s/(s+9) after s; 0: the last
    caption_dropout: float = 0.25  # share of clips that are learnt under the empty prompt, which guidance asks too
    per_prompt: int = 1  # clips of each prompt of the repository
    sample_steps: int = 50  # of drawing them
    sample_batch: int = 10
    guidance: float | None = None  # classifier-free; None: the base model's own, 1: none
    recompute: Level = "nothing"  # of the activations, in the backward pass: less memory, more time
    save_every_steps: int = 50  # a kill loses at most so many

    def check(self) -> None:
        """Refuse settings that cannot work."""
        at_least("distill", 0, steps=self.steps, weight_decay=self.weight_decay)
        at_least("distill", 1, batch=self.batch, per_prompt=self.per_prompt, save_every_steps=self.save_every_steps)
        at_least("distill", 1, sample_steps=self.sample_steps, sample_batch=self.sample_batch)
        positive("distill", learning_rate=self.learning_rate)
        positive("distill", teacher_strength=self.teacher_strength, student_strength=self.student_strength)
        within("distill", 0, 1, caption_dropout=self.caption_dropout, average_decay=self.average_decay)
        if self.guidance is not None:
            positive("distill", guidance=self.guidance)
        one_of("distill", get_args(Level), recompute=self.recompute)

    def run(self, run: Run) -> Sequence[Adapter]:
        """Draw the clips, train, and save `distill/adapter.safetensors`; without steps, stage one's adapter is the outcome."""
        stage_one = run.dir.read("finetune", Adapter)[0]
        if not self.steps:
            return [stage_one]
        with loaded(run, {TEACHER: stage_one, STUDENT: stage_one}):
            lora.scale(run.family, TEACHER, self.teacher_strength)
            lora.scale(run.family, STUDENT, self.student_strength)
            clips, heads = self._clips(run)
            held = clips.held(self.batch, run.common.seed, "distill")
            settings = LoopSettings(
                self.steps, self.learning_rate, self.weight_decay, ema_decay=self.average_decay,
                save_every_steps=self.save_every_steps,
            )  # fmt: skip
            with recomputing(run.family.transformer, self.recompute):
                parameters = lora.parameters(run.family, STUDENT)
                return [learn(run, "distill", parameters, self.loss(run, clips, heads), settings, batch=held)]

    def _clips(self, run: Run) -> tuple[Clips, Tensor]:
        """Clips on which stage one's adapter works on the head alone, and where that is (N, F, H, W)."""
        drawing = (self.sample_steps, self.sample_batch, self.guidance)
        base = make_clips(run, "distill", self._wanted(run, "base"), *drawing)
        found = [_head(run, video) for video in run.each("heads", base, len(base))]
        run.forget_judges()  # training needs the memory
        kept = [(clip, head) for clip, head in zip(self._wanted(run, "joined"), found, strict=True) if head.any()]
        if not kept:
            raise DataError(f"no head is seen in any of {len(base)} clips of the base model; set --distill.steps 0.")
        if lost := len(base) - len(kept):
            run.console.print(f"distill: {lost} of {len(base)} clips of the base model show no head and are left out")
        rows, heads = {clip.id: row for row, (clip, _) in enumerate(kept)}, torch.stack([head for _, head in kept])

        def predictor(part: Sequence[Wanted]) -> Predict:
            return regional(run.family, TEACHER, heads[[rows[clip.id] for clip in part]])

        joined = make_clips(run, "distill", [clip for clip, _ in kept], *drawing, predictor=predictor)
        latents = read_latents(run, rows, joined)
        x0 = torch.stack([latents[key] for key in rows])
        return Clips(run, list(rows), x0, [clip.prompt for clip, _ in kept]), heads

    def _wanted(self, run: Run, origin: str) -> list[Wanted]:
        """The clips of each prompt, of the same noise whoever draws them."""
        asked = [(prompt, i) for prompt in run.prompts() for i in range(self.per_prompt)]
        seeds = [item_seed(run.common.seed, "distill", prompt.id, i) for prompt, i in asked]
        names = [f"{origin}-{prompt.number}-{i}" for prompt, i in asked]
        strength = float(origin == "joined")  # recorded alone: without a name no adapter is chosen
        return [
            Wanted(name, origin, p.text, seed, None, strength) for name, (p, _), seed in zip(names, asked, seeds, strict=True)
        ]

    def loss(self, run: Run, clips: Clips, heads_NFHW: Tensor) -> Loss:
        """Of each step: how far the student is from the teacher, moving more, where the head is (1), from the base elsewhere."""
        family = run.family

        def loss(step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
            key = (run.common.seed, "distill", step, micro)
            chosen = clips.choose(self.batch, *key)
            dropped = torch.rand(self.batch, generator=generator(*key, "caption")) < self.caption_dropout
            condition = _replaced(clips.condition(chosen), run.negative, dropped)
            x_t, t, _ = noised(family, clips.latents[chosen].to(clips.device), *key)
            with autocast(x_t.device):
                with torch.no_grad():
                    target = regional(family, TEACHER, heads_NFHW[chosen])(x_t, t, condition)
                with lora.using(family, STUDENT):
                    prediction = family.predict(x_t, t, condition)
            return video_error(prediction, target).mean(), {}

        return loss


def _head(run: Run, video: Video) -> Tensor:
    """Where a clip's head is (F, H, W)."""
    size = run.clips()
    frames = read_video(run.file(video.file))[0]
    faces = observe(frames, video.prompt, size.fps, run.judges.detector).faces
    alone = run.family.latents_shape(1, size.height, size.width)[1]
    return head_region(frames, faces, run.family.latents_shape(size.frames, size.height, size.width)[1:], alone)


def _replaced(condition: Condition, by: Condition, rows: Tensor) -> Condition:
    """A condition of batch B with some rows (B,) replaced by one of batch 1."""
    return {
        name: torch.where(rows.to(tensor.device).view(-1, *[1] * (tensor.ndim - 1)), by[name], tensor)
        for name, tensor in condition.items()
    }
