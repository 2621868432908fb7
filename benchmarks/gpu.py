"""HunyuanVideo 13B and Wan 14B shapes with random weights on one large GPU: time, peak memory, and how busy the GPU is.

Four pieces of work: a forward pass, our HPO pair-step (two pairs of one winner, as in hpo_step.py), a sampling step with
guidance, the decoding of a clip. Times are of CUDA events (of the clock on a CPU): median and spread of the rounds. The
utilisation is FLOPs, counted by a rehearsal without recomputation, over what a bf16 matrix product reaches in the same run.

Goals: our pair-step is at least 1.8 times as fast as the plain loop of four forward passes (peers.py), at no more than
0.6 of its peak memory; at least 50% utilisation at 57,600 tokens; and with `--cap-gb 24 --precision fp8 --offload block`
HPO at 480p under a cap of the allocator. Weights are made on the device layer by layer, so no file of 26 GB is needed.
`--small` runs the same code on tiny shapes, on a CPU too, which shows that it works and nothing about speed. Text encoders
say zeros here, which spares the plain loop its encoding of prompts. Run from the root: python -m benchmarks.gpu --json
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.peers import peers_step
from benchmarks.shapes import SHAPES
from magicid.core import placement, tables
from magicid.core.cost import measuring_peak
from magicid.core.device import autocast, device
from magicid.core.interfaces import Family
from magicid.core.model_folder import shapes_alone
from magicid.core.records import Pair
from magicid.core.seeds import noise
from magicid.machine import matrix_rate
from magicid.training import lora
from magicid.training.objectives import Objective
from magicid.training.pair_data import PairData
from magicid.training.preference import POLICY, REFERENCE, PairStep
from magicid.training.recompute import Level, recomputing
from magicid.training.rehearsal import Rehearsal, silence
from magicid.training.sampling import repeat, sample
from magicid.training.timesteps import Draws

PROMPT = "a person"
LARGE = {"hunyuan_video": "13b", "wan": "14b"}


@dataclass(frozen=True)
class Gpu:
    """What is measured."""

    family: Literal["hunyuan_video", "wan"] = "hunyuan_video"
    frames: int = 61  # 61 x 720 x 1280 are 57,600 tokens
    height: int = 720
    width: int = 1280
    rounds: int = 5
    precision: placement.Precision = "bf16"
    offload: placement.Offload = "none"
    recompute: Level = "attention"
    cap_gb: float = 0.0  # of the allocator; 0: none
    peers: bool = True  # measure the plain loop as well
    small: bool = False  # tiny shapes, on any device
    json: bool = False  # the last line is one JSON object


@dataclass(frozen=True)
class Figures:
    """One piece of work: seconds of each round, FLOPs without recomputation, bytes at the peak."""

    seconds: list[float]
    flops: int
    peak: float

    def row(self, rate: float) -> dict[str, Any]:
        """As it is printed; `rate` is that of the matrix product."""
        return asdict(self) | {"median": median(self.seconds), "utilisation": self.flops / median(self.seconds) / rate}


class Bench:
    """A family with random weights in place, two adapters, and two pairs of one winner."""

    def __init__(self, asked: Gpu, folder: Path) -> None:
        self.asked, self.where = asked, device()
        SHAPES[asked.family](folder, "small" if asked.small else LARGE[asked.family])
        dtype = placement.weights_dtype(asked.precision, self.where)
        self.family = with_random_weights(folder, asked.family, dtype, HOST if asked.offload == "block" else self.where)
        placement.place(self.family, asked.precision, asked.offload, "", self.where)
        placement.tile(self.family, asked.height, asked.width)
        for name in (REFERENCE, POLICY):
            lora.add_adapter(self.family, name, lora.LoraSettings())
            for key, weight in lora.parameters(self.family, name).items():
                weight.data = 0.02 * noise(tuple(weight.shape), 0, name, key).to(weight.device)
        self.shape = self.family.latents_shape(asked.frames, asked.height, asked.width)
        pairs = [Pair(str(i), "dynamic", "winner", f"loser{i}", PROMPT, 1.0, 1.0) for i in range(2)]
        clips = {name: noise(self.shape, 0, name) for name in ("winner", "loser0", "loser1")}
        self.data = PairData(pairs, clips, self.family.encode_prompts)
        self.draws = Draws(noise((1, *self.shape), 0, "draws"), torch.tensor([0.5]))
        self.step = PairStep(self.family, self.data, Objective(beta=20.0), chunk=1, keep=True)
        mixed = self.where.type == "cuda"
        self.rehearsal = Rehearsal.of(folder, asked.family, dtype, mixed, lora.LoraSettings())
        self.x = noise((1, *self.shape), 0, "x").to(self.where)
        self.condition = self.data.condition([0])

    def works(self) -> dict[str, tuple[Callable[[], object], int]]:
        """Each piece of work and its FLOPs."""
        passed = self.rehearsal.predict(self.shape, 1).flops
        trained = self.rehearsal.train(self.shape, 1, "nothing").flops
        works: dict[str, tuple[Callable[[], object], int]] = {
            "forward": (self.forward, passed),
            "pair-step": (self.ours, 3 * trained),  # the winner once, two losers; the reference is in the bank
            "sampling step": (self.drawn, 2 * passed),
            "decode": (lambda: self.family.decode(self.x), self.rehearsal.decode(self.shape).flops),
        }
        return works | ({"plain loop": (self.peers, 4 * (trained + passed))} if self.asked.peers else {})

    @torch.no_grad()
    def forward(self) -> Tensor:
        """One prediction of the policy."""
        with lora.using(self.family, POLICY), autocast(self.where):
            return self.family.predict(self.x, torch.full((1,), 0.5, device=self.where), self.condition)

    def ours(self) -> None:
        """Two pairs, as `optimize` takes them with chunk 1, share 2 and draws."""
        with recomputing(self.family.transformer, self.asked.recompute):
            self.step([[0, 1]], self.draws, [0])[0].backward()
        self._forget()

    def peers(self) -> None:
        """The same two pairs in the plain loop."""
        clips, data = self.data.latents, self.data
        rows = [(clips[data.winners[i]], clips[data.losers[i]], PROMPT, 0) for i in range(2)]
        peers_step(self.family, rows, self.draws, 20.0)
        self._forget()

    def drawn(self) -> Tensor:
        """One step of sampling with guidance."""
        with lora.using(self.family, POLICY):
            return sample(self.family, self.condition, repeat(self.condition, 1), [0], self.shape, steps=1, guidance=6.0)

    def _forget(self) -> None:
        for parameter in lora.parameters(self.family, POLICY).values():
            parameter.grad = None


HOST = torch.device("cpu")


def with_random_weights(folder: Path, name: str, dtype: torch.dtype, where: torch.device) -> Family:
    """A family from its configurations, its transformer and autoencoder filled on `where`; its text encoders say zeros."""
    with shapes_alone():
        family: Family = tables.load(tables.FAMILIES, "family", name).load(folder, dtype)
    torch.manual_seed(0)
    silence(family)
    encoders = [encoder for _, encoder in family.text_encoders]
    for encoder in encoders:  # its layers never work; one weight says where it is
        encoder._modules.clear()
        encoder.register_parameter("mark", nn.Parameter(torch.zeros(1, dtype=dtype), requires_grad=False))
    for part in family.pipeline.components.values():
        if isinstance(part, nn.Module) and part not in encoders:
            for module in part.modules():
                for key, weight in module._parameters.items():
                    if weight is not None:
                        made = torch.empty(weight.shape, dtype=weight.dtype, device=where).normal_(0, 0.02)
                        module._parameters[key] = nn.Parameter(made, requires_grad=False)
                for key, buffer in module._buffers.items():
                    if buffer is not None:
                        module._buffers[key] = torch.ones(buffer.shape, dtype=buffer.dtype, device=where)
    return family


def timed(work: Callable[[], object], rounds: int, flops: int) -> Figures:
    """A first round that does not count, then the rounds, and the peak of all."""
    seconds = []
    with measuring_peak() as peak:
        for turn in range(rounds + 1):
            taken = _seconds(work)
            seconds += [taken] if turn else []
        return Figures(seconds, flops, peak())


def _seconds(work: Callable[[], object]) -> float:
    if not torch.cuda.is_available():
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    work()
    ended.record()
    torch.cuda.synchronize()
    return begun.elapsed_time(ended) / 1000


def main(asked: Gpu) -> None:
    """Measure, print a table, and with --json one object."""
    if not asked.small and not torch.cuda.is_available():
        raise SystemExit("no GPU here: 13B shapes need one; try --small.")
    if asked.cap_gb and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, asked.cap_gb * 10**9 / total))
    console = Console(stderr=asked.json, width=120)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(asked, Path(folder))
        rate = matrix_rate(bench.where)
        rows = {name: timed(work, asked.rounds, flops).row(rate) for name, (work, flops) in bench.works().items()}
    table = Table("", "median s", "least..most", "peak GiB", "utilisation", title=f"{asked.family}, {bench.shape}")
    for name, row in rows.items():
        spread = f"{min(row['seconds']):.3f}..{max(row['seconds']):.3f}"
        table.add_row(name, f"{row['median']:.3f}", spread, f"{row['peak'] / 2**30:.2f}", f"{row['utilisation']:.1%}")
    console.print(table)
    found: dict[str, Any] = {"device": str(bench.where), "matrix_rate": rate, "asked": asdict(asked), "works": rows}
    if asked.peers:
        ours, plain = rows["pair-step"], rows["plain loop"]
        found["speedup"] = plain["median"] / ours["median"]
        console.print(f"the plain loop took {found['speedup']:.2f} times as long")
        if bench.where.type == "cuda":  # a process's memory, once taken, says nothing about the next piece of work
            found["memory_ratio"] = ours["peak"] / plain["peak"]
            console.print(f"our pair-step's peak is {found['memory_ratio']:.2f} of the plain loop's")
    if asked.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main(tyro.cli(Gpu))
