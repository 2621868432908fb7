"""DreamBooth-LoRA at equal steps: stage one goes on reconstructing for as many steps as all of ours have together.

Its first steps are stage one's own, so it starts from stage one's last checkpoint where that is there; without it, it
makes those steps again and comes to the same end. The prior is in dreambooth_lora_prior.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from magicid.core.errors import UsageError
from magicid.core.files import publish_folder
from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.stages.finetune import Finetune


@dataclass(frozen=True)
class DreamboothLora:
    """How long; the rest is as in stage one."""

    steps: int = 6000  # stage one's included

    def run(self, run: Run) -> Sequence[Adapter]:
        """Train and save `dreambooth_lora/adapter.safetensors`."""
        stage_one = Finetune.of(run)
        if self.steps < stage_one.steps:
            raise UsageError(f"dreambooth_lora.steps {self.steps}; stage one alone has {stage_one.steps}. Ask for more.")
        _go_on(run)
        return [stage_one.train(run, "dreambooth_lora", stage_one.learnt(run), self.steps)]


def _go_on(run: Run) -> None:
    """Bring stage one's log and checkpoints here, unless this training has begun."""
    here, there = run.dir.stage("dreambooth_lora"), run.dir.stage("finetune")
    if (here / "checkpoints").exists() or not (there / "checkpoints").exists():
        return
    shutil.copyfile(there / "log.jsonl", here / "log.jsonl")
    publish_folder(here / "checkpoints", lambda half: shutil.copytree(there / "checkpoints", half, dirs_exist_ok=True))
