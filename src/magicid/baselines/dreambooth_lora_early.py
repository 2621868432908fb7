"""DreamBooth-LoRA stopped early: of all that the training kept on its way, what does best on clips of validation prompts.

Best is the largest product of mean identity and mean motion: the area that the point spans, whatever the units.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from magicid.core.errors import DataError
from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.rewards.validation import largest_area, validate
from magicid.training.reconstruction import snapshots


@dataclass(frozen=True)
class DreamboothLoraEarly:
    """How the snapshots of stage one and of `dreambooth_lora` are compared."""

    prompts: int = 4  # of the repository's, one clip of each
    sample_steps: int = 50
    batch: int = 10
    guidance: float | None = None  # classifier-free; None: the base model's own, 1: none

    def run(self, run: Run) -> Sequence[Adapter]:
        """The best snapshot; what was found of each is in `dreambooth_lora_early/validation.json`."""
        run.dir.read("dreambooth_lora", Adapter)  # of which all but the first steps are chosen
        found = snapshots(run, "finetune") | snapshots(run, "dreambooth_lora")
        if not found:
            raise DataError(f"{run.dir.root}: no snapshots of finetune or dreambooth_lora; delete both and run again.")
        sampling = (self.sample_steps, self.batch, self.guidance)
        best, _ = validate(run, "dreambooth_lora_early", found, self.prompts, sampling, largest_area)
        return [found[best]]
