"""The only training loop: `loss(step, micro_batch)` in, parameters changed in place, killed anywhere and resumed to the byte.

Left out on purpose: data loaders and carried generators (a step draws its batch from its own number), distributed
training, gradient scaling (bf16 needs none).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor, nn

from magicid.core.errors import DataError, NotFinite
from magicid.core.faults import reach
from magicid.core.pulse import asked, beat, interrupted, listening
from magicid.training import checkpoint
from magicid.training.log import Log
from magicid.training.optimizer import Optimizer

Loss = Callable[[int, int], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to train."""

    steps: int = 1000
    learning_rate: float = 2e-5
    weight_decay: float = 1e-4
    micro_batches: int = 1  # gradients of this many losses are averaged into one step
    warmup_steps: int = 0  # learning rate rises linearly over these
    cosine: bool = False  # learning rate falls to 0 by a half cosine over `steps`
    grad_norm: float = 1.0  # gradients are clipped to this norm
    ema_decay: float = 0.0  # 0 keeps no moving average
    save_every_steps: int = 200
    max_bad_steps: int = 3  # stop after this many steps in a row without a finite loss and gradient
    betas: tuple[float, float] = (0.9, 0.999)
    muon: str = ""  # pattern of the names of matrices that Muon updates instead of AdamW

    def rate(self, step: int) -> float:
        """Learning rate of `step`."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps))) if self.cosine else 1.0
        return self.learning_rate * warm * fall


def train(
    parameters: Mapping[str, nn.Parameter],
    loss: Loss,
    settings: LoopSettings,
    folder: Path,
    log: Log,
    progress: Callable[[int], None] = lambda step: None,
    after_step: Callable[[int], None] = lambda step: None,
    average: dict[str, Tensor] | None = None,
    batch: Callable[[int], Sequence[str]] = lambda step: (),
    say: Callable[[str], None] = lambda line: None,
    until: int | None = None,
) -> dict[str, Tensor]:
    """Train `parameters` in place to `settings.steps`, resuming from `folder`; returns the moving average (or {}).

    `until` is an earlier step to stop at, with a checkpoint from which a later call goes on.

    A moving average starts as a copy, and forgets it quickly. One that is given is kept in the given tensors: it starts
    from what they hold and follows at `ema_decay` from the first step.

    `loss(step, micro_batch)` returns a scalar and numbers to log, and must depend on nothing else than its arguments
    (and what is saved: the parameters and the average).
    A step whose loss or gradient is not finite changes nothing; the log then names what `batch(step)` says it held, and
    `max_bad_steps` of them in a row raise `NotFinite`. A first step after resuming that does not give the loss that was
    logged before raises `DataError`. SIGTERM and SIGINT save a checkpoint and raise `Interrupted`.
    """
    values = list(parameters.values())
    optimizer = Optimizer(parameters, settings.learning_rate, settings.weight_decay, settings.betas, settings.muon)
    young = average is None
    if average is None:
        average = {n: p.detach().clone() for n, p in parameters.items()} if settings.ema_decay else {}
    start = _restore(folder, parameters, optimizer, average, say)
    lines = log.read()
    before = next((line["loss"] for line in lines if line["step"] == start), None) if start else None
    bad = sum(1 for _ in takewhile(lambda line: "batch" in line, reversed([line for line in lines if line["step"] < start])))

    def save(step: int) -> None:
        groups = {"model": {n: p.detach() for n, p in parameters.items()}, "optimizer": optimizer.state()}
        checkpoint.save(folder, checkpoint.Checkpoint(step, groups | ({"ema": average} if average else {})))

    saved, end = start, settings.steps if until is None else until
    with listening():
        for step in range(start, end):
            optimizer.zero_grad()
            numbers: dict[str, float] = {}
            for micro in range(settings.micro_batches):
                beat()
                reach("micro", f"{step}.{micro}")
                value, logged = loss(step, micro)
                value = value * reach("loss", str(step))
                (value / settings.micro_batches * reach("gradient", str(step))).backward()
                for key, number in ({"loss": float(value.detach())} | logged).items():
                    numbers[key] = numbers.get(key, 0.0) + number / settings.micro_batches
            norm = float(nn.utils.clip_grad_norm_(values, settings.grad_norm))
            if step == start:  # what was logged is the evidence until the step done again gives the same
                if before is not None:
                    _compare(step, numbers["loss"], before)
                log.truncate(start)
            if math.isfinite(norm) and math.isfinite(numbers["loss"]):
                optimizer.step(settings.rate(step))
                decay = min(settings.ema_decay, (step + 1) / (step + 10)) if young else settings.ema_decay
                for n, tensor in average.items():
                    tensor.lerp_(parameters[n].detach(), 1 - decay)
                bad = 0
            else:
                bad += 1
            numbers |= {"grad_norm": norm, "learning_rate": settings.rate(step)}
            held = list(batch(step)) if bad else []
            log.write(step, {**numbers, "batch": held} if bad else numbers)
            if bad >= settings.max_bad_steps:
                raise NotFinite(
                    f"step {step} ({', '.join(held) or 'its batch'}): loss {numbers['loss']}, gradient norm {norm}, not "
                    f"finite {bad} times in a row; lower the learning rate or beta, delete this stage's folder, and run again."
                )
            reach("step", str(step))
            progress(step + 1)
            after_step(step + 1)
            if (step + 1) % settings.save_every_steps == 0 or step + 1 == end or asked():
                save(step + 1)
                saved = step + 1
            if asked():
                raise interrupted(f"stopped at step {saved} of {settings.steps}; run the same command again to go on.")
    return average


def _compare(step: int, loss: float, before: float) -> None:
    """`DataError` where a step done again gives another loss; GPUs may differ in the last bits."""
    if not math.isclose(loss, before, rel_tol=1e-2, abs_tol=1e-6) and math.isfinite(before):
        raise DataError(
            f"step {step}: loss {loss:.6g} after resuming, {before:.6g} was logged before; the model or the data are not "
            "the same. Bring them back, or delete this stage's folder, and run again."
        )


def _restore(
    folder: Path,
    parameters: Mapping[str, nn.Parameter],
    optimizer: Optimizer,
    average: dict[str, Tensor],
    say: Callable[[str], None],
) -> int:
    """Load the newest whole checkpoint into all three, and return the step that comes next; others are said."""
    found = checkpoint.latest(folder, say)
    if found is None:
        return 0
    model = found.groups["model"]
    if set(model) != set(parameters):
        raise DataError(f"{folder}: the checkpoint holds other parameters than this model; choose another folder.")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(model[name])
        for name, tensor in found.groups.get("ema", {}).items():
            average[name].copy_(tensor)
    optimizer.load_state(found.groups["optimizer"])
    return found.step
