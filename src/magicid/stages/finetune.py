"""Stage one of MagicID: a LoRA learns the person by reconstructing each photo, as a video that stands still or as one frame."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from magicid.core.checks import at_least, one_of, positive
from magicid.core.errors import DataError
from magicid.core.files import sha256
from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.core.run_dir import RunDir, filled
from magicid.core.weights import check_weights
from magicid.export.lora_file import low_file
from magicid.export.read_lora import start_from
from magicid.perception.subject import head_masks
from magicid.training import lora
from magicid.training.loop import LoopSettings, Loss
from magicid.training.recompute import Level, recomputing
from magicid.training.reconstruction import DRAWS, Clips, learn, reconstruction
from magicid.training.stills import stills

ADAPTER = "stage_one"  # its name in the family, by which its first weights are drawn
START_SHA256 = "finetune.start_sha256"


@dataclass(frozen=True)
class Finetune:
    """Reconstruction of the photos."""

    steps: int = 1000
    learning_rate: float = 2e-5
    weight_decay: float = 1e-4
    batch: int = 4
    single_frame: bool = False  # each photo is one frame, which says nothing of motion; False: a static video, as in the paper
    head_only: bool = False  # errors count where the head is: scene and clothes are not learnt with the face
    mirrored: bool = False  # each photo's mirror image as well
    rank: int = 16
    alpha: float = 16.0
    targets: tuple[str, ...] = ()  # names of linear layers; empty: the family's choice
    start: Path | None = None  # a LoRA file to go on from (musubi, kohya, diffusers or ours); None: from nothing
    recompute: Level = "nothing"  # of the activations, in the backward pass: less memory, more time
    save_every_steps: int = 50  # a kill loses at most so many

    @classmethod
    def of(cls, run: Run) -> "Finetune":
        """What a run's stage one was made with."""
        made = filled(cls, run.dir.settings(), "finetune.")
        return replace(made, start=Path(made.start)) if made.start else made

    def learnt(self, run: Run) -> Clips:
        """The photos as this stage learns them."""
        return stills(run, self.single_frame, self.mirrored, head_masks if self.head_only else None)

    @property
    def lora(self) -> lora.LoraSettings:
        """The adapter's size, shared with stage two."""
        return lora.LoraSettings(self.rank, self.alpha, self.targets)

    def start_digest(self, folder: Path) -> dict[str, str]:
        """The digest of what is started from, to be frozen with the settings; the frozen one, once the stage is done."""
        if self.start is None:
            return {}
        if (folder / "finetune" / "manifest.jsonl").exists() and (frozen := RunDir.read_settings(folder).get(START_SHA256)):
            return {START_SHA256: frozen}
        check_weights(self.start)
        return {START_SHA256: _digest(self.start)}

    def loop(self, steps: int) -> LoopSettings:
        """The training's course for so many steps."""
        return LoopSettings(steps, self.learning_rate, self.weight_decay, save_every_steps=self.save_every_steps)

    def check(self) -> None:
        """Refuse settings that cannot work."""
        at_least("finetune", 1, steps=self.steps, batch=self.batch, rank=self.rank, save_every_steps=self.save_every_steps)
        positive("finetune", learning_rate=self.learning_rate, alpha=self.alpha)
        at_least("finetune", 0, weight_decay=self.weight_decay)
        one_of("finetune", get_args(Level), recompute=self.recompute)

    def run(self, run: Run) -> Sequence[Adapter]:
        """Train and save `finetune/adapter.safetensors`."""
        return [self.train(run, "finetune", self.learnt(run), self.steps)]

    def train(self, run: Run, folder: str, clips: Clips, steps: int, loss: Loss | None = None) -> Adapter:
        """Train an adapter from where this stage's begins, in a folder of the run, on photos as it learns them.

        `loss` stands in the place of theirs, of which it is a part.
        """
        loss, held = loss or reconstruction(run, clips, self.batch), clips.held(self.batch, run.common.seed, DRAWS)
        family = run.family
        with lora.added(family, ADAPTER, self.lora, run.common.seed):
            if self.start:
                self._start_from(run, self.start)
            with lora.using(family, ADAPTER), recomputing(family.transformer, self.recompute):
                return learn(run, folder, lora.parameters(family, ADAPTER), loss, self.loop(steps), batch=held)

    def _start_from(self, run: Run, start: Path) -> None:
        """Give the adapter the file's weights; `DataError` where it is not the one that the run began with."""
        check_weights(start)
        if run.dir.settings().get(START_SHA256, digest := _digest(start)) != digest:
            raise DataError(f"{start}: not the file that this run's stage one began with; bring that one back.")
        start_from(run, ADAPTER, start, self.lora, lambda line: run.console.print(line, markup=False, soft_wrap=True))


def _digest(start: Path) -> str:
    """The sha256 of a LoRA file, and of the one beside it where that is a second expert's."""
    return " ".join(sha256(file) for file in (start, low_file(start)) if file.exists())
