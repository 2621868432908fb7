"""DreamBooth-LoRA with its prior (arXiv:2208.12242, Eq. 2): beside the photos it goes on learning clips of the base model.

The prior's clips are the repository's V_s with their own prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from magicid.core.errors import DataError
from magicid.core.records import Adapter, Video
from magicid.core.run import Run
from magicid.stages.finetune import Finetune
from magicid.training.reconstruction import Clips, reconstruction


@dataclass(frozen=True)
class DreamboothLoraPrior:
    """How long, and how much the prior weighs; the rest is as in stage one."""

    steps: int = 6000
    weight: float = 1.0  # of the prior's loss
    batch: int = 4  # clips of the prior

    def run(self, run: Run) -> Sequence[Adapter]:
        """Train and save `dreambooth_lora_prior/adapter.safetensors`."""
        videos = [video for video in run.dir.read("sample", Video) if video.origin == "base"]
        if not videos:
            raise DataError(f"{run.dir.root}: the repository has no clips of the base model; set --sample.base-per-prompt.")
        stage_one = Finetune.of(run)
        photos = stage_one.learnt(run)
        person = reconstruction(run, photos, stage_one.batch)
        others = Clips.of(run, [video.id for video in videos], [video.prompt for video in videos])
        prior = reconstruction(run, others, self.batch, "prior")

        def loss(step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
            own, kept = person(step, micro)[0], prior(step, micro)[0]
            return own + self.weight * kept, {"person": float(own.detach()), "prior": float(kept.detach())}

        return [stage_one.train(run, "dreambooth_lora_prior", photos, self.steps, loss)]
