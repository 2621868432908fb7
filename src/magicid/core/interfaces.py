"""Every contract on one screen. Shapes: B batch, C channels, F frames, H height, W width, L text tokens, D features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from magicid.core.diffusion import NoiseLaw

Frames = NDArray[np.uint8]  # (F, H, W, 3) RGB
FlowEstimator = Callable[
    [NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]
]  # two (H, W, 3) RGB -> (H, W, 2) x, y in pixels


@dataclass(frozen=True)
class Geometry:
    """The clips that a base model makes by default."""

    frames: int
    height: int  # pixels
    width: int
    fps: float
    guidance: float  # classifier-free guidance scale; 1 means none
    guidance_until: float = 0.0  # time, 1 noise to 0 clean, down to which guidance acts so
    guidance_after: float = 1.0  # the scale below that time; 1: the model speaks for itself

    def sized(self, frames: int = 0, height: int = 0, width: int = 0) -> "Geometry":
        """The same with another size; 0: as it is."""
        return replace(self, frames=frames or self.frames, height=height or self.height, width=width or self.width)


Condition = dict[str, Tensor]  # what a transformer is told besides x_t and t; every tensor's first dimension is B
Predict = Callable[[Tensor, Tensor, Condition], Tensor]  # x_t (B, C, F, H, W), t (B,) -> a prediction as `Family.predict` gives


@runtime_checkable
class Family(Protocol):
    """A base model: the same calls for every architecture. Latents are standardised, (B, C, F, H, W)."""

    name: str
    geometry: Geometry
    pipeline: Any  # the stock pipeline, whose parts these are
    transformer: nn.Module
    lora_targets: tuple[str, ...]  # names of the linear layers that an adapter changes

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> "Family":
        """Load a checkpoint in the diffusers layout, its weights in `dtype`."""

    @property
    def law(self) -> NoiseLaw:
        """Between clips and noise, and of the times; it may depend on the geometry."""

    @property
    def text_encoders(self) -> tuple[tuple[Any, nn.Module], ...]:
        """(tokenizer, encoder) of each, as `encode_prompts` calls them."""

    def encode_prompts(self, prompts: Sequence[str]) -> Condition:
        """Text to the transformer's condition; frozen, but gradients pass through to keywords (training/keywords.py)."""

    def encode(self, videos_BCFHW: Tensor) -> Tensor:
        """Videos in -1..1 to latents."""

    def decode(self, latents_BCFHW: Tensor) -> Tensor:
        """Latents to videos in -1..1."""

    def latents_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, F, H, W) of one clip's latents."""

    def predict(self, x_t: Tensor, t_B: Tensor, condition: Condition) -> Tensor:
        """The model's prediction, in the units of `law.target`."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face of one frame; pixels count from the upper left corner."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1
    score: float  # 0..1
    landmarks: NDArray[np.float32]  # (5, 2) x, y: left eye, right eye, nose tip, mouth corners


class FaceDetector(Protocol):
    """Finds faces."""

    def detect(self, frames: Frames) -> list[list[Face]]:
        """The faces of each frame, best first."""


class FaceEncoder(Protocol):
    """Tells people apart."""

    crop_size: int  # pixels
    same_person: float  # cosine from which two faces are taken for one person's

    def embed(self, crops: Frames) -> NDArray[np.float32]:
        """Unit vectors (N, D) of aligned crops (N, crop_size, crop_size, 3)."""


class VideoTextJudge(Protocol):
    """Says how well clips follow sentences."""

    def similarity(self, clips: Sequence[Frames], sentences: Sequence[str]) -> NDArray[np.float32]:
        """Of each clip with its own sentence (N,), higher is better; nan where it could not be judged."""


class VideoTextEncoder(VideoTextJudge, Protocol):
    """Puts clips and sentences into one space; the similarity is the cosine."""

    def embed_video(self, clips: Sequence[Frames]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of clips."""


@dataclass(frozen=True)
class Judges:
    """Everything that looks at videos; what rewards never reports. Real models are read at their first use."""

    detector: FaceDetector
    face_reward: FaceEncoder
    face_report: FaceEncoder
    text_reward: VideoTextJudge
    text_report: VideoTextEncoder
    models: Callable[[], dict[str, str]] = dict  # which these are, where they are here: frozen with a run's settings
    ready: Callable[[], None] = lambda: None  # raises where one is missing (of the hub: unknown) that is needed later


@dataclass(frozen=True, eq=False)
class Observation:
    """One video as rewards and metrics see it: the person is found and followed once for all of them."""

    frames: Frames
    prompt: str
    fps: float
    faces: list[Face | None]  # the tracked person, frame by frame

    @property
    def heads(self) -> list[tuple[float, float, float, float] | None]:
        """The person's head, as a box, in each frame."""
        return [None if face is None else face.box for face in self.faces]


@dataclass(frozen=True)
class Measured:
    """One reward of one video: "measured" with a value, "failed" with 0, or "unmeasurable" with nan."""

    state: str
    value: float
    details: dict[str, float]


class Reward(Protocol):
    """A measure of one video; higher is better."""

    name: str

    def __call__(self, video: Observation) -> Measured:
        """Measure one video."""


class Stage(Protocol):
    """One step of the pipeline: fields are settings, `run` is the work; the manifest it returns is published last."""

    def run(self, run: Any) -> Sequence[Any]:
        """Do the work inside the run directory and return the records of the manifest."""
