"""The embedded world's judges, ready to use: they find heads, know people, match clips to sentences, name what shows.

Reward and report never share a network: each has its own architecture, its own training people or clips, its own file.
Frames are uint8 RGB of any size and number; the networks see 64 x 64 pixels and 17 frames.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from magicid.avatar.prompts import SUBJECTS, TABLES, TEMPLATES
from magicid.avatar.truth import VOCABULARIES, Truth
from magicid.core.device import device
from magicid.core.errors import DataError
from magicid.core.interfaces import Face, Judges
from magicid.core.run import Common
from magicid.core.weights import read_weights, write_weights
from magicid.perception import networks
from magicid.perception.face import overlap
from magicid.perception.networks import CROP, FRAMES, SIZE, to_input

WEIGHTS = Path(__file__).parent / "weights" / "judges"
LEAST_SCORE = 0.3  # of a head that is found
_BATCH = 32  # clips; pictures and crops go by 8 times as many


def known_words() -> list[str]:
    """The words of the world's grammar; their order is part of the shipped weights."""
    phrases = [phrase for table in TABLES.values() for names in table.values() for phrase in names]
    texts = (*phrases, *SUBJECTS, *TEMPLATES)
    return sorted({word for text in texts for word in text.lower().split() if word.isalpha()})


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "detector": networks.HeadDetector,
    "face_reward": networks.ResNetFace,
    "face_report": networks.PatchFace,
    "video_text_reward": lambda: networks.ConvVideoText(known_words()),
    "video_text_report": lambda: networks.AttentionVideoText(known_words()),
    "classifier": lambda: networks.TruthClassifier({name: len(names) for name, names in VOCABULARIES.items()}),
}


@lru_cache
def load_judge(name: str, folder: Path = WEIGHTS) -> nn.Module:
    """The trained network of that name, in fp32 on the best device, read once."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise DataError(f"{path}: missing; make it with `python -m magicid.avatar.pretrain judges`.")
    network = NETWORKS[name]()
    try:
        network.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise DataError(f"{path}: not the weights of today's {name}; bring the package's back, or train it again.") from error
    return network.eval().requires_grad_(False).to(device())


def save_judge(network: nn.Module, name: str, folder: Path = WEIGHTS) -> None:
    """Write a network's parameters in bf16."""
    tensors = {key: value.to(torch.bfloat16) for key, value in network.state_dict().items()}
    write_weights(folder / f"{name}.safetensors", tensors)


def standard_clip(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(17, 64, 64, 3) from a clip (T, H, W, 3), its frames evenly chosen."""
    chosen = frames[np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)]
    return np.stack([_resized(frame, SIZE) for frame in chosen])


def _resized(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (side, side):
        return image
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _batches(pictures: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], count: int) -> Iterator[Tensor]:
    for i in range(0, len(pictures), count):
        yield to_input(np.stack(list(pictures[i : i + count]))).to(device())


def _gathered(parts: list[Tensor]) -> NDArray[np.float32]:
    """(N, 128), also of no parts at all."""
    none = torch.zeros(0, networks.EMBEDDING)
    return np.asarray(torch.cat([none, *(part.float().cpu() for part in parts)]).numpy(), np.float32)


class AvatarDetector:
    """A `FaceDetector` of drawn heads."""

    def __init__(self, folder: Path = WEIGHTS, least_score: float = LEAST_SCORE) -> None:
        self.network, self.least_score = load_judge("detector", folder), least_score

    @torch.inference_mode()
    def detect(self, frames: NDArray[np.uint8]) -> list[list[Face]]:
        """The heads of each of the frames (T, H, W, 3), best first."""
        height, width = frames.shape[1:3]
        small = [_resized(frame, SIZE) for frame in frames]
        found: list[list[Face]] = []
        for pictures in _batches(small, 8 * _BATCH):
            logits, places = self.network(pictures)
            peaks = F.max_pool2d(logits[:, None], 3, 1, 1)[:, 0] == logits
            heat = (logits.sigmoid() * peaks).flatten(1).cpu().numpy()
            spots = places.flatten(1, 2).unflatten(-1, (7, 2)).cpu().numpy() * (width / SIZE, height / SIZE)
            found += [self._faces(*frame) for frame in zip(heat, spots, strict=True)]
        return found

    def _faces(self, heat: NDArray[np.float32], spots: NDArray[np.float64]) -> list[Face]:
        """Faces of one frame, from heat (cells,) and spots (cells, 7, 2), without those that overlap a better one."""
        faces: list[Face] = []
        for cell in np.argsort(-heat)[: int((heat >= self.least_score).sum())]:
            (x0, y0), (x1, y1), *_ = spots[cell].tolist()
            if all(overlap((x0, y0, x1, y1), face.box) < 0.5 for face in faces):
                faces.append(Face((x0, y0, x1, y1), float(heat[cell]), spots[cell, 2:].astype(np.float32)))
        return faces


def mirrored(network: nn.Module, crops_BCHW: Tensor) -> Tensor:
    """Unit vectors (B, 128): the mean of a crop's and of its mirror image's, as recognisers are mostly evaluated: fewer
    errors, at no training.
    """
    return F.normalize(network(crops_BCHW) + network(crops_BCHW.flip(-1)), dim=-1)


class AvatarFaceEncoder:
    """A `FaceEncoder` of drawn faces; `name` is face_reward or face_report."""

    crop_size = CROP
    same_person = 0.28  # of 546 photos of 91 people one lies below it in median to others of its person; 2.3% of strangers above

    def __init__(self, name: str, folder: Path = WEIGHTS) -> None:
        self.network = load_judge(name, folder)

    @torch.inference_mode()
    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit vectors (N, 128) of aligned crops (N, 32, 32, 3)."""
        batches = _batches(crops, 8 * _BATCH)
        return _gathered([mirrored(self.network, batch) for batch in batches])


class VideoText:
    """Clips and sentences in one space; `name` is video_text_reward or video_text_report."""

    def __init__(self, name: str, folder: Path = WEIGHTS) -> None:
        network = load_judge(name, folder)
        assert isinstance(network, networks.VideoTextNetwork), f"{name} is a {type(network).__name__}"
        self.network = network

    @torch.inference_mode()
    def embed_video(self, clips: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit vectors (N, 128) of clips (T, H, W, 3)."""
        standard = [standard_clip(clip) for clip in clips]
        return _gathered([self.network.embed_video(batch) for batch in _batches(standard, _BATCH)])

    @torch.inference_mode()
    def embed_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (N, 128)."""
        return _gathered([self.network.embed_text(sentences)])

    def similarity(self, clips: Sequence[NDArray[np.uint8]], sentences: Sequence[str]) -> NDArray[np.float32]:
        """Cosine (N,) of each clip with its sentence."""
        return np.asarray((self.embed_video(clips) * self.embed_text(sentences)).sum(1), np.float32)


class Classifier:
    """Names what clips show."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        network = load_judge("classifier", folder)
        assert isinstance(network, networks.TruthClassifier), f"classifier is a {type(network).__name__}"
        self.network = network

    @torch.inference_mode()
    def predict(self, clips: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> list[Truth]:
        """The likeliest truth of each clip (T, H, W, 3)."""
        truths: list[Truth] = []
        for batch in _batches([standard_clip(clip) for clip in clips], _BATCH):
            best = {name: logits.argmax(-1).tolist() for name, logits in self.network(batch).items()}
            rows = zip(*(best[name] for name in VOCABULARIES), strict=True)
            truths += [Truth(*(names[i] for names, i in zip(VOCABULARIES.values(), row, strict=True))) for row in rows]
        return truths

    @torch.inference_mode()
    def features(self, clips: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, 128), what the last layer reads; for Frechet distances."""
        standard = [standard_clip(clip) for clip in clips]
        return _gathered([self.network.features(batch) for batch in _batches(standard, _BATCH)])


def avatar(common: Common | None = None) -> Judges:
    """All of them, each in its role; nothing of a run's settings changes them."""
    return Judges(
        detector=AvatarDetector(),
        face_reward=AvatarFaceEncoder("face_reward"),
        face_report=AvatarFaceEncoder("face_report"),
        text_reward=VideoText("video_text_reward"),
        text_report=VideoText("video_text_report"),
    )
