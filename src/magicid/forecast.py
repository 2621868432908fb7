"""What a run will need: memory, hours and disk of each stage that has the base model at work, before it is run.

Memory is that of weights, adapters and activations, counted from the configurations (training/rehearsal.py,
training/budget.py). Hours are FLOPs over a rate: that of a step that was timed, or a share of what the device multiplies.
Left out: the stages that judge (score, pair, evaluate), which are small beside these.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch

from magicid.core.device import fast_dtype
from magicid.core.errors import DataError, ResourceError
from magicid.core.interfaces import Geometry
from magicid.core.placement import tile, weights_dtype
from magicid.core.run import Common
from magicid.pipeline import Pipeline
from magicid.training import lora
from magicid.training.budget import GIB, Part, Sizes, adapter_bytes, resident_bytes
from magicid.training.clips import clip_bytes
from magicid.training.reconstruction import SNAPSHOTS, kept_bytes
from magicid.training.rehearsal import ADAPTER, Rehearsal, Seen

KERNELS = 32 * 2**20  # bytes that libraries and kernels take beside tensors; on the embedded model 15 to 35 MiB
SHARE = 0.4  # of the measured rate of matrix products that a step is taken to reach where none was timed


@dataclass(frozen=True)
class Machine:
    """What a run is planned for."""

    name: str
    type: str  # "cuda" or "cpu"
    memory: int  # bytes; free ones on a CPU
    rate: float  # FLOPs a second of large matrix products in the precision that is computed in


@dataclass(frozen=True)
class Row:
    """One stage: bytes of memory at the peak, FLOPs of its work, bytes on the disk."""

    stage: str
    memory: int
    flops: float
    disk: int


@dataclass
class Forecast:
    """The rows of one base model, one run's settings and one machine."""

    base: Path
    common: Common
    stages: Pipeline
    machine: Machine
    photos: int = 10
    _made: dict[torch.dtype, Rehearsal] = field(default_factory=dict)
    _seen: dict[tuple[object, ...], Seen] = field(default_factory=dict)

    @property
    def rehearsal(self) -> Rehearsal:
        """The model without its weights; made once for each precision that it is computed in."""
        where = torch.device(self.machine.type)
        dtype = weights_dtype(self.common.precision, where)
        if dtype not in self._made:
            mixed = where.type == "cuda" or fast_dtype(where) == torch.bfloat16
            self._made[dtype] = Rehearsal.of(self.base, self.common.family, dtype, mixed, self.stages.finetune.lora)
        return self._made[dtype]

    @property
    def learnt(self) -> Geometry:
        """The size of the clips that the run learns from."""
        return self.rehearsal.family.geometry.sized(self.common.frames, self.common.height, self.common.width)

    @property
    def photo(self) -> Geometry:
        """The size at which stage one learns photos."""
        return replace(self.learnt, frames=1) if self.stages.finetune.single_frame else self.learnt

    @property
    def shown(self) -> Geometry:
        """The size of the evaluation's clips."""
        size = self.stages.generate
        return self.learnt.sized(size.frames, size.height, size.width)

    @cached_property
    def adapter(self) -> int:
        """Parameters of one adapter."""
        return sum(p.numel() for p in lora.parameters(self.rehearsal.family, ADAPTER).values())

    def shape(self, size: Geometry) -> tuple[int, int, int, int]:
        """Of one clip's latents; `DataError` where the base makes no such clips."""
        return self.rehearsal.family.latents_shape(size.frames, size.height, size.width)

    def rows(self) -> list[Row]:
        """Every stage's needs."""
        return [self._prepare(), self._finetune(), *self._distill(), self._sample(), self._optimize(), self._generate()]

    def _prepare(self) -> Row:
        size = self.learnt
        seen = self._ask("encode", size, 1, "")
        return Row("prepare", self._at("autoencoder", seen), self.photos * seen.flops, self.photos * self._clip(size))

    def step(self, stage: str) -> float:
        """FLOPs of one step of a training."""
        if stage == "finetune":
            return self._ask("train", self.photo, self.stages.finetune.batch, self.stages.finetune.recompute).flops
        ours = self.stages.optimize
        policy = self._ask("train", self.learnt, 1, ours.recompute).flops
        return 2 * ours.batch * (policy + self._ask("predict", self.learnt, 1, "").flops)

    def _finetune(self) -> Row:
        ours = self.stages.finetune
        seen = self._ask("train", self.photo, ours.batch, ours.recompute)
        copies = adapter_bytes(self.adapter, 1)
        return Row("finetune", self._training(seen, copies), ours.steps * self.step("finetune"), self._kept())

    def _distill(self) -> list[Row]:
        ours = self.stages.distill
        if not ours.steps:
            return []
        clips = self.stages.prompts.repository * ours.per_prompt
        draw = partial(self._drawing, "distill", self.learnt, batch=ours.sample_batch, guidance=ours.guidance)
        base = draw(clips=clips, steps=ours.sample_steps)
        joined = draw(clips=clips, steps=2 * ours.sample_steps)  # two passes each
        student = self._ask("train", self.learnt, ours.batch, ours.recompute)
        flops = ours.steps * (student.flops + 2 * self._ask("predict", self.learnt, ours.batch, "").flops)
        averaged = ours.average_decay > 0
        copies = adapter_bytes(self.adapter, 1, 1 + averaged)  # the teacher beside it, and the average
        memory, disk = max(base.memory, self._training(student, copies)), base.disk + joined.disk + self._kept(averaged)
        return [Row("distill", memory, base.flops + joined.flops + flops, disk)]

    def _optimize(self) -> Row:
        ours, drawn = self.stages.optimize, self.stages.sample
        together = 1 if ours.chunk == 1 else 2 * min(ours.chunk or ours.batch, ours.batch)
        seen = self._ask("train", self.learnt, together, ours.recompute)
        copies = adapter_bytes(self.adapter, 1, 3)  # the reference, and two sums of gradients
        kept = self._kept(average=ours.reference == "ema")
        memory, flops, disk = self._training(seen, copies), ours.steps * self.step("optimize"), kept
        clips = (ours.rounds - 1) * ours.round_clips * self.stages.prompts.repository + ours.validate * (SNAPSHOTS + 1)
        if clips:  # of rounds and of validation, drawn as those of the repository
            more = self._drawing("optimize", self.learnt, clips, drawn.batch, drawn.steps, drawn.guidance)
            memory, flops, disk = max(memory, more.memory), flops + more.flops, disk + more.disk
        return Row("optimize", memory, flops, disk)

    def _sample(self) -> Row:
        ours, prompts = self.stages.sample, self.stages.prompts.repository
        clips = prompts * (ours.finetuned_per_prompt + ours.base_per_prompt)
        return self._drawing("sample", self.learnt, clips, ours.batch, ours.steps, ours.guidance)

    def _generate(self) -> Row:
        ours = self.stages.generate
        clips = len(ours.clips(range(self.stages.prompts.evaluation), range(ours.strangers)))
        return self._drawing("generate", self.shown, clips, ours.batch, ours.steps, ours.guidance)

    def _drawing(self, stage: str, size: Geometry, clips: int, batch: int, steps: int, guidance: float | None) -> Row:
        passes = 1 if (size.guidance if guidance is None else guidance) == 1 else 2
        step, decoded = self._ask("predict", size, passes * batch, ""), self._ask("decode", size, batch, "")
        lanes = min(torch.get_num_threads(), os.cpu_count() or 1, -(-clips // batch)) if self.machine.type == "cpu" else 1
        memory = max(
            self._at("transformer", step, adapter_bytes(self.adapter, 0, 2), lanes), self._at("autoencoder", decoded, 0, lanes)
        )
        return Row(stage, memory, clips / batch * (steps * step.flops + decoded.flops), clips * self._clip(size))

    def _training(self, seen: Seen, copies: int) -> int:
        return max(self._at("transformer", seen, copies), self._at("encoders", Seen(0, 0)))

    def _at(self, part: Part, seen: Seen, copies: int = 0, lanes: int = 1) -> int:
        asked, on_cpu = self.common, self.machine.type == "cpu"
        precision = ("fp32" if on_cpu else "bf16") if asked.precision == "auto" else asked.precision
        weights = resident_bytes(Sizes.of(self.rehearsal.family), precision, "none" if on_cpu else asked.offload, part)
        return weights + copies + lanes * seen.bytes + KERNELS

    def _ask(self, kind: str, size: Geometry, batch: int, level: str) -> Seen:
        """What a piece of work comes to; of a batch, as many times what one clip does."""
        key = (self.rehearsal.family.transformer, kind, size, level)
        if key not in self._seen:
            tile(self.rehearsal.family, size.height, size.width)
            if kind == "encode":
                self._seen[key] = self.rehearsal.encode(size.frames, size.height, size.width)
            elif kind == "decode":
                self._seen[key] = self.rehearsal.decode(self.shape(size))
            elif kind == "train":
                self._seen[key] = self.rehearsal.train(self.shape(size), 1, level)  # type: ignore[arg-type]
            else:
                self._seen[key] = self.rehearsal.predict(self.shape(size), 1)
        one = self._seen[key]
        return Seen(batch * one.bytes, batch * one.flops)

    def _clip(self, size: Geometry) -> int:
        return clip_bytes(self.shape(size), size)

    def _kept(self, average: bool = False) -> int:
        return kept_bytes(4 * self.adapter, average)  # in fp32


LESS: tuple[dict[str, str | int], ...] = (  # each on top of those before it
    {
        "finetune.batch": 1,
        "distill.batch": 1,
        "distill.sample_batch": 1,
        "optimize.chunk": 1,
        "sample.batch": 1,
        "generate.batch": 1,
    },
    {"offload": "model"},
    {"finetune.recompute": "attention", "distill.recompute": "attention", "optimize.recompute": "attention"},
    {"precision": "fp8"},
    {"offload": "block"},
)


def refuse_too_large(forecast: Forecast, rows: Sequence[Row]) -> None:
    """`ResourceError` with a smaller setting that fits, where a stage needs more memory than there is."""
    worst, there = max(rows, key=lambda row: row.memory), forecast.machine.memory
    if worst.memory <= there:
        return
    said = f"{worst.stage} needs about {worst.memory / GIB:.1f} GiB, {forecast.machine.name} has {there / GIB:.1f}"
    change: dict[str, str | int] = {}
    for more in LESS:
        if forecast.machine.type == "cpu" and more.keys() & {"offload", "precision"}:
            continue  # there it is one memory, in which fp32 is the fastest
        change |= more
        if _fits(changed(forecast, change)):
            break
    else:
        size = forecast.learnt
        for frames, part in ((size.frames // 2, 1), (size.frames // 2, 2), (9, 2), (5, 2), (5, 4)):
            height, width = (side // part // 16 * 16 for side in (size.height, size.width))
            change |= {"frames": frames // 4 * 4 + 1, "height": height, "width": width}
            if _fits(changed(forecast, change)):
                break
        else:
            raise ResourceError(f"{said}; no smaller setting fits. Use a larger device, or a smaller base.")
    unasked = () if forecast.stages.distill.steps else ("distill.",)
    asked = " ".join(f"--{name} {value}" for name, value in change.items() if not name.startswith(unasked))
    raise ResourceError(f"{said}; a run fits with: {asked}")


def changed(forecast: Forecast, change: dict[str, str | int]) -> Forecast:
    """The same with other settings, by their names on the command line."""
    common = replace(forecast.common, **{name: value for name, value in change.items() if "." not in name})  # type: ignore[arg-type]
    stages = forecast.stages
    for name, value in change.items():
        stage, _, setting = name.partition(".")
        if setting:
            stages = replace(stages, **{stage: replace(getattr(stages, stage), **{setting: value})})  # type: ignore[arg-type]
    return replace(forecast, common=common, stages=stages)


def _fits(forecast: Forecast) -> bool:
    try:
        return max(row.memory for row in forecast.rows()) <= forecast.machine.memory
    except DataError:  # of a size that the base does not make
        return False
