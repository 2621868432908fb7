"""Hybrid preference optimisation: a diffusion DPO of the stage-one adapter on the selected pairs.

One base model in memory with two adapters, policy and reference, that start equal: the reference stays frozen. Winner
and loser of a pair share noise and time. Policy and reference go through the same kernels, so that the first loss is
ln 2 to the last bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from magicid.core import records
from magicid.core.device import autocast
from magicid.core.errors import UsageError
from magicid.core.interfaces import Condition
from magicid.core.records import Adapter, Video
from magicid.core.run import Run
from magicid.core.seeds import generator, item_seed, noise
from magicid.training import lora
from magicid.training.adapters import load_adapter, save_adapter
from magicid.training.log import Log
from magicid.training.loop import LoopSettings, train
from magicid.training.objectives import preference, video_error
from magicid.training.sampling import stack

POLICY, REFERENCE = "policy", "reference"


@dataclass(frozen=True)
class Optimize:
    """HPO (MagicID, section 3.2 and supplement B)."""

    steps: int = 5000
    learning_rate: float = 2e-5
    weight_decay: float = 1e-4
    batch: int = 4  # pairs
    beta: float = 500.0  # applies to mean squared errors; see docs/paper.md
    loss: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    winner_guard: float = 0.0  # weight of relu(e(w) - e_ref(w)) on winners that move
    reference: Literal["stage_one", "base"] = "stage_one"  # ours, or the model without an adapter

    def run(self, run: Run) -> Sequence[Adapter]:
        """Train and save `optimize/adapter.safetensors`."""
        if self.reference not in ("stage_one", "base"):
            raise UsageError(f"optimize.reference {self.reference!r} is unknown; choose stage_one or base.")
        stage_one = run.dir.read("finetune", Adapter)[0]
        for name in (POLICY, REFERENCE):
            load_adapter(run, name, stage_one)
        data = PairData(run)
        log = Log(run.log_path("optimize"))
        settings = LoopSettings(self.steps, self.learning_rate, self.weight_decay)
        with run.bar("optimize", self.steps) as bar:
            train(
                lora.parameters(run.family, POLICY), self._loss(run, data), settings,
                run.dir.stage("optimize") / "checkpoints", log,
                progress=lambda step: bar.update(bar.task_ids[0], completed=step),
            )  # fmt: skip
        log.to_tensorboard(run.dir.stage("optimize") / "tensorboard")
        adapter = save_adapter(run, "optimize", lora.weights(run.family, POLICY))
        for name in (POLICY, REFERENCE):
            lora.remove_adapter(run.family, name)
        return [adapter]

    def _loss(self, run: Run, data: "PairData"):  # type: ignore[no-untyped-def]
        family, seed = run.family, run.common.seed
        device = next(family.transformer.parameters()).device
        frozen = REFERENCE if self.reference == "stage_one" else None

        def loss(step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
            key = ("optimize", step, micro)
            chosen = torch.randint(len(data), (self.batch,), generator=generator(item_seed(seed, *key), "pairs")).tolist()
            x0 = torch.cat([data.winners[chosen], data.losers[chosen]]).to(device)
            eps = noise((self.batch, *x0.shape[1:]), seed, *key).to(device).repeat(2, 1, 1, 1, 1)
            t = family.law.warp(torch.rand(self.batch, generator=generator(seed, *key, "time"))).to(device).repeat(2)
            x_t, target = family.law.add_noise(x0, eps, t), family.law.target(x0, eps, t)
            condition = stack([data.condition(chosen)] * 2)

            def errors(adapter: str | None) -> tuple[Tensor, Tensor]:
                with lora.using(family, adapter), autocast(device):
                    win, lose = video_error(family.predict(x_t, t, condition), target).chunk(2)
                return win, lose

            with torch.no_grad():
                reference_win, reference_lose = errors(frozen)
            win, lose = errors(POLICY)
            result = preference(
                win,
                lose,
                reference_win,
                reference_lose,
                data.moving[chosen].to(device),
                self.beta,
                self.loss,
                self.winner_guard,
            )
            if step == micro == 0 and frozen and self.loss == "sigmoid":
                first = float(result.loss.detach().mean())
                assert math.isclose(first, math.log(2), rel_tol=1e-5), (
                    f"first loss {first}, not ln 2: the reference is not the policy"
                )
            return result.loss.mean(), result.numbers

        return loss


class PairData:
    """The pairs' latents (N, C, F, H, W) and conditions, cached in memory."""

    def __init__(self, run: Run) -> None:
        pairs = run.dir.read("pair", records.Pair)
        files = {v.id: v.latents for v in run.dir.read("sample", Video)}
        files |= {p.id: p.latents for p in run.photos()}
        latents = {key: load_file(run.file(files[key]))["latents"] for p in pairs for key in (p.winner, p.loser)}
        self.winners = torch.stack([latents[p.winner] for p in pairs])
        self.losers = torch.stack([latents[p.loser] for p in pairs])
        self.moving = torch.tensor([float(p.motion_gap > 0) for p in pairs])
        prompts = sorted({p.prompt for p in pairs})
        self._rows = np.array([prompts.index(p.prompt) for p in pairs])
        self._conditions = stack([run.family.encode_prompts([prompt]) for prompt in prompts])

    def __len__(self) -> int:
        return len(self.winners)

    def condition(self, chosen: Sequence[int]) -> Condition:
        """The prompts' condition of the chosen pairs."""
        rows = torch.from_numpy(self._rows[list(chosen)])
        return {name: tensor[rows.to(tensor.device)] for name, tensor in self._conditions.items()}
