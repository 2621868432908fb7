"""Clips and portraits of the drawn world, with their truth: landmarks and boxes, which judges learn from, and masks."""

from cmath import rect
from dataclasses import dataclass
from math import pi, radians

import cv2
import numpy as np
from numpy.typing import NDArray

from magicid.avatar.actions import Pose, poses
from magicid.avatar.canvas import Canvas
from magicid.avatar.head import Head
from magicid.avatar.identity import Identity
from magicid.avatar.outfits import OUTFIT_LOOKS, Outfit, draw_body
from magicid.avatar.scenes import BACKDROPS, MARGIN, paint_backdrop
from magicid.avatar.truth import SCENES, Truth, pick

_UNIT = 0.2  # half a head height at scale 1, in frame sizes
_HOME = 0.5 + 0.42j  # the head's centre at rest, in frame sizes
_HIPS = 3.2j  # what the body leans about, in half head heights
_NECK = 0.8j  # what the head rolls about
_EVERYDAY = ("suit", "hoodie", "striped", "dress", "scientist", "raincoat")


@dataclass(frozen=True)
class Clip:
    """A moving picture of one person; pixel coordinates count from the picture's upper left corner."""

    frames: NDArray[np.uint8]  # (T, H, W, 3) RGB
    landmarks: NDArray[np.float32]  # (T, 5, 2) x, y in pixels: left eye, right eye, nose tip, left, right mouth corner
    boxes: NDArray[np.float32]  # (T, 4) x0, y0, x1, y1 of the face from crown to chin, in pixels
    masks: NDArray[np.bool_]  # (T, H, W) the person's pixels


@dataclass(frozen=True)
class Photo:
    """A portrait; the fields are a clip's, without the time axis."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    landmarks: NDArray[np.float32]  # (5, 2)
    box: NDArray[np.float32]  # (4,)
    mask: NDArray[np.bool_]  # (H, W)


def camera_path(camera: str, rng: np.random.Generator, frames: int, fps: float) -> list[tuple[float, complex]]:
    """Zoom factor and shift (frame sizes) of each frame, both about the picture's centre."""
    way, *phases = rng.random(5).tolist()
    progress = np.linspace(-1, 1, frames)
    zoom, shift = np.ones(frames), np.zeros(frames, np.complex128)
    if camera == "pan":
        shift += (0.1 if way < 0.5 else -0.1) * progress
    elif camera == "zoom":
        zoom += 0.11 * (1 + progress)
    elif camera == "handheld":
        s = np.arange(frames) / fps
        x, y = (np.sin(2 * pi * (f * s + a)) + 0.6 * np.sin(2 * pi * (2.3 * f * s + b)) for f, a, b in
                ((0.8, phases[0], phases[1]), (1.0, phases[2], phases[3])))  # fmt: skip
        shift += 0.018 * (x + 1j * y)
    return list(zip(zoom.tolist(), shift.tolist(), strict=True))


def render_clip(identity: Identity, truth: Truth, seed: int, frames: int = 17, size: int = 64, fps: float = 8.0) -> Clip:
    """Draw a clip; the same arguments always give the same pixels."""
    rng = np.random.default_rng([seed, 0xC1])
    path = camera_path(truth.camera, rng, frames, fps)
    return _draw(identity, truth, rng, poses(truth, seed, frames, fps), path, size, fps)


def render_photo(identity: Identity, seed: int, size: int = 256) -> Photo:
    """Draw a portrait with everyday clothes, a random scene, head pose, expression, light and framing."""
    rng = np.random.default_rng([seed, 0xF0])
    yaw, pitch, roll, x, y = (rng.uniform(-1, 1, 5) * (25, 15, 10, 0.04, 0.03)).tolist()
    smile, opening, zoom, light, warmth = rng.random(5).tolist()
    pose = Pose(x=x, y=y, yaw=yaw, pitch=pitch, roll=roll, smile=1.2 * smile - 0.2, mouth_open=max(0.0, opening - 0.5))
    truth = Truth(pick(rng, SCENES), pick(rng, _EVERYDAY), "turns")
    clip = _draw(identity, truth, rng, [pose], [(1 + 0.3 * zoom, 0j)], size, 8.0)
    gain = (0.88 + 0.24 * light) * np.array([1 + 0.1 * (warmth - 0.5), 1, 1 - 0.1 * (warmth - 0.5)])
    image = np.clip(clip.frames[0] * gain, 0, 255).astype(np.uint8)
    return Photo(image, clip.landmarks[0], clip.boxes[0], clip.masks[0])


def _draw(
    identity: Identity, truth: Truth, rng: np.random.Generator, moments: list[Pose], path: list[tuple[float, complex]],
    size: int, fps: float,
) -> Clip:  # fmt: skip
    side, count = 2 * size, len(moments)
    backdrop = paint_backdrop(truth.scene, side, rng.uniform(0.94, 1.06, 3))
    phases, moves = rng.random(8).tolist(), BACKDROPS[truth.scene][1]
    head, outfit = Head(identity, moments), OUTFIT_LOOKS[truth.outfit]
    frames, masks = np.empty((count, size, size, 3), np.uint8), np.empty((count, size, size), np.bool_)
    landmarks, boxes = np.empty((count, 5, 2), np.float32), np.empty((count, 4), np.float32)
    for t, (pose, (zoom, shift)) in enumerate(zip(moments, path, strict=True)):
        origin = (0.5 + 0.5j) * (1 - zoom) + shift  # scene to frame: p * zoom + origin
        image = _look(backdrop, side, zoom, origin)
        world = Canvas(image, side * zoom, side * origin - (0.5 + 0.5j), 0)
        moves(world, t / fps, phases)
        spots, contour = _person(Canvas(image, side, -(0.5 + 0.5j), 255), head, outfit, pose, t, zoom, origin)
        picture = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        cv2.cvtColor(picture, cv2.COLOR_RGBA2RGB, frames[t])
        np.greater(picture[..., 3], 127, out=masks[t])
        landmarks[t] = (spots * size).view(np.float64).reshape(5, 2)
        x, y = contour.real * size, contour.imag * size
        boxes[t] = x.min(), y.min(), x.max(), y.max()
    return Clip(frames, landmarks, boxes, masks)


def _look(backdrop: NDArray[np.uint8], side: int, zoom: float, origin: complex) -> NDArray[np.uint8]:
    """The frame's part of the backdrop, (side, side, 4), as the camera sees it."""
    edge = round(MARGIN * side)
    if zoom == 1 and origin == 0:
        return backdrop[edge : edge + side, edge : edge + side].copy()
    offset = origin * side - complex(edge, edge) * zoom + (0.5 + 0.5j) * (zoom - 1)
    affine = np.array([[zoom, 0, offset.real], [0, zoom, offset.imag]])
    return np.asarray(cv2.warpAffine(backdrop, affine, (side, side)), np.uint8)


def _person(
    frame: Canvas, head: Head, outfit: Outfit, pose: Pose, t: int, zoom: float, origin: complex
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Draw the person; gives landmarks (5,) and the face's contour (40,) in frame sizes."""
    unit = _UNIT * pose.scale * zoom
    lean, roll = rect(1, radians(pose.lean)), rect(1, radians(pose.roll))
    offset = (_HIPS - _HIPS * lean + (_NECK - _NECK * roll) * lean) * unit  # of the head's centre, by lean and roll
    at = (_HOME + complex(pose.x, pose.y)) * zoom + origin + offset
    at = complex(min(max(at.real, 1.02 * unit), 1 - 1.02 * unit), min(max(at.imag, 1.12 * unit), 1 - 1.15 * unit))
    body = frame.frame(unit * lean, at - offset + _HIPS * (1 - lean) * unit)
    skull = body.frame(roll, _NECK * (1 - roll))
    head.draw_back(skull, t)
    draw_body(body, outfit, head.skin, pose)
    head.draw(skull, t, pose)
    if outfit.gear:
        outfit.gear(skull.frame(1, complex(0.1 * head.side[t], 0.1 * head.down[t])), head.w)
    turn = unit * lean * roll
    return head.landmarks(t, pose) * turn + at, head.contours[t] * turn + at
