"""Doubles of the models, for tests without weights: a person is a coloured rectangle on a grey picture."""

import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from magicid.core.diffusion import FlowMatching, NoiseLaw
from magicid.core.interfaces import Condition, Face, Frames, Geometry, Judges
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.perception.face import TEMPLATE

RED, GREEN, BLUE, GREY = (230, 20, 20), (20, 230, 20), (20, 20, 230), (128, 128, 128)
CELL = 4  # pixels of a latent's side
Way = Image.Transpose
UNDO = {  # EXIF orientation -> how the camera stored the upright picture
    1: None, 2: Way.FLIP_LEFT_RIGHT, 3: Way.ROTATE_180, 4: Way.FLIP_TOP_BOTTOM,
    5: Way.TRANSPOSE, 6: Way.ROTATE_90, 7: Way.TRANSVERSE, 8: Way.ROTATE_270,
}  # fmt: skip


def picture(*people: tuple[int, int, tuple[int, int, int]], height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    """A grey picture with a 50 x 40 pixel face for each (x, y, colour)."""
    image = np.full((height, width, 3), GREY, np.uint8)
    for x, y, colour in people:
        image[y : y + 50, x : x + 40] = colour
    return image


def moving_square(frames: int = 6, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """A coloured square that walks over a gradient."""
    video = np.zeros((frames, height, width, 3), np.uint8)
    video[..., 1] = np.linspace(40, 200, width).astype(np.uint8)
    for t in range(frames):
        video[t, 4:12, 2 * t : 2 * t + 8] = (220, 60, 30)
    return video


def turned(image: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """An upright picture as a camera stores it, and the tag that says how."""
    exif, way = Image.Exif(), UNDO[orientation]
    exif[0x112] = orientation
    return image if way is None else image.transpose(way), exif


def png(size: tuple[int, int], depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG file of zlib-packed rows."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def peak_of(module: str, function: str, path: Path, refusal: str) -> float:
    """By how many MB the peak of a fresh process grows where a reader refuses a file, saying so."""
    words = [sys.executable, "-c", _PEAK, module, function, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    line, growth = done.stdout.splitlines()
    assert line.startswith(f"{path.name}: {refusal}"), line
    return float(growth)


_PEAK = """
import importlib, resource, sys
from pathlib import Path
from magicid.core.errors import DataError
module, function, path = sys.argv[1:]
read = getattr(importlib.import_module(module), function)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
before = peak()
try:
    read(Path(path))
except DataError as error:
    print(error)
print(peak() - before)
"""


class FakeDetector:
    """Finds coloured rectangles."""

    def detect(self, frames: Frames) -> list[list[Face]]:
        """The rectangles of each frame, largest first."""
        return [self._faces(frame) for frame in frames]

    def _faces(self, frame: NDArray[np.uint8]) -> list[Face]:
        coloured = (np.ptp(frame.astype(int), 2) > 60).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(coloured)
        faces = []
        for x, y, w, h, _area in sorted((row.tolist() for row in stats[1:]), key=lambda row: -row[4]):
            faces.append(Face((x, y, x + w, y + h), 0.9, (TEMPLATE * (w, h) + (x, y)).astype(np.float32)))
        return faces


class FakeEncoder:
    """A person is a colour."""

    crop_size = 16
    same_person = 0.4

    def embed(self, crops: Frames) -> NDArray[np.float32]:
        """The mean colour of each crop's middle as a unit vector (N, 3)."""
        means = crops[:, 4:12, 4:12].reshape(len(crops), -1, 3).mean(1) - 10
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


class FakeVideoText:
    """Every clip fits every sentence."""

    def similarity(self, clips: Sequence[Frames], sentences: Sequence[str]) -> NDArray[np.float32]:
        """Ones (N,)."""
        assert len(clips) == len(sentences), f"{len(clips)} clips, {len(sentences)} sentences"
        return np.ones(len(clips), np.float32)

    def embed_video(self, clips: Sequence[Frames]) -> NDArray[np.float32]:
        """The mean colour as a unit vector (N, 3)."""
        means = np.stack([clip.reshape(-1, 3).mean(0) + 1 for clip in clips])
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def fake_judges(common: Common | None = None) -> Judges:
    """Everything that looks at videos."""
    return Judges(FakeDetector(), FakeEncoder(), FakeEncoder(), FakeVideoText(), FakeVideoText())


class FakeTransformer(nn.Module):
    """One linear layer over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, H, W) to the same."""
        mixed: Tensor = self.to_q(x.movedim(1, -1)).movedim(-1, 1)
        return mixed


class FakeFamily:
    """A family of 5 x 16 x 16 clips whose latents are the means of 4 x 4 pixels."""

    name = "fake"
    geometry = Geometry(frames=5, height=16, width=16, fps=8.0, guidance=1.0)
    lora_targets: tuple[str, ...] = ("to_q",)

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.law: NoiseLaw = FlowMatching()
        self.transformer: nn.Module = FakeTransformer()
        self.pipeline = SimpleNamespace(vae=SimpleNamespace())  # whose ways of saving memory are none

    @classmethod
    def load(cls, path: str | Path, dtype: torch.dtype = torch.float32) -> "FakeFamily":
        """Nothing is read."""
        return cls()

    def encode_prompts(self, prompts: Sequence[str]) -> Condition:
        """The prompts' lengths (B, 1, 1)."""
        return {"text": torch.tensor([float(len(p)) for p in prompts]).reshape(-1, 1, 1)}

    def encode(self, videos_BCFHW: Tensor) -> Tensor:
        """Mean of each square."""
        return F.avg_pool3d(videos_BCFHW, (1, CELL, CELL))

    def decode(self, latents_BCFHW: Tensor) -> Tensor:
        """Squares of one colour."""
        return latents_BCFHW.repeat_interleave(CELL, 3).repeat_interleave(CELL, 4)

    def latents_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(C, F, H, W)."""
        return 3, frames, height // CELL, width // CELL

    def predict(self, x_t: Tensor, t_B: Tensor, condition: Condition) -> Tensor:
        """The transformer's output, whatever the time and text."""
        prediction: Tensor = self.transformer(x_t)
        return prediction


def fake_run(root: Path, photos: Path) -> Run:
    """A run in `root` whose models are the doubles; it prints nothing."""
    run = Run(RunDir(root), Common(photos), Console(quiet=True))
    run.family, run.judges = FakeFamily(), fake_judges()
    return run


class CentredDetector:
    """Says that one head is in the upper middle of every frame, whatever it shows."""

    def detect(self, frames: Frames) -> list[list[Face]]:
        """One face a frame, a fifth of its width."""
        height, width = frames.shape[1:3]
        corner, size = np.array([0.4 * width, 0.2 * height]), np.array([0.2 * width, 0.25 * height])
        box = (*corner.tolist(), *(corner + size).tolist())
        return [[Face(box, 0.9, (TEMPLATE * size + corner).astype(np.float32))] for _ in frames]


def centred_judges(common: Common | None = None) -> Judges:
    """Judges that find a person in any picture, noise included."""
    return Judges(CentredDetector(), FakeEncoder(), FakeEncoder(), FakeVideoText(), FakeVideoText())
