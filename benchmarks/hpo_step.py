"""The preference step, ours against one written as peers write it (peers.py): pairs per second and peak memory.

Both get the same pairs, noise and times, on the same weights, device and precision; both leave the same gradient, which
is checked away from the reference, where nothing vanishes, and on a CPU in fp32 whatever the timed steps' precision. Two
models: the embedded one, and a random one with the depth and the proportions of Wan 2.1 1.3B (30 layers, feed-forward 35/6
of the width). The pairs come seven to two winners: in finished runs of the quick preset 100 pairs had 28 such groups of at
most five. The reference's errors are in the bank, as they are after its first epoch; filling it takes one forward pass a
video and draw. "the quick preset" takes one pair a step, with fresh noise and time: no bank, nothing shared.

Memory is the most bytes of tensors alive at once (core/live_memory.py) beside weights and data; the adapters' gradients, one
copy there and two here, do not grow with the clip and are told apart. A step of two pairs of one winner is measured: ours
needs no more for longer ones. Passes are counted by hooks, recomputation included.
"""

import copy
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
import tyro
from diffusers import WanTransformer3DModel
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.peers import peers_step
from magicid.core.interfaces import Family
from magicid.core.live_memory import LiveMemory
from magicid.core.records import Pair
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.core.seeds import noise
from magicid.training import lora
from magicid.training.objectives import Objective
from magicid.training.pair_data import PairData
from magicid.training.preference import POLICY, REFERENCE, PairStep
from magicid.training.recompute import Level, recomputing
from magicid.training.reference import Look
from magicid.training.timesteps import Draws

GROUPS, FEW = [[0, 1, 2, 3, 4], [5, 6]], [[0, 1]]
ONE_BY_ONE = [[0]], [[5]]  # the steps of those who take a pair at a time, which costs what it costs whatever its company
BETA, PROMPT = 20.0, "sks person, a chef in a white jacket waves in a kitchen"


@dataclass(frozen=True)
class HpoStep:
    """What is measured."""

    rounds: int = 4  # of peers and ours
    rounds_of_ideas: int = 2  # of ours with one idea left out
    width: int = 256  # of the larger model
    layers: int = 30
    side: int = 16  # of its latents, 5 frames, in patches of 2
    only: str = ""  # "embedded" or "larger"
    json: bool = False  # the last line is one JSON object


@dataclass(frozen=True)
class Way:
    """One way to take a step, by what it leaves out of ours."""

    bank: bool = True
    share: bool = True
    apart: bool = True
    text: bool = True  # embeddings cached
    recompute: Level = "attention"
    chunk: int = 1
    alone: bool = False  # a pair a step


WAYS: dict[str, Way | None] = {
    "peers": None,
    "ours": Way(),
    "without cached text": Way(text=False),
    "without the bank": Way(bank=False),
    "without shared winners": Way(share=False),
    "not shared, sides together": Way(share=False, apart=False),
    "only blocks recomputed": Way(recompute="blocks"),
    "nothing recomputed": Way(recompute="nothing"),
    "all pairs together, plainly": Way(bank=False, recompute="nothing", chunk=0),
    "the quick preset": Way(bank=False, recompute="nothing", chunk=0, alone=True),
}


class Together(PairStep):
    """Pair by pair as without `chunk`, but both sides of a pair in memory at once."""

    _apart = PairStep._together

    def _batches(self, looks: list[Look]) -> list[list[Look]]:
        return [looks]


@dataclass
class Bench:
    """A family with a policy that has left its reference, and seven pairs in memory."""

    family: Family
    side: int | None = None
    data: PairData = field(init=False)
    draws: Draws = field(init=False)
    steps: dict[str, PairStep] = field(default_factory=dict)

    def __post_init__(self) -> None:
        family, geometry = self.family, self.family.geometry
        for name in (REFERENCE, POLICY):
            lora.add_adapter(family, name, lora.LoraSettings())
            for key, weight in lora.parameters(family, name).items():
                both = 0.02 * noise(tuple(weight.shape), 0, key)
                weight.data = both if name == REFERENCE else both + 0.004 * noise(tuple(weight.shape), 1, key)
        shape = family.latents_shape(geometry.frames, geometry.height, geometry.width)
        shape = shape if self.side is None else (16, 5, self.side, self.side)
        names = [(f"winner-{group}", f"loser-{pair}") for group, pairs in enumerate(GROUPS) for pair in pairs]
        pairs = [Pair(str(i), "dynamic", w, x, PROMPT, 1.0, 1.0) for i, (w, x) in enumerate(names)]
        self.data = PairData(pairs, {name: noise(shape, 0, name) for both in names for name in both}, family.encode_prompts)
        self.draws = Draws(noise((2, *shape), 0, "draws"), torch.tensor([0.3, 0.8]))
        self.forget()

    def forget(self) -> None:
        """Empty every bank."""
        for name, way in WAYS.items():
            if way:
                kind = PairStep if way.apart else Together
                self.steps[name] = kind(self.family, self.data, Objective(BETA), chunk=way.chunk, keep=way.bank)

    def take(self, name: str, groups: list[list[int]]) -> None:
        """One step; its gradient is left in the policy's weights."""
        for parameter in lora.parameters(self.family, POLICY).values():
            parameter.grad = None
        data, way, pairs = self.data, WAYS[name], list(chain(*groups))
        taken = [draw for draw, group in enumerate(groups) for _ in group]
        if way is None:
            rows = [(data.latents[data.winners[p]], data.latents[data.losers[p]], PROMPT, d) for p, d in zip(pairs, taken)]
            peers_step(self.family, rows, self.draws, BETA)
            return
        if not way.text:
            for _ in pairs:
                self.family.encode_prompts([PROMPT])
        asked = (groups, self.draws, range(len(groups))) if way.share else ([[pair] for pair in pairs], self.draws, taken)
        with recomputing(self.family.transformer, way.recompute):
            self.steps[name](*asked)[0].backward()

    def fill(self) -> float:
        """Ask the reference about everything; seconds for each video and draw."""
        start = time.perf_counter()
        for name, step in self.steps.items():
            if getattr(WAYS[name], "bank", False):
                step.reference_errors(GROUPS, self.draws, range(len(GROUPS)))
        return (time.perf_counter() - start) / sum(bool(way and way.bank) for way in WAYS.values()) / 9

    def gradient_errors(self, names: Sequence[str]) -> dict[str, float]:
        """Of each way's gradient against peers', relative, in fp32."""
        found = {}
        with patch("magicid.core.device.fast_dtype", lambda where: torch.float32):
            self.fill()
            for name in names:
                self.take(name, FEW)
                weights = lora.parameters(self.family, POLICY).values()
                found[name] = torch.cat([p.grad.flatten() for p in weights if p.grad is not None])
        self.forget()
        norm = float(found["peers"].norm())
        return {name: float((gradient - found["peers"]).norm()) / norm for name, gradient in found.items()}

    @contextmanager
    def counted(self) -> Iterator[list[float]]:
        """[forward passes, backward passes] of the whole transformer inside the block; parts of it add up."""
        counts, blocks = [0.0, 0.0], list(self.family.transformer.blocks)  # type: ignore[arg-type]

        def back(_: Tensor) -> None:
            counts[1] += 1

        def whole(module: Any, given: Any, result: Any) -> None:
            if result[0].requires_grad:
                result[0].register_hook(back)

        def part(module: Any, given: Any) -> None:
            counts[0] += 1 / len(blocks)

        hooks = [self.family.transformer.register_forward_hook(whole), *(b.register_forward_pre_hook(part) for b in blocks)]
        yield counts
        for hook in hooks:
            hook.remove()

    def memory(self, name: str) -> tuple[int, int]:
        """Peak bytes of a step: of activations, and with the adapters' gradients."""
        family = self.family
        text = family.text_encoders[0][1]
        known = [*family.transformer.parameters(), *family.transformer.buffers(), *text.parameters(), *text.buffers()]
        data = [self.data.latents, self.draws.eps, *self.data.condition([0]).values()]
        with LiveMemory([*known, *data], {tuple(p.shape) for p in lora.parameters(family, POLICY).values()}) as live:
            self.take(name, ONE_BY_ONE[0] if getattr(WAYS[name], "alone", False) else FEW)
        return live.peak_of_activations, live.peak


def larger(family: Family, asked: HpoStep) -> Family:
    """A random transformer beside the embedded text encoder."""
    other = copy.copy(family)
    torch.manual_seed(0)
    other.transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=asked.width // 64, attention_head_dim=64, in_channels=16, out_channels=16,
        text_dim=256, freq_dim=256, ffn_dim=asked.width * 35 // 6, num_layers=asked.layers, rope_max_seq_len=64,
    ).requires_grad_(False).eval()  # fmt: skip
    return other


def measure(bench: Bench, asked: HpoStep, ideas: list[str]) -> dict[str, dict[str, Any]]:
    """Each way's figures on one model."""
    errors = bench.gradient_errors(["peers", "ours", *ideas])
    filling = bench.fill()
    found: dict[str, dict[str, Any]] = {}
    for name, error in errors.items():
        activations, peak = bench.memory(name)
        found[name] = {"activations_mb": activations / 2**20, "peak_mb": peak / 2**20, "gradient_error": error, "rates": []}
    for turn in range(asked.rounds):
        for name in list(found)[: None if turn < asked.rounds_of_ideas else 2]:
            steps = ONE_BY_ONE if getattr(WAYS[name], "alone", True) else [GROUPS]
            pairs = sum(len(group) for groups in steps for group in groups)
            with bench.counted() as counts:
                start = time.perf_counter()
                for groups in steps:
                    bench.take(name, groups)
                found[name]["rates"].append(pairs / (time.perf_counter() - start))
            found[name] |= {"forwards": counts[0] / pairs, "backwards": counts[1] / pairs}
    peers = found["peers"]
    for row in found.values():
        row["speedup"] = median(row["rates"]) / median(peers["rates"])
        row["memory_ratio"] = row["activations_mb"] / peers["activations_mb"]
        row["peak_ratio"] = row["peak_mb"] / peers["peak_mb"]
    found["ours"]["filling_seconds"] = filling
    return found


def show(console: Console, title: str, found: dict[str, dict[str, Any]]) -> None:
    """One model's table."""
    speed, memory = ("pairs/s", "least..most", "speed-up"), ("activations", "of peers'", "with gradients", "of peers'")
    table = Table("", *speed, *memory, "fwd", "bwd", "gradient", title=title)
    for name, row in found.items():
        rates = row["rates"]
        table.add_row(
            name, f"{median(rates):.2f}", f"{min(rates):.2f}..{max(rates):.2f}", f"{row['speedup']:.2f}",
            f"{row['activations_mb']:.1f} MiB", f"{row['memory_ratio']:.2f}",
            f"{row['peak_mb']:.1f} MiB", f"{row['peak_ratio']:.2f}",
            f"{row['forwards']:.2f}", f"{row['backwards']:.2f}", f"{row['gradient_error']:.0e}",
        )  # fmt: skip
    console.print(table)
    seconds = found["ours"]["filling_seconds"]
    console.print(
        f"Filling the bank takes {seconds:.3f} s for each video and draw, once. fwd and bwd are passes a pair; "
        "a batch is one pass.\n"
    )


def main(asked: HpoStep) -> None:
    """Measure both models, print their tables, and with --json an object whose ratios are the worse model's."""
    console = Console(stderr=asked.json, width=130)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = Run(RunDir(Path(folder)), Common(Path(folder)), Console(quiet=True))
        all_ideas = list(WAYS)[2:]
        few = ["without the bank", "without shared winners", "only blocks recomputed", "the quick preset"]  # in minutes
        if asked.only != "larger":
            results["embedded"] = measure(Bench(run.family), asked, all_ideas)
            show(console, "the embedded model", results["embedded"])
        if asked.only != "embedded":
            other = larger(run.family, asked)
            results["larger"] = measure(Bench(other, asked.side), asked, few)
            show(console, f"a random Wan, width {asked.width}, {asked.layers} layers", results["larger"])
        run.dir.close()
    if asked.json:
        ours = [rows["ours"] for rows in results.values()]
        worst = {"speedup": min(r["speedup"] for r in ours)}
        worst |= {key: max(r[key] for r in ours) for key in ("memory_ratio", "peak_ratio", "gradient_error")}
        print(json.dumps(worst | {"models": results}))


if __name__ == "__main__":
    if os.environ.pop("OMP_WAIT_POLICY", ""):  # read when torch is loaded; a passive one makes small kernels twice as slow
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    main(tyro.cli(HpoStep))
