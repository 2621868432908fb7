"""Stage one of MagicID: a LoRA learns the person by reconstructing each photo as a video that stands still."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load_file
from torch import Tensor

from magicid.core.device import autocast
from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.core.seeds import generator, item_seed, noise
from magicid.training import lora
from magicid.training.adapters import save_adapter
from magicid.training.log import Log
from magicid.training.loop import LoopSettings, train
from magicid.training.objectives import video_error
from magicid.training.sampling import repeat

NAME = "stage_one"


@dataclass(frozen=True)
class Finetune:
    """Reconstruction of the static videos."""

    steps: int = 1000
    learning_rate: float = 2e-5
    weight_decay: float = 1e-4
    batch: int = 4
    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = ()  # names of linear layers; empty: the family's choice

    @property
    def lora(self) -> lora.LoraSettings:
        """The adapter's size, shared with stage two."""
        return lora.LoraSettings(self.rank, self.alpha, self.targets)

    def run(self, run: Run) -> Sequence[Adapter]:
        """Train and save `finetune/adapter.safetensors`."""
        photos = run.photos()
        latents = torch.stack([load_file(run.file(photo.latents))["latents"] for photo in photos])
        family, seed = run.family, run.common.seed
        device = next(family.transformer.parameters()).device
        condition = repeat(family.encode_prompts([run.common.trigger]), self.batch)
        lora.add_adapter(family, NAME, self.lora, seed)

        def loss(step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
            key = ("finetune", step, micro)
            chosen = torch.randint(len(latents), (self.batch,), generator=generator(item_seed(seed, *key), "photos"))
            x0 = latents[chosen].to(device)
            eps = noise(tuple(x0.shape), seed, *key).to(device)
            t = family.law.warp(torch.rand(self.batch, generator=generator(seed, *key, "time"))).to(device)
            with autocast(device):
                prediction = family.predict(family.law.add_noise(x0, eps, t), t, condition)
            return video_error(prediction, family.law.target(x0, eps, t)).mean(), {}

        settings = LoopSettings(self.steps, self.learning_rate, self.weight_decay)
        log = Log(run.log_path("finetune"))
        with lora.using(family, NAME), run.bar("finetune", self.steps) as bar:
            train(
                lora.parameters(family, NAME), loss, settings, run.dir.stage("finetune") / "checkpoints", log,
                progress=lambda step: bar.update(bar.task_ids[0], completed=step),
            )  # fmt: skip
        log.to_tensorboard(run.dir.stage("finetune") / "tensorboard")
        adapter = save_adapter(run, "finetune", lora.weights(family, NAME))
        lora.remove_adapter(family, NAME)
        return [adapter]
