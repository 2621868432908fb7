"""Real faces told apart: `FaceEncoder`s over published networks, all on ArcFace's 5-point alignment at 112 pixels.

`same_person` says from which cosine on two faces are one person's: SFace's is its authors' (OpenCV Zoo), MobileFace's
is measured (40 photos of 8 people: the same person .57 and more, others .28 and less), that of the two ArcFace
networks is the value usual for them and not measured here.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from magicid.core.interfaces import Frames
from magicid.core.late import Late
from magicid.perception.model_files import open_network

_WHAT = "a face recogniser"
Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # one crop (1, 3, 112, 112) -> (1, D)


@dataclass(frozen=True)
class Reading:
    """How a network takes a crop, and how sure it is."""

    same_person: float  # cosine
    mean: float = 0.0  # the network sees (pixel - mean) / scale, RGB
    scale: float = 1.0


RECOGNISERS = {  # those with mean 0 normalise inside
    "sface": Reading(0.363),
    "auraface": Reading(0.3, 127.5, 127.5),
    "mobileface": Reading(0.40),
    "insightface": Reading(0.3, 127.5, 127.5),
}


class Recogniser:
    """A `FaceEncoder`; its file is looked for by `find` and read at first use."""

    crop_size = 112

    def __init__(self, name: str, find: Callable[[], Path]) -> None:
        self.name, self.path = name, Late(find)
        self._reading = RECOGNISERS[name]
        self.same_person = self._reading.same_person
        self._forward = Late(lambda: network(self.path()))

    def embed(self, crops: Frames) -> NDArray[np.float32]:
        """Unit vectors (N, D) of aligned crops (N, 112, 112, 3)."""
        if not len(crops):
            return self.embed(np.zeros((1, self.crop_size, self.crop_size, 3), np.uint8))[:0]
        blobs = (crops.astype(np.float32).transpose(0, 3, 1, 2) - self._reading.mean) / self._reading.scale
        found = np.concatenate([self._forward()(np.ascontiguousarray(blob[None])) for blob in blobs])
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), np.float32)


def network(path: Path) -> Forward:
    """An onnx network as a function: by onnxruntime where it is installed (`magicid[faces]`, faster), else by OpenCV."""
    try:
        import onnxruntime
    except ImportError:
        return _by_opencv(path)
    there = set(onnxruntime.get_available_providers())
    wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in there]
    session = open_network(path, _WHAT, lambda: onnxruntime.InferenceSession(str(path), providers=wanted))
    name = session.get_inputs()[0].name
    return lambda blob: np.asarray(session.run(None, {name: blob})[0], np.float32)


def _by_opencv(path: Path) -> Forward:
    net, turn = open_network(path, _WHAT, lambda: cv2.dnn.readNet(str(path))), threading.Lock()

    def forward(blob: NDArray[np.float32]) -> NDArray[np.float32]:
        with turn:  # a net holds its input
            net.setInput(blob)
            return np.array(net.forward(), np.float32).reshape(1, -1)

    return forward
