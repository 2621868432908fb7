"""Train the embedded world's models from nothing: `python -m magicid.avatar.pretrain [part ...]`.

Parts, in order: autoencoder, transformer (with its text encoder), judges. Each is resumable: the same command goes on
from its newest checkpoint under `--work`, and the finished models are saved under `--out` in the layout that the
package ships.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.progress import Progress

from magicid.avatar.dataset import clip_store
from magicid.training.log import Log
from magicid.training.loop import LoopSettings, train

PARTS = ("autoencoder", "transformer", "judges")


@dataclass(frozen=True)
class Pretrain:
    """Which parts to train, where, and for how long."""

    parts: Annotated[tuple[str, ...], tyro.conf.Positional] = PARTS
    work: Path = Path("work/pretrain")  # clips, latents and checkpoints
    out: Path = Path(__file__).parent / "weights"
    clips: int = 16_000  # rendered for training
    compile: bool = False  # torch.compile: two minutes at the start, a quarter faster after
    autoencoder: LoopSettings = field(
        default=LoopSettings(
            steps=5000, learning_rate=1.5e-3, warmup_steps=100, cosine=True, betas=(0.9, 0.99), save_every_steps=250
        )
    )


def main(settings: Pretrain) -> None:
    """Train the parts that are asked for."""
    for part in settings.parts:
        {"autoencoder": train_autoencoder}[part](settings)


def train_autoencoder(settings: Pretrain) -> None:
    """Train, measure and save the autoencoder."""
    from magicid.avatar import pretrain_autoencoder as parts

    store = clip_store(settings.work, seed=1, count=min(settings.clips, 4000))
    vae = parts.new_autoencoder()
    if settings.compile:
        parts.encode, parts.decode = torch.compile(parts.encode), torch.compile(parts.decode)
    folder = settings.work / "autoencoder"
    with Progress() as progress:
        task = progress.add_task("autoencoder", total=settings.autoencoder.steps)
        train(
            dict(vae.named_parameters()),
            parts.AutoencoderLoss(vae, store),
            settings.autoencoder,
            folder,
            Log(folder / "log.jsonl"),
            progress=lambda step: progress.update(task, completed=step),
        )
    parts.measure_latents(vae, store)
    parts.save_autoencoder(vae, settings.out / "base" / "vae")


if __name__ == "__main__":
    main(tyro.cli(Pretrain))
