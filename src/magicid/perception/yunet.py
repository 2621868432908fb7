"""Real faces: a `FaceDetector` over YuNet that counts a face only where a second network finds it too.

YuNet alone takes dogs for people. A net of OpenCV's holds its input, so threads take turns.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from magicid.core.interfaces import Face, FaceDetector, Frames
from magicid.perception.face import overlap
from magicid.perception.model_files import open_network

Box = tuple[float, float, float, float]  # x0, y0, x1, y1
Finder = Callable[[NDArray[np.uint8]], list[Box]]  # the faces of one picture

LEAST_SCORE = 0.88  # 40 photos of 8 people .935 and more, p5 .938; dogs .82
LEAST_AGREEMENT = 0.5  # intersection over union; the same 40 photos .82 and more
_SIDE = 640  # pixels of the longer side that YuNet sees: faces of 10 to 300 pixels are what it was trained for
_GREY = 127
_MARGIN = 0.5  # of a picture's sides: the grey around it
_WHAT = "a face detector"


class YuNet:
    """A `FaceDetector` over OpenCV's `FaceDetectorYN`."""

    def __init__(self, path: Path, least_score: float = LEAST_SCORE) -> None:
        self.net = open_network(path, _WHAT, lambda: cv2.FaceDetectorYN.create(str(path), "", (_SIDE, _SIDE), least_score, 0.3))
        self.least_score, self._turn = least_score, threading.Lock()

    def detect(self, frames: Frames) -> list[list[Face]]:
        """The faces of each frame, best first."""
        return [self._faces(frame) for frame in frames]

    def _faces(self, frame: NDArray[np.uint8]) -> list[Face]:
        height, width = frame.shape[:2]
        factor = min(1.0, _SIDE / max(height, width))
        small = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else frame
        with self._turn:
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

    height, width = 480, 640

    def __init__(self, path: Path, least_score: float = 0.7) -> None:
        self.net = open_network(path, _WHAT, lambda: cv2.dnn.readNet(str(path)))
        self.least_score, self._turn = least_score, threading.Lock()

    def __call__(self, frame: NDArray[np.uint8]) -> list[Box]:
        """The boxes of one picture; several may be of one face."""
        rows, columns = frame.shape[:2]
        factor = min(self.height / rows, self.width / columns) / (1 + 2 * _MARGIN)
        h, w = max(1, round(rows * factor)), max(1, round(columns * factor))
        top, left = (self.height - h) // 2, (self.width - w) // 2
        canvas = np.full((self.height, self.width, 3), _GREY, np.uint8)
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        canvas[top : top + h, left : left + w] = cv2.resize(frame, (w, h), interpolation=how)
        with self._turn:
            self.net.setInput(cv2.dnn.blobFromImage(canvas, 1 / 128, mean=(_GREY, _GREY, _GREY)))
            scores, places = self.net.forward(("scores", "boxes"))
        boxes = places[0][scores[0, :, 1] >= self.least_score] * np.tile((self.width, self.height), 2) - np.tile((left, top), 2)
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in (boxes * np.tile((columns / w, rows / h), 2)).tolist()]


class Agreed:
    """The faces of one detector that a second finds too, where their boxes overlap by `LEAST_AGREEMENT` or more."""

    def __init__(self, first: FaceDetector, second: Finder) -> None:
        self.first, self.second = first, second

    def detect(self, frames: Frames) -> list[list[Face]]:
        """The faces of each frame, best first."""
        return [self._agreed(faces, frame) for faces, frame in zip(self.first.detect(frames), frames, strict=True)]

    def _agreed(self, faces: list[Face], frame: NDArray[np.uint8]) -> list[Face]:
        boxes = self.second(frame) if faces else []
        return [face for face in faces if any(overlap(face.box, box) >= LEAST_AGREEMENT for box in boxes)]


class Padded:
    """A detector that looks again, with grey around it, at a picture in which it found nobody: a face may fill it."""

    def __init__(self, detector: FaceDetector) -> None:
        self.detector = detector

    def detect(self, frames: Frames) -> list[list[Face]]:
        """The faces of each frame, best first."""
        return [faces or self._again(frame) for faces, frame in zip(self.detector.detect(frames), frames, strict=True)]

    def _again(self, frame: NDArray[np.uint8]) -> list[Face]:
        top, left = (round(_MARGIN * side) for side in frame.shape[:2])
        wide = np.pad(frame, ((top, top), (left, left), (0, 0)), constant_values=_GREY)
        back = np.array([left, top], np.float32)
        return [
            replace(face, box=tuple(np.subtract(face.box, (left, top, left, top)).tolist()), landmarks=face.landmarks - back)
            for face in self.detector.detect(wide[None])[0]
        ]


def real_faces(yunet: Path, rfb: Path | None) -> FaceDetector:
    """The detector of real faces, from the two networks' onnx files; without the second, YuNet's word alone counts."""
    first = YuNet(yunet)
    return Padded(Agreed(first, Rfb(rfb)) if rfb else first)
