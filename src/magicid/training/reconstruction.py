"""Reconstruction: clips are learnt by the base model's own loss. Stage one trains so, and every baseline."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from magicid.core.device import autocast, device_of
from magicid.core.errors import DataError
from magicid.core.files import require_room, sha256
from magicid.core.interfaces import Condition, Family
from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.core.seeds import generator, item_seed, noise
from magicid.core.weights import write_weights
from magicid.training.adapters import save_adapter
from magicid.training.alarms import alarm, best
from magicid.training.checkpoint import KEPT
from magicid.training.clips import read_latents
from magicid.training.log import RECENT, Log
from magicid.training.loop import LoopSettings, Loss, train
from magicid.training.objectives import video_error
from magicid.training.sampling import stack

DRAWS = "finetune"  # the name by which stage one draws, and those who go on with it
SNAPSHOTS = 5  # kept on the way, evenly spaced
NOTHING_LEARNT = 20  # steps after which an adapter that is still zero is an error


class Clips:
    """Latents of clips or photos (N, C, F, H, W) and what the model is told of each, in memory.

    Where there are `masks` (N, F, H, W), 0 or 1, errors count inside of them alone.
    """

    def __init__(
        self, run: Run, ids: Sequence[str], latents: Tensor, prompts: Sequence[str], masks: Tensor | None = None
    ) -> None:
        self.ids = list(ids)
        self.latents, self.masks = latents, masks
        self.device = device_of(run.family.transformer)
        texts = sorted(set(prompts))
        self._rows = torch.tensor([texts.index(prompt) for prompt in prompts])
        self._conditions = stack([run.family.encode_prompts([text]) for text in texts])

    @classmethod
    def of(cls, run: Run, ids: Sequence[str], prompts: Sequence[str]) -> "Clips":
        """Clips of the repository and photos by id."""
        latents = read_latents(run, ids)
        return cls(run, ids, torch.stack([latents[key] for key in ids]), prompts)

    def choose(self, count: int, seed: int, *key: object) -> Tensor:
        """Which clips (B,) a step learns from."""
        return torch.randint(len(self.latents), (count,), generator=generator(item_seed(seed, *key), "photos"))

    def held(self, count: int, seed: int, name: str) -> Callable[[int], list[str]]:
        """The ids of what each step of the training of that name learns from."""
        return lambda step: [self.ids[i] for i in self.choose(count, seed, name, step, 0)]

    def condition(self, chosen: Tensor) -> Condition:
        """Of the chosen clips."""
        return {name: tensor[self._rows[chosen].to(tensor.device)] for name, tensor in self._conditions.items()}

    def error(self, family: Family, chosen: Tensor, condition: Condition, seed: int, *key: object) -> Tensor:
        """Of the family's prediction for the chosen clips (B,), under the noise and times that `key` draws."""
        inside = None if self.masks is None else self.masks[chosen].to(self.device)
        return video_error(*noised_prediction(family, self.latents[chosen].to(self.device), condition, seed, *key), inside)


def noised(family: Family, x0: Tensor, seed: int, *key: object) -> tuple[Tensor, Tensor, Tensor]:
    """(x_t, t, eps) of clean latents (B, C, F, H, W), with the noise and times that `key` draws."""
    eps = noise(tuple(x0.shape), seed, *key).to(x0.device)
    t = family.law.warp(torch.rand(len(x0), generator=generator(seed, *key, "time"))).to(x0.device)
    return family.law.add_noise(x0, eps, t), t, eps


def noised_prediction(family: Family, x0: Tensor, condition: Condition, seed: int, *key: object) -> tuple[Tensor, Tensor]:
    """(prediction, target) for clean latents (B, C, F, H, W) under the noise and times that `key` draws."""
    x_t, t, eps = noised(family, x0, seed, *key)
    with autocast(x0.device):
        prediction = family.predict(x_t, t, condition)
    return prediction, family.law.target(x0, eps, t)


def reconstruction(run: Run, clips: Clips, batch: int, name: str = DRAWS) -> Loss:
    """The loss of each step: mean error over `batch` clips drawn anew."""

    def loss(step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        key = (run.common.seed, name, step, micro)
        chosen = clips.choose(batch, *key)
        return clips.error(run.family, chosen, clips.condition(chosen), *key).mean(), {}

    return loss


def learn(
    run: Run,
    stage: str,
    parameters: Mapping[str, nn.Parameter],
    loss: Loss,
    settings: LoopSettings,
    average: dict[str, Tensor] | None = None,
    batch: Callable[[int], Sequence[str]] = lambda step: (),
    until: int | None = None,
) -> Adapter:
    """Train under a progress bar in the stage's folder, with checkpoints, snapshots and a log, and save the outcome.

    The outcome is the running average where the settings ask for one and none is given, else the last weights. `until` is an
    earlier step than the last to stop at; a later call goes on from there.

    `DataError` where nothing is learnt: an adapter's B starts at zero, and is still there after `NOTHING_LEARNT` steps.
    """
    folder = run.dir.stage(stage)
    log = Log(run.log_path(stage))
    kept = {round(settings.steps * part / SNAPSHOTS) for part in range(1, SNAPSHOTS + 1)}

    def snapshot(step: int) -> Path:
        return folder / "snapshots" / f"step-{step:08d}.safetensors"

    size = sum(p.numel() * p.element_size() for p in parameters.values())
    there = [*folder.glob("checkpoints/step-*/*"), *(file for file in map(snapshot, kept) if file.exists())]
    needed = kept_bytes(size, average is not None or settings.ema_decay > 0) - sum(path.stat().st_size for path in there)
    require_room(folder, needed, f"{stage}'s checkpoints and snapshots")

    zeros = [p for name, p in parameters.items() if "lora_B" in name]  # zero at first
    quiet = 0  # until which step an alarm is not said again

    def after(step: int) -> None:
        if step in kept:
            write_weights(snapshot(step), parameters)
        if step == min(NOTHING_LEARNT, settings.steps) and zeros and not any(p.any() for p in zeros):
            raise DataError(
                f"{stage}: nothing is learning, every lora_B is zero after {step} steps at rate {settings.learning_rate:g}; "
                f"raise the rate, or choose other targets. Delete {folder}, and run again."
            )
        nonlocal quiet
        if step >= quiet and (said := alarm(log.recent)):
            quiet = step + RECENT  # one line for as many steps
            found = snapshots(run, stage)
            lowest = best(log.read(), list(found))
            where = f" Best so far: {run.file(found[lowest].file)}" if lowest else ""
            run.console.print(f"{stage}: {said}{where}", markup=False, soft_wrap=True)

    with run.bar(stage, settings.steps) as bar:
        averaged = train(
            parameters, loss, settings, folder / "checkpoints", log,
            progress=lambda step: bar.update(bar.task_ids[0], completed=step), after_step=after, average=average, batch=batch,
            say=lambda line: run.console.print(f"{stage}: {line}", markup=False, soft_wrap=True), until=until,
        )  # fmt: skip
    log.to_tensorboard(folder / "tensorboard")
    return save_adapter(run, stage, averaged if averaged and average is None else dict(parameters))


def kept_bytes(size: int, average: bool = False) -> int:
    """Of the checkpoints, snapshots and outcome of a training of so many bytes of weights, whose `average` may be kept too."""
    each = 3 + average  # sizes in a checkpoint: the adapter, Adam's two moments, the average
    return ((KEPT + 1) * each + SNAPSHOTS + 1) * size


def snapshots(run: Run, stage: str) -> dict[int, Adapter]:
    """The adapters that a stage's training kept on its way, by step: its weights as they were, not their average."""
    files = sorted((run.dir.root / stage / "snapshots").glob("step-*.safetensors"))
    return {int(file.stem.split("-")[1]): Adapter(f"{stage}/snapshots/{file.name}", sha256(file)) for file in files}
