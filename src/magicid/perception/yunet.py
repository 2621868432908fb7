"""Real faces: a `FaceDetector` over YuNet that counts a face only where a second network finds it too.

YuNet alone takes dogs for people. It is not in the table of judges yet: the recogniser of real faces comes first.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from magicid.core.errors import DataError
from magicid.core.interfaces import Face, FaceDetector, Frames
from magicid.perception.face import overlap

Box = tuple[float, float, float, float]  # x0, y0, x1, y1
Finder = Callable[[NDArray[np.uint8]], list[Box]]  # the faces of one picture

LEAST_SCORE = 0.88  # 40 photos of 8 people .935 and more, p5 .938; dogs .82
LEAST_AGREEMENT = 0.5  # intersection over union; the same 40 photos .82 and more
_SIDE = 640  # pixels of the longer side that YuNet sees: faces of 10 to 300 pixels are what it was trained for
_GREY = 127


class YuNet:
    """A `FaceDetector` over OpenCV's `FaceDetectorYN`."""

    def __init__(self, path: Path, least_score: float = LEAST_SCORE) -> None:
        self.net = _opened(path, lambda: cv2.FaceDetectorYN.create(str(path), "", (_SIDE, _SIDE), least_score, 0.3))
        self.least_score = least_score

    def detect(self, frames: Frames) -> list[list[Face]]:
        """The faces of each frame, best first."""
        return [self._faces(frame) for frame in frames]

    def _faces(self, frame: NDArray[np.uint8]) -> list[Face]:
        height, width = frame.shape[:2]
        factor = min(1.0, _SIDE / max(height, width))
        small = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else frame
        self.net.setInputSize((small.shape[1], small.shape[0]))
        found = self.net.detect(cv2.cvtColor(np.asarray(small), cv2.COLOR_RGB2BGR))[1]
        rows = np.zeros((0, 15)) if found is None else np.asarray(found, np.float64)
        rows[:, :14] /= np.tile((small.shape[1] / width, small.shape[0] / height), 7)
        faces = [
            Face((x, y, x + w, y + h), score, np.array(points, np.float32).reshape(5, 2))
            for x, y, w, h, *points, score in rows.tolist()
            if score >= self.least_score
        ]
        return sorted(faces, key=lambda face: -face.score)


class Rfb:
    """The boxes of Ultra-Light-Fast-Generic-Face-Detector (RFB-640), of another architecture and training than YuNet.

    The picture lies in the middle of grey: without the margin, faces that fill it are missed and dogs found.
    """

    height, width, margin = 480, 640, 0.5

    def __init__(self, path: Path, least_score: float = 0.7) -> None:
        self.net = _opened(path, lambda: cv2.dnn.readNet(str(path)))
        self.least_score = least_score

    def __call__(self, frame: NDArray[np.uint8]) -> list[Box]:
        """The boxes of one picture; several may be of one face."""
        rows, columns = frame.shape[:2]
        factor = min(self.height / rows, self.width / columns) / (1 + 2 * self.margin)
        h, w = max(1, round(rows * factor)), max(1, round(columns * factor))
        top, left = (self.height - h) // 2, (self.width - w) // 2
        canvas = np.full((self.height, self.width, 3), _GREY, np.uint8)
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        canvas[top : top + h, left : left + w] = cv2.resize(frame, (w, h), interpolation=how)
        self.net.setInput(cv2.dnn.blobFromImage(canvas, 1 / 128, mean=(_GREY, _GREY, _GREY)))
        scores, places = self.net.forward(("scores", "boxes"))
        boxes = places[0][scores[0, :, 1] >= self.least_score] * np.tile((self.width, self.height), 2) - np.tile((left, top), 2)
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in (boxes * np.tile((columns / w, rows / h), 2)).tolist()]


class Agreed:
    """The faces of one detector that a second finds too, where their boxes overlap by `least` or more."""

    def __init__(self, first: FaceDetector, second: Finder, least: float = LEAST_AGREEMENT) -> None:
        self.first, self.second, self.least = first, second, least

    def detect(self, frames: Frames) -> list[list[Face]]:
        """The faces of each frame, best first."""
        return [self._agreed(faces, frame) for faces, frame in zip(self.first.detect(frames), frames, strict=True)]

    def _agreed(self, faces: list[Face], frame: NDArray[np.uint8]) -> list[Face]:
        boxes = self.second(frame) if faces else []
        return [face for face in faces if any(overlap(face.box, box) >= self.least for box in boxes)]


def real_faces(yunet: Path, rfb: Path) -> Agreed:
    """The detector of real faces, from the two networks' onnx files."""
    return Agreed(YuNet(yunet), Rfb(rfb))


def _opened(path: Path, read: Callable[[], Any]) -> Any:
    if not path.is_file():
        raise DataError(f"{path}: no such file; a face detector is an onnx file. Name the one that holds it.")
    try:
        return read()
    except cv2.error as error:
        raise DataError(f"{path}: not a network that OpenCV reads; a face detector is an onnx file. Fetch it again.") from error
