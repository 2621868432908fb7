"""The same prompts and seeds from three models: the base, the fine-tuned one, and the one that HPO made."""

from collections.abc import Sequence
from dataclasses import dataclass

from magicid.core.checks import at_least, positive
from magicid.core.records import Adapter, Prompt, Video
from magicid.core.run import Run
from magicid.core.seeds import item_seed
from magicid.training import lora
from magicid.training.adapters import load_adapter
from magicid.training.clips import Wanted, make_clips

METHODS = {"base": None, "finetuned": "finetune", "magicid": "optimize"}  # method -> the stage that made its adapter


@dataclass(frozen=True)
class Generate:
    """How many clips of each evaluation prompt, and how they are drawn."""

    seeds: int = 2
    steps: int = 50
    batch: int = 10
    guidance: float | None = None  # classifier-free; None: the base model's own, 1: none
    frames: int = 0  # of these clips, and of those of `magicid generate`; 0: as the clips that were learnt from
    height: int = 0  # pixels
    width: int = 0

    def check(self) -> None:
        """Refuse settings that cannot work."""
        at_least("generate", 1, seeds=self.seeds, steps=self.steps, batch=self.batch)
        at_least("generate", 0, frames=self.frames, height=self.height, width=self.width)
        if self.guidance is not None:
            positive("generate", guidance=self.guidance)

    def run(self, run: Run) -> Sequence[Video]:
        """Draw what is not there yet."""
        prompts = [p for p in run.dir.read("prompts", Prompt) if p.split == "evaluation"]
        wanted = []
        for method, stage in METHODS.items():
            if stage:
                load_adapter(run, stage, run.dir.read(stage, Adapter)[0])
            for prompt in prompts:
                for i in range(self.seeds):
                    seed = item_seed(run.common.seed, "generate", prompt.id, i)  # the same noise for every method
                    name = f"{method}-{prompt.number}-{i}"
                    wanted.append(Wanted(name, method, prompt.text, seed, stage, float(stage is not None)))
        size = run.clips(self.frames, self.height, self.width)
        videos = make_clips(run, "generate", wanted, self.steps, self.batch, self.guidance, size)
        for stage in filter(None, METHODS.values()):
            lora.remove_adapter(run.family, stage)
        return videos
