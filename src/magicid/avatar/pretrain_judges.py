"""Step three of pretraining: the judges, each trained, averaged and saved by itself, so that any can be made alone.

Reward and report differ in network and in training data: face encoders never share a person, nor do the two
video-text encoders. The detector shares the reward's clips, the classifier the report's.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from magicid.avatar.dataset import clip_store
from magicid.avatar.judge_data import Reconstruct, face_store, reconstructor, views
from magicid.avatar.judge_losses import ClassifierLoss, DetectorLoss, FaceLoss, VideoTextLoss
from magicid.avatar.judges import NETWORKS, save_judge
from magicid.avatar.pretrain_folder import hold, train_with_bar
from magicid.core.device import device
from magicid.core.errors import UsageError
from magicid.core.weights import read_weights
from magicid.perception.networks import TruthClassifier, VideoTextNetwork
from magicid.training.loop import LoopSettings, Loss


@dataclass(frozen=True)
class Recipe:
    """How a judge is trained: where its data begins, and for how long."""

    seed: int  # of its people or clips
    steps: int
    rate: float = 2e-3

    def loop(self, steps: int | None) -> LoopSettings:
        """The loop's settings, for another number of steps where one is given."""
        return LoopSettings(
            steps=steps or self.steps, learning_rate=self.rate, weight_decay=0.05, warmup_steps=100, cosine=True,
            ema_decay=0.998, save_every_steps=250, betas=(0.9, 0.98),
        )  # fmt: skip


RECIPES = {
    "detector": Recipe(31, 1500),
    "face_reward": Recipe(21, 3000),
    "face_report": Recipe(22, 3000),
    "video_text_reward": Recipe(31, 3000),
    "video_text_report": Recipe(32, 5000, 1e-3),
    "classifier": Recipe(32, 3000),
}


def new_loss(name: str, network: nn.Module, work: Path, clips: int, people: int, reconstruct: Reconstruct | None) -> Loss:
    """The loss of the judge of that name, on its data under `work`."""
    if name.startswith("face"):
        return FaceLoss(network, face_store(work, RECIPES[name].seed, people, reconstruct), name)
    seen = views(work, clip_store(work, RECIPES[name].seed, clips), reconstruct)
    if isinstance(network, VideoTextNetwork):
        return VideoTextLoss(network, seen, name)
    if isinstance(network, TruthClassifier):
        return ClassifierLoss(network, seen)
    return DetectorLoss(network, seen)


@dataclass(frozen=True)
class JudgeSettings:
    """Which judges to train, and on how much."""

    names: tuple[str, ...] = tuple(RECIPES)
    steps: int | None = None  # None: each judge's own number
    clips: int = 8000  # rendered for each of the two stores of clips
    people: int = 4000  # of each face encoder
    start: Path | None = None  # a folder of judges whose networks are trained on; None: from nothing
    reconstruct: bool = True  # show a part of the data as the autoencoder reconstructs it, once there is one


def train_judges(settings: JudgeSettings, work: Path, out: Path) -> None:
    """Train and save the named judges; checkpoints stand under `work`/judges, networks under `out`/judges."""
    for name in settings.names:
        if name not in RECIPES:
            raise UsageError(f"no judge is called {name!r}; choose from {', '.join(RECIPES)}.")
    reconstruct = reconstructor(out / "base" / "vae") if settings.reconstruct else None
    for name in settings.names:
        train_judge(name, settings, work, out, reconstruct)


def train_judge(name: str, settings: JudgeSettings, work: Path, out: Path, reconstruct: Reconstruct | None) -> None:
    """Train one judge and save the moving average of its parameters."""
    loop, folder = RECIPES[name].loop(settings.steps), work / "judges" / name
    asked = asdict(loop) | {"clips": settings.clips, "people": settings.people}
    start = hold(folder, asked | {"reconstruct": reconstruct and reconstruct.version}, settings.start)
    torch.manual_seed(list(RECIPES).index(name))
    network = NETWORKS[name]()
    if start:
        network.load_state_dict(read_weights(start / f"{name}.safetensors"))
    network.to(device())
    loss = new_loss(name, network, work, settings.clips, settings.people, reconstruct)
    parameters = dict(network.named_parameters())
    extra = {"people": loss.head} if isinstance(loss, FaceLoss) else {}
    average = train_with_bar(name, parameters | extra, loss, loop, work / "judges")
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(average[key])
    save_judge(network, name, out / "judges")
