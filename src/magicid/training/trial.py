"""One real training step on noise, at the size and with the settings of a run: does it fit, and how long does it take?"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from magicid.core.device import device_of
from magicid.core.interfaces import Family
from magicid.core.records import Pair
from magicid.core.seeds import noise
from magicid.training import lora
from magicid.training.objectives import Objective, video_error
from magicid.training.optimizer import Optimizer
from magicid.training.pair_data import PairData
from magicid.training.preference import POLICY, REFERENCE, PairStep
from magicid.training.recompute import Level, recomputing
from magicid.training.reconstruction import noised_prediction
from magicid.training.sampling import repeat
from magicid.training.timesteps import Draws

PROMPT = "a person"


@dataclass(frozen=True)
class Size:
    """A step's size."""

    shape: tuple[int, int, int, int]  # of a clip's latents
    batch: int  # clips, or pairs
    recompute: Level
    adapter: lora.LoraSettings
    chunk: int = 0  # of pairs, as `PairStep` has it


def finetune_step(family: Family, size: Size) -> float:
    """A step of stage one; its seconds."""
    with torch.no_grad():
        condition = repeat(family.encode_prompts([PROMPT]), size.batch)
    clips = torch.stack([noise(size.shape, i, "trial") for i in range(size.batch)])
    where = device_of(family.transformer)

    def loss() -> torch.Tensor:
        return video_error(*noised_prediction(family, clips.to(where), condition, 0, "trial")).mean()

    with (
        lora.added(family, POLICY, size.adapter),
        lora.using(family, POLICY),
        recomputing(family.transformer, size.recompute),
    ):
        return _taken(family, loss)


def pair_step(family: Family, size: Size) -> float:
    """A step of HPO on so many pairs, each with clips and a draw of its own; its seconds."""
    groups = [[i] for i in range(size.batch)]
    with lora.added(family, POLICY, size.adapter), lora.added(family, REFERENCE, size.adapter):
        step, draws = pairs(family, size)
        with recomputing(family.transformer, size.recompute):
            return _taken(family, lambda: step(groups, draws, range(size.batch))[0])


def pairs(family: Family, size: Size) -> tuple[PairStep, Draws]:
    """Pairs of noise, and what they are noised with."""
    made = [Pair(str(i), "dynamic", f"w{i}", f"l{i}", PROMPT, 1.0, 1.0) for i in range(size.batch)]
    clips = {video: noise(size.shape, 0, video) for pair in made for video in (pair.winner, pair.loser)}
    with torch.no_grad():
        data = PairData(made, clips, family.encode_prompts)
    eps = torch.stack([noise(size.shape, i, "draw") for i in range(size.batch)])
    return PairStep(family, data, Objective(beta=20.0), chunk=size.chunk), Draws(eps, torch.linspace(0.2, 0.8, size.batch))


def _taken(family: Family, loss: Callable[[], torch.Tensor]) -> float:
    """Seconds of a step and its update."""
    parameters = lora.parameters(family, POLICY)
    optimizer = Optimizer(parameters, 1e-5, 0.0, (0.9, 0.999), "")
    start = time.perf_counter()
    loss().backward()  # type: ignore[no-untyped-call]
    optimizer.step(1e-5)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
