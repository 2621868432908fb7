"""Faces in frames: what a detector and an encoder promise, and what every pair of them shares (align, track, embed)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

# Left eye, right eye, nose tip, left and right mouth corner of an aligned crop, in crop sizes: ArcFace's at 112 pixels
TEMPLATE = np.array([(38.29, 51.70), (73.53, 51.50), (56.03, 71.74), (41.55, 92.37), (70.73, 92.20)]) / 112


@dataclass(frozen=True, eq=False)  # arrays do not compare
class Face:
    """One face of one frame; pixels count from the upper left corner."""

    box: tuple[float, float, float, float]  # x0, y0, x1, y1
    score: float  # 0..1
    landmarks: NDArray[np.float32]  # (5, 2) x, y in the order of `TEMPLATE`


class FaceDetector(Protocol):
    """Finds faces."""

    def detect(self, frames: NDArray[np.uint8]) -> list[list[Face]]:
        """The faces of each of the RGB frames (T, H, W, 3), best first."""
        ...


class FaceEncoder(Protocol):
    """Tells people apart."""

    crop_size: int  # pixels

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit vectors (N, D) of aligned RGB crops (N, crop_size, crop_size, 3)."""
        ...


def similarity_warp(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The (2, 3) rotation, scale and shift that takes points (K, 2) closest to others (Umeyama 1991, in the plane)."""
    a, b = (points.astype(np.float64) @ (1, 1j) for points in (source, target))
    turn = np.vdot(a - a.mean(), b - b.mean()) / max(np.vdot(a - a.mean(), a - a.mean()).real, 1e-12)
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align(frame: NDArray[np.uint8], landmarks: NDArray[np.floating], size: int) -> NDArray[np.uint8]:
    """The (size, size, 3) crop in which the landmarks lie on the template as nearly as a similarity can bring them."""
    warp = similarity_warp(landmarks, TEMPLATE * size)
    return np.asarray(cv2.warpAffine(frame, warp, (size, size), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / total if total > 0 else 0.0


def track(detections: list[list[Face]], least_overlap: float = 0.3) -> list[Face | None]:
    """Follow one person from the best-scoring face both ways: in each frame the face that overlaps the last one most.

    A frame without such a face has None, and the search goes on from where the person was last seen.
    """
    faces = [(face.score, t) for t, frame in enumerate(detections) for face in frame]
    path: list[Face | None] = [None] * len(detections)
    if not faces:
        return path
    start = max(faces)[1]
    first = max(detections[start], key=lambda face: face.score)
    path[start] = first
    for order in (range(start + 1, len(detections)), range(start - 1, -1, -1)):
        last = first
        for t in order:
            best = max(detections[t], key=lambda face: overlap(face.box, last.box), default=None)
            if best is not None and overlap(best.box, last.box) >= least_overlap:
                path[t] = last = best
    return path


def embed_video(
    frames: NDArray[np.uint8], detector: FaceDetector, encoder: FaceEncoder
) -> tuple[NDArray[np.float32], list[Face | None]]:
    """Embeddings (T, D) of the tracked person, rows of NaN where the face was not found, and the faces themselves."""
    path = track(detector.detect(frames))
    seen = [t for t, face in enumerate(path) if face is not None]
    crops = [align(frames[t], face.landmarks, encoder.crop_size) for t, face in enumerate(path) if face is not None]
    side = encoder.crop_size
    found = encoder.embed(np.stack(crops) if crops else np.zeros((0, side, side, 3), np.uint8))
    embeddings = np.full((len(frames), found.shape[1]), np.nan, np.float32)
    embeddings[seen] = found
    return embeddings, path
