"""What every stage is handed: the run's folder, its common settings, and the models, loaded once and on demand."""

import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from magicid.core import hub, tables
from magicid.core.checks import at_least
from magicid.core.errors import DataError, UsageError
from magicid.core.files import digest, sha256
from magicid.core.pulse import pulse
from magicid.core.records import Photo, Prompt
from magicid.core.run_dir import RunDir
from magicid.core.weights import check_model

if TYPE_CHECKING:
    from magicid.core.interfaces import Condition, Family, Geometry, Judges

T = TypeVar("T")
EMBEDDED = "avatar"  # the name of the base model and the judges that come with the package
CHOSEN = {  # settings of the judges of real people -> the first stage that needs each
    "detector": "prepare",
    "face_reward": "prepare",
    "face_report": "evaluate",
    "text_reward": "score",
    "text_report": "evaluate",
}
WEIGHTS = Path(__file__).parent.parent / "avatar" / "weights"


@dataclass(frozen=True)
class Common:
    """Settings that more than one stage reads."""

    photos: Path
    base: str = EMBEDDED  # a hub id or a folder in the diffusers layout, or "avatar", the small model in the package
    family: str = "wan"
    judges: str = EMBEDDED  # who looks at photos and videos; "real" for real people
    detector: str = ""  # of the judges "real", as are the four that follow; "": their own choice
    face_reward: str = ""  # a network by name, NAME:PATH or path
    face_report: str = ""  # another than that of the rewards
    text_reward: str = ""  # "vlm", "clip" or "endpoint", or one of them with a model: "vlm:FOLDER"
    text_report: str = ""  # "clip", or "clip:FOLDER"
    trigger: str = "sks person"  # stands for the person in every prompt
    seed: int = 0
    deterministic: bool | None = None  # the same bits on the same hardware, resumed or not; None: on a CPU
    frames: int = 0  # of the clips that the run learns from; 0: the base's own number
    height: int = 0  # pixels
    width: int = 0
    precision: str = "auto"  # of the base's weights: auto (bf16 on a GPU, fp32 on a CPU), fp32, bf16, fp8 or int8
    offload: str = "none"  # model: encoders and autoencoder wait in the host's memory; block: the transformer's blocks as well
    attention: str = ""  # a backend of diffusers, such as native or flash; "": its own choice

    def check(self) -> None:
        """Refuse settings that cannot work, or do not go together."""
        from magicid.core import placement

        if not self.trigger.strip():
            raise UsageError("trigger '': the words that stand for the person must not be empty; set --trigger 'sks person'.")
        at_least("", 0, frames=self.frames, height=self.height, width=self.width)
        placement.check(self.precision, self.offload)
        chosen = [name for name in CHOSEN if getattr(self, name)]
        if chosen and self.judges == EMBEDDED:
            asked = f"{chosen[0]} {getattr(self, chosen[0])!r}"
            raise UsageError(f"{asked}: the judges {EMBEDDED!r} bring their own. Set --judges real, or leave it out.")


def find_base(common: Common, commit: str = "") -> Path:
    """The base model's folder, of the hub at a commit ("": the newest); `UsageError` or `DataError` where none will do."""
    remote = hub.is_id(common.base)
    folder = hub.fetch(common.base, weights=False, commit=commit) if remote else Path(common.base)
    path = WEIGHTS / "base" if common.base == EMBEDDED else folder
    index = path / "model_index.json"
    if not index.exists():
        raise UsageError(f"base {common.base!r}: no model_index.json in {path}; name a folder in the diffusers layout.")
    try:
        kind = dict(json.loads(index.read_text())).get("_class_name")
    except (ValueError, TypeError) as error:
        raise DataError(f"{index}: not a model index ({error}); fetch the base model again.") from error
    if (expected := tables.PIPELINES.get(common.family, kind)) != kind:
        raise UsageError(f"base {common.base!r} is a {kind}, family {common.family!r} needs a {expected}; set --family.")
    if remote:  # gigabytes, of a model that is known to be the right one
        path = hub.fetch(common.base, commit=commit)
    check_model(path)
    if not any((path / "transformer").glob("*.safetensors")):
        raise DataError(f"{path}: no transformer/*.safetensors; name a folder in the diffusers layout.")
    return path


def kept_commit(folder: Path, base: str) -> str:
    """Of the hub's model `base` that a run was begun on, however the hub has moved since; "" where there is none."""
    settings = RunDir.read_settings(folder) if (folder / "settings.yaml").exists() else {}
    return str(settings.get("base_commit", "")) if settings.get("base") == base else ""


class Run:
    """One run in progress."""

    def __init__(self, folder: RunDir, common: Common, console: Console | None = None, like: "Run | None" = None) -> None:
        self.dir = folder
        self._like = like  # a run on the same base model, which is then in memory once
        self.common = common
        self.console = console or Console()

    @cached_property
    def base_path(self) -> Path:
        """Where the base model is."""
        return find_base(self.common, kept_commit(self.dir.root, self.common.base))

    @cached_property
    def base_digest(self) -> str:
        """Of every byte of the base model."""
        return digest(self.base_path, hub.read_of(self.base_path) if hub.is_id(self.common.base) else None)

    @property
    def models(self) -> dict[str, str]:
        """The models that the run stands on, frozen with its settings."""
        embedded = self.common.judges == EMBEDDED
        judges = {"judges_digest": digest(WEIGHTS / "judges")} if embedded else self.judges.models()
        commit = {"base_commit": self.base_path.name} if hub.is_id(self.common.base) else {}
        return commit | {"base_digest": self.base_digest} | judges

    @cached_property
    def family(self) -> "Family":
        """The base model, loaded at first use, or that of the run like this one."""
        if self._like:
            return self._like.family
        import diffusers
        import transformers

        from magicid.core import placement
        from magicid.core.device import deterministic, device

        diffusers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        transformers.utils.logging.disable_progress_bar()
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several adapters are what we want
        warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")  # fp32 norms in bf16 autocast are too
        kind = tables.load(tables.FAMILIES, "family", self.common.family)
        asked = self.common
        family: Family = kind.load(self.base_path, placement.weights_dtype(asked.precision, device()))
        deterministic(asked.deterministic)
        placement.place(family, asked.precision, asked.offload, asked.attention, device())
        family.geometry = family.geometry.sized(asked.frames, asked.height, asked.width)
        placement.tile(family, family.geometry.height, family.geometry.width)
        return family

    def clips(self, frames: int = 0, height: int = 0, width: int = 0) -> "Geometry":
        """Clips of another size than the run's (0: its own); `DataError` where the base makes none of this size."""
        from magicid.core import placement

        size = self.family.geometry.sized(frames, height, width)
        self.family.latents_shape(size.frames, size.height, size.width)
        placement.tile(self.family, size.height, size.width)
        return size

    @property
    def drawn(self) -> "Geometry":
        """The clips that the finished model draws: of the size that `generate` is told in the settings file."""
        settings = self.dir.settings()
        return self.clips(*(settings.get(f"generate.{side}", 0) for side in ("frames", "height", "width")))

    @cached_property
    def judges(self) -> "Judges":
        """The reward and report encoders; what the run chose itself stays chosen, once a stage has begun with it."""
        frozen = self.dir.settings() if (self.dir.root / "settings.yaml").exists() else {}
        kept = {
            name: frozen[key]
            for name, stage in CHOSEN.items()
            if not getattr(self.common, name) and (key := f"{stage}.{name}") in frozen and self.dir.begun(stage)
        }
        judges: Judges = tables.load(tables.JUDGES, "judges", self.common.judges)(replace(self.common, **kept))
        return judges

    def forget_judges(self) -> None:
        """Let their models go, and the memory they take; they are read anew where they are asked again."""
        self.__dict__.pop("judges", None)

    @cached_property
    def negative(self) -> "Condition":
        """The condition of the empty prompt, for guidance."""
        return self.family.encode_prompts([""])

    def photos(self) -> list[Photo]:
        """The photos that training and rewards may see."""
        return [photo for photo in self.dir.read("prepare", Photo) if not photo.held_out]

    def gallery(self) -> list[Photo]:
        """The photos that the report judges by: held-out ones, or where there are none those of training."""
        return [photo for photo in self.dir.read("prepare", Photo) if photo.held_out] or self.photos()

    def prompts(self) -> list[Prompt]:
        """The prompts that training and rewards may see: the repository's."""
        return [prompt for prompt in self.dir.read("prompts", Prompt) if prompt.split == "repository"]

    def log_path(self, stage: str) -> Path:
        """Where a training stage logs its steps."""
        return self.dir.stage(stage) / "log.jsonl"

    def path(self, stage: str, name: str) -> str:
        """A file of a stage, as records hold it: relative to the run directory."""
        self.dir.stage(stage)
        return f"{stage}/{name}"

    def file(self, relative: str) -> Path:
        """The place of a path that a record holds."""
        return self.dir.root / relative

    def checked(self, relative: str, sha256_hex: str) -> Path:
        """The place of a file that a manifest names; `DataError` where it is gone or is not what was written."""
        path = self.file(relative)
        if not path.exists() or sha256(path) != sha256_hex:
            what = "sha256 differs from its manifest" if path.exists() else "gone, though its manifest names it"
            raise DataError(f"{path}: {what}; bring it back, or delete {self.dir.root / Path(relative).parts[0]} and run again.")
        return path

    def bar(self, label: str, total: int) -> Progress:
        """A progress bar; use as a context manager and advance its task 0."""
        columns: Any = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        progress = Progress(*columns, console=self.console)
        progress.add_task(label, total=total)
        return progress

    def each(self, label: str, items: Iterable[T], total: int) -> Iterator[T]:
        """Go through items with a progress bar."""
        with self.bar(label, total) as progress:
            for item in items:
                pulse("item")
                yield item
                progress.advance(progress.task_ids[0])
