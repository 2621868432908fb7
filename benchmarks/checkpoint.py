"""What checkpoints cost: the time of one, published whole and durable, against that of the steps between two.

On the embedded base at stage one's default size and interval; steps and saves are timed in turn, medians taken.
`python -m benchmarks.checkpoint --json` prints one JSON object; `overhead` is a save's share of the steps' time.
"""

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import tyro

from magicid.core.device import device
from magicid.core.run import WEIGHTS
from magicid.core.seeds import noise
from magicid.families.wan import Wan
from magicid.stages.finetune import ADAPTER, Finetune
from magicid.training import checkpoint, lora
from magicid.training.objectives import video_error
from magicid.training.optimizer import Optimizer
from magicid.training.reconstruction import noised_prediction


@dataclass(frozen=True)
class Arguments:
    """How often."""

    rounds: int = 12
    json: bool = False  # print one JSON object


def main() -> None:
    """Print the medians and the overhead."""
    asked, stage = tyro.cli(Arguments), Finetune()
    family = Wan.load(WEIGHTS / "base")
    family.pipeline.to(device())
    geometry = family.geometry
    shape = family.latents_shape(geometry.frames, geometry.height, geometry.width)
    lora.add_adapter(family, ADAPTER, stage.lora)
    condition = family.encode_prompts(["sks person"] * stage.batch)
    x0 = noise((stage.batch, *shape), 0, "checkpoint").to(device())
    steps, saves = [], []
    with lora.using(family, ADAPTER), tempfile.TemporaryDirectory(dir=".") as folder:
        parameters = lora.parameters(family, ADAPTER)
        optimizer = Optimizer(parameters, stage.learning_rate, stage.weight_decay)
        for round_ in range(asked.rounds):
            start = time.perf_counter()
            optimizer.zero_grad()
            video_error(*noised_prediction(family, x0, condition, 0, round_)).mean().backward()
            optimizer.step(stage.learning_rate)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            middle = time.perf_counter()
            groups = {"model": {n: p.detach() for n, p in parameters.items()}, "optimizer": optimizer.state()}
            checkpoint.save(Path(folder), checkpoint.Checkpoint(round_, groups))
            steps.append(middle - start)
            saves.append(time.perf_counter() - middle)
    step, save = median(steps[1:]), median(saves[1:])
    found = {"overhead": save / (stage.save_every_steps * step), "save_s": save, "step_s": step, "every": stage.save_every_steps}
    found |= {"save_s_range": [min(saves[1:]), max(saves[1:])], "step_s_range": [min(steps[1:]), max(steps[1:])]}
    said = f"a save takes {save:.3f} s, a step {step:.3f} s: {found['overhead']:.2%} at one every {stage.save_every_steps} steps"
    print(json.dumps(found) if asked.json else said)


if __name__ == "__main__":
    main()
