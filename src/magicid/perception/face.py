"""Faces in frames: what every detector and encoder shares (align, embed); the contracts are in core/interfaces.py."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from magicid.core.interfaces import Face, FaceDetector, FaceEncoder, Observation
from magicid.core.records import Photo
from magicid.core.run import Run
from magicid.media.photo import read_photo

# Left eye, right eye, nose tip, left and right mouth corner of an aligned crop, in crop sizes: ArcFace's at 112 pixels
TEMPLATE = np.array([(38.29, 51.70), (73.53, 51.50), (56.03, 71.74), (41.55, 92.37), (70.73, 92.20)]) / 112
# The same five points in space, seen from the front by a person who looks straight ahead: the template's faces look up by as
# much as its nose is too high, 0.037 (median of 40 photos and of 60 drawn people). The depth of the nose, 22 mm where the
# eyes are 63 mm apart, is the one at which drawn heads turned by 30, 45, 60, 75 degrees are found to be turned by 29, 43, 58, 74.
SOLID = np.column_stack([TEMPLATE, np.zeros(5)]) + np.array([(0, 0, 0), (0, 0, 0), (0, 0.037, 0.11), (0, 0, 0), (0, 0, 0)])
LEAST_FACE, MOST_YAW = 48 / 112, 70.0  # height in crop sizes, degrees: beyond them nobody can be told


def similarity_warp(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The (2, 3) rotation, scale and shift that takes points (K, 2) closest to others (Umeyama 1991, in the plane)."""
    a, b = (points.astype(np.float64) @ (1, 1j) for points in (source, target))
    turn = np.vdot(a - a.mean(), b - b.mean()) / max(np.vdot(a - a.mean(), a - a.mean()).real, 1e-12)
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align(frame: NDArray[np.uint8], landmarks: NDArray[np.floating], size: int) -> NDArray[np.uint8]:
    """The (size, size, 3) crop in which the landmarks lie on the template as nearly as a similarity can bring them.

    Outside of the picture it is black, as in the crops that recognisers of real faces learnt from: with the edge drawn out
    instead, strangers grew alike (the likest of 40 photos .46, with black .28). A warp samples points, so a face more than
    twice too large is shrunk by area first.
    """
    warp = similarity_warp(landmarks, TEMPLATE * size)
    factor = 2 * float(np.hypot(warp[0, 0], warp[1, 0]))
    if factor < 1:
        frame = np.asarray(cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
        warp = similarity_warp(landmarks * factor, TEMPLATE * size)
    return np.asarray(cv2.warpAffine(frame, warp, (size, size)), np.uint8)


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of an aligned face, at the size that its encoder sees; the picture's edge does not count."""
    detail = cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F)
    inside = cv2.erode(crop.any(-1).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return float(detail[inside].var()) if inside.any() else 0.0


class Pose(NamedTuple):
    """How a head is turned, in degrees."""

    yaw: float  # the nose to the picture's right
    pitch: float  # the nose down
    roll: float  # clockwise


def pose(landmarks: NDArray[np.floating]) -> Pose:
    """The pose of five landmarks (5, 2): the rotation nearest to the affine map that takes `SOLID` to them.

    Scaled orthographic projection (DeMenthon and Davis 1995), so that neither size nor a face's own proportions count. Yaw is
    within 7 degrees for two of three drawn people; pitch is as rough as noses differ in length: 20 degrees.
    """
    solid = SOLID - SOLID.mean(0)
    affine = np.linalg.lstsq(solid, landmarks.astype(np.float64) - landmarks.mean(0), rcond=None)[0].T
    u, _, vt = np.linalg.svd(affine, full_matrices=False)
    turn = u @ vt  # (2, 3)
    roll = np.arctan2(turn[1, 0], turn[0, 0])
    (x, _, across), (_, y, down) = np.array([(np.cos(roll), np.sin(roll)), (-np.sin(roll), np.cos(roll))]) @ turn
    return Pose(*np.degrees([np.arctan2(across, x), np.arctan2(down, y), roll]).tolist())


def judgeable(face: Face, crop_size: int) -> bool:
    """Whether an encoder of such crops can tell who it is: 48 of ArcFace's 112 pixels, turned by less than 70 degrees."""
    return face.box[3] - face.box[1] >= LEAST_FACE * crop_size and abs(pose(face.landmarks).yaw) < MOST_YAW


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    total = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / total if total > 0 else 0.0


def embed_faces(video: Observation, encoder: FaceEncoder) -> NDArray[np.float32]:
    """Embeddings (T, D) of the tracked person; rows of nan where no face was found."""
    seen = [t for t, face in enumerate(video.faces) if face is not None]
    side = encoder.crop_size
    crops = [align(video.frames[t], face.landmarks, side) for t, face in enumerate(video.faces) if face is not None]
    found = encoder.embed(np.stack(crops) if crops else np.zeros((0, side, side, 3), np.uint8))
    embeddings = np.full((len(video.frames), found.shape[1]), np.nan, np.float32)
    embeddings[seen] = found
    return embeddings


def reference_faces(images: Sequence[NDArray[np.uint8]], detector: FaceDetector, encoder: FaceEncoder) -> NDArray[np.float32]:
    """Embeddings (R, D) of the best face of each photo (H, W, 3)."""
    faces = [detector.detect(image[None])[0][0] for image in images]
    crops = [align(image, face.landmarks, encoder.crop_size) for image, face in zip(images, faces, strict=True)]
    return encoder.embed(np.stack(crops))


def references_of(run: Run, photos: Sequence[Photo], encoder: FaceEncoder) -> NDArray[np.float32]:
    """The same of photos of a run, whose detector finds the faces."""
    return reference_faces([read_photo(run.file(photo.image)) for photo in photos], run.judges.detector, encoder)
