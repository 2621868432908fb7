"""Typed records that cross stage boundaries; a manifest holds one a line."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True)
class Record:
    """Base of the records: to and from plain JSON values."""

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The record that `to_json` wrote; lists become tuples again."""
        names = {f.name for f in fields(cls)}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in names})


LABELS = {"base": "base model", "finetuned": "fine-tuned", "magicid": "MagicID"}  # of the methods that are shown, in this order
STRANGERS = {"base": "base_stranger", "magicid": "magicid_stranger"}  # method -> origin of its clips of nobody in particular


@dataclass(frozen=True)
class Photo(Record):
    """One photo of the person: where it came from, and where its copy and static latents are."""

    id: str
    source: str  # name of the user's file
    image: str  # path inside the run directory
    latents: str  # of the static video; "" for a held-out photo
    sha256: str  # of the user's file
    held_out: bool  # only the report's judges see it
    latents_sha256: str = ""  # "" in runs older than this field, as are the two below
    crop: str = ""  # the aligned face, path inside the run directory
    intake: str = ""  # what was seen in it, in one line


@dataclass(frozen=True)
class Prompt(Record):
    """One prompt, with the trigger word that stands for the person."""

    id: str
    text: str
    split: str  # "repository" or "evaluation"

    @property
    def number(self) -> str:
        """What the names of its clips hold: "003" of "prompt-003"."""
        return self.id.removeprefix("prompt-")


@dataclass(frozen=True)
class Video(Record):
    """One clip: its file, its latents, and how it was made."""

    id: str
    origin: str  # who drew it: "base", "finetuned", "joined", "policy", "magicid", of `STRANGERS`, or a method's or stage's name
    prompt: str
    seed: int
    strength: float  # of the adapter: 0 is the base model
    file: str  # mp4, path inside the run directory
    latents: str  # safetensors with one tensor "latents" (C, F, H, W)
    sha256: str  # of the latents


@dataclass(frozen=True)
class Score(Record):
    """Three rewards of one video: raw values, the same calibrated to 1..10, and each one's state.

    A state is "measured", "failed" (e.g. no face at all: the raw value is 0) or "unmeasurable" (nan; the video is excluded).
    """

    video: str
    raw: dict[str, float]  # reward -> value in its own units
    scaled: dict[str, float]  # reward -> 1..10 within the repository
    state: dict[str, str]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair(Record):
    """A preferred video and a rejected one that share one prompt in training."""

    id: str
    kind: str  # "identity" or "dynamic"
    winner: str
    loser: str
    prompt: str
    identity_gap: float  # winner minus loser, calibrated
    motion_gap: float


@dataclass(frozen=True)
class Metric(Record):
    """One figure of one method, with a 95% bootstrap interval."""

    method: str
    name: str
    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Adapter(Record):
    """Trained weights of one adapter."""

    file: str
    sha256: str


@dataclass(frozen=True)
class ClipFigures(Record):
    """What a comparison of methods says of one clip."""

    method: str
    place: str  # "003-0": prompt and seed; every method has one clip at each
    values: dict[str, float]
    features: tuple[float, ...]  # for Frechet distances


@dataclass(frozen=True)
class FrameLikeness(Record):
    """How like the person one clip's frames are, in a comparison of methods."""

    method: str
    place: str
    cosines: tuple[float, ...]  # a frame each; nan where the person is not seen


@dataclass(frozen=True)
class Value(Record):
    """What the report's judges say of one video."""

    video: str
    values: dict[str, float]
