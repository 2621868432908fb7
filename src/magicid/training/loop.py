"""The only training loop: `loss(step, micro_batch)` in, parameters changed in place, killed anywhere and resumed to the byte.

Left out on purpose: data loaders and carried generators (a step draws its batch from its own number), distributed
training, gradient scaling (bf16 needs none).
"""

import math
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn

from magicid.core.errors import DataError, Interrupted
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
) -> dict[str, Tensor]:
    """Train `parameters` in place to `settings.steps`, resuming from `folder`; returns the moving average (or {}).

    A moving average starts as a copy, and forgets it quickly. One that is given is kept in the given tensors: it starts
    from what they hold and follows at `ema_decay` from the first step.

    `loss(step, micro_batch)` returns a scalar and numbers to log, and must depend on nothing else than its arguments
    (and what is saved: the parameters and the average).
    A step whose loss or gradient is not finite changes nothing; `max_bad_steps` of them in a row raise `DataError`.
    SIGTERM and SIGINT save a checkpoint and raise `Interrupted`.
    """
    values = list(parameters.values())
    optimizer = Optimizer(parameters, settings.learning_rate, settings.weight_decay, settings.betas, settings.muon)
    young = average is None
    if average is None:
        average = {n: p.detach().clone() for n, p in parameters.items()} if settings.ema_decay else {}
    start = _restore(folder, parameters, optimizer, average)
    log.truncate(start)
    stop = _StopOnSignal()

    def save(step: int) -> None:
        groups = {"model": {n: p.detach() for n, p in parameters.items()}, "optimizer": optimizer.state()}
        checkpoint.save(folder, checkpoint.Checkpoint(step, groups | ({"ema": average} if average else {})))

    bad, saved = 0, start
    with stop:
        for step in range(start, settings.steps):
            optimizer.zero_grad()
            numbers: dict[str, float] = {}
            for micro in range(settings.micro_batches):
                value, logged = loss(step, micro)
                (value / settings.micro_batches).backward()  # type: ignore[no-untyped-call]
                for key, number in ({"loss": float(value.detach())} | logged).items():
                    numbers[key] = numbers.get(key, 0.0) + number / settings.micro_batches
            norm = float(nn.utils.clip_grad_norm_(values, settings.grad_norm))
            if math.isfinite(norm) and math.isfinite(numbers["loss"]):
                optimizer.step(settings.rate(step))
                decay = min(settings.ema_decay, (step + 1) / (step + 10)) if young else settings.ema_decay
                for n, tensor in average.items():
                    tensor.lerp_(parameters[n].detach(), 1 - decay)
                bad = 0
            else:
                bad += 1
            log.write(step, numbers | {"grad_norm": norm, "learning_rate": settings.rate(step)})
            if bad >= settings.max_bad_steps:
                raise DataError(
                    f"step {step}: loss {numbers['loss']}, gradient norm {norm}, not finite {bad} times in a row; "
                    "lower the learning rate or beta, delete this stage's folder, and run again."
                )
            progress(step + 1)
            after_step(step + 1)
            if (step + 1) % settings.save_every_steps == 0 or step + 1 == settings.steps or stop.asked:
                save(step + 1)
                saved = step + 1
            if stop.asked:
                interrupted = Interrupted(f"stopped at step {saved} of {settings.steps}; run the same command again to go on.")
                interrupted.exit_code = 130 if stop.asked == signal.SIGINT else Interrupted.exit_code
                raise interrupted
    return average


def _restore(
    folder: Path,
    parameters: Mapping[str, nn.Parameter],
    optimizer: Optimizer,
    average: dict[str, Tensor],
) -> int:
    """Load the newest whole checkpoint into all three, and return the step that comes next."""
    found = checkpoint.latest(folder)
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


class _StopOnSignal:
    """Turns SIGTERM and the first SIGINT into a flag; a second SIGINT acts as usual. Only in the main thread."""

    def __enter__(self) -> None:
        self.asked = 0  # the signal's number
        self._old = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(ValueError):  # not the main thread
                self._old[number] = signal.signal(number, self._ask)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = number
