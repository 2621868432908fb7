"""Supervised fine-tuning on the winners alone: what the pairs' better halves teach without any preference."""

from collections.abc import Sequence
from dataclasses import dataclass

from magicid.core.records import Adapter, Pair
from magicid.core.run import Run
from magicid.training import lora
from magicid.training.adapters import loaded
from magicid.training.loop import LoopSettings
from magicid.training.recompute import recomputing
from magicid.training.reconstruction import Clips, learn, reconstruction

NAME = "winners_sft"


@dataclass(frozen=True)
class WinnersSft:
    """All of it is HPO's: as many winners in a step as pairs there."""

    steps: int = 5000
    learning_rate: float = 2e-5
    weight_decay: float = 1e-4
    batch: int = 4  # clips

    def run(self, run: Run) -> Sequence[Adapter]:
        """Train that adapter on, with each pair's prompt, and save `winners_sft/adapter.safetensors`."""
        pairs, family = run.dir.read("pair", Pair), run.family
        winners = Clips.of(run, [pair.winner for pair in pairs], [pair.prompt for pair in pairs])
        loss, held = reconstruction(run, winners, self.batch, NAME), winners.held(self.batch, run.common.seed, NAME)
        start, level = run.dir.read("distill", Adapter)[0], run.dir.settings().get("optimize.recompute", "nothing")
        settings = LoopSettings(self.steps, self.learning_rate, self.weight_decay)
        with loaded(run, {NAME: start}), lora.using(family, NAME), recomputing(family.transformer, level):
            return [learn(run, NAME, lora.parameters(family, NAME), loss, settings, batch=held)]
