"""How much the person moves, whatever the camera does; and the field's top 5% flow beside it.

docs/paper.md says what is ours in it. Left out: following pixels through the clip (neighbouring pairs are compared at the
same place) and a segmenter (subject.py tells the person by head box and colour).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from magicid.core.errors import UsageError
from magicid.core.interfaces import FlowEstimator
from magicid.perception.optical_flow import (
    Flow,
    Mask,
    against_background,
    dis,
    flow,
    working_frame,
    working_scale,
)
from magicid.perception.subject import LEAST_BACKGROUND, Head, Masks, subject_masks

RATE = 8.0  # Hz: the time step that everything is measured at
SUBJECT_HEADS = 7.5  # head heights in a body length, the artist's canon of an adult
UPPER = 0.1  # share of the subject's pixels, the fastest, that count
_SMOOTH = 0.15  # head heights over which motion is averaged before its direction is judged


@dataclass(frozen=True)
class MotionMeasure:
    """What was found."""

    state: Literal["measured", "failed", "unmeasurable"]  # failed: no person; unmeasurable: too little to see
    value: float  # subject heights per second; failed: 0, unmeasurable: nan
    valid: float  # share of the subject's pixels, over all pairs, whose flow can be trusted; 0 where no head is seen


@dataclass(frozen=True)
class _Pair:
    motion: Flow  # residual, smoothed, 0 where it is not valid
    valid: Mask
    subject: Mask


def top_flow(frames: NDArray[np.uint8], fps: float, estimate: FlowEstimator = dis) -> float:
    """Mean of the top 5% flow magnitudes over pairs of frames (T, H, W, 3) at `RATE`, in pixels (VBench's Dynamic)."""
    tops = []
    for a, b in pairwise(frames[at_rate(len(frames), fps)[0]]):
        sizes = np.sort(np.linalg.norm(flow(a, b, estimate), axis=-1), axis=None)
        tops.append(float(sizes[-max(1, round(0.05 * sizes.size)) :].mean()))
    return float(np.mean(tops))


def at_rate(count: int, fps: float) -> tuple[NDArray[np.intp], float]:
    """Indices of the frames nearest to steps of 1 / `RATE` seconds, and the rate; slower videos stay as they are."""
    if fps <= RATE:
        return np.arange(count), fps
    steps = np.arange(int((count - 1) * RATE / fps + 1e-6) + 1)
    return np.floor(steps * fps / RATE + 0.5).astype(np.intp), RATE


def refuse_short(setting: str, frames: int, fps: float) -> None:
    """`UsageError` for clips without two neighbouring pairs of frames at `RATE`: their motion could not be told from noise."""
    if len(at_rate(frames, fps)[0]) < 3:
        least = math.ceil(2 * max(1.0, fps / RATE)) + 1
        raise UsageError(f"{setting} {frames}: of {fps:g} a second, motion needs {least} or more; set --{setting} higher.")


def subject_motion(
    frames: NDArray[np.uint8], heads: Sequence[Head | None], fps: float, estimate: FlowEstimator = dis
) -> MotionMeasure:
    """How fast the person moves against the background in frames (T, H, W, 3), one head box or None per frame.

    Per pair of frames: flow both ways, consistent pixels, less the background's similarity, times the coherence
    (`_coherent`), then the mean of the subject's fastest tenth. The median over the subject is 0 whenever only
    the head or an arm moves, as in a nod or a wave: they are under half of its pixels. A tenth is about an arm, and
    still hundreds of pixels, so that a few wrong vectors do not set it.
    """
    if len(heads) != len(frames) or len(frames) < 2:
        raise ValueError(f"{len(frames)} frames with {len(heads)} heads; need two or more frames and a head for each.")
    index, rate = at_rate(len(frames), fps)
    found = [i for i, j in enumerate(index) if _seen(heads[j])]
    if not found:
        return MotionMeasure("failed", 0.0, 0.0)
    scale = working_scale(*frames.shape[1:3])
    near = [min(found, key=lambda j: abs(i - j)) for i in range(len(index))]
    boxes = [cast(Head, tuple(scale * v for v in cast(Head, heads[index[j]]))) for j in near]
    pictures = np.stack([working_frame(frames[i]) for i in index])
    subject, background = subject_masks(pictures, boxes)
    if background.mean() < LEAST_BACKGROUND:
        return MotionMeasure("unmeasurable", math.nan, 0.0)
    h = float(np.median([box[3] - box[1] for box in boxes]))
    return _measure(pictures, subject, background, set(found), h, rate, estimate)


def scene_motion(frames: NDArray[np.uint8], fps: float, estimate: FlowEstimator = dis) -> MotionMeasure:
    """How fast whatever moves most does, whoever it is, in picture heights per second: the same measure of no person.

    The subject is the whole picture and as high as it; the camera's motion is that of most of the picture.
    """
    index, rate = at_rate(len(frames), fps)
    pictures = np.stack([working_frame(frames[i]) for i in index])
    whole = np.ones(pictures.shape[:3], np.bool_)
    return _measure(pictures, whole, whole, set(range(len(index))), pictures.shape[1] / SUBJECT_HEADS, rate, estimate)


def _measure(
    pictures: NDArray[np.uint8],
    subject: Masks,
    background: Masks,
    found: set[int],
    h: float,
    rate: float,
    estimate: FlowEstimator,
) -> MotionMeasure:
    """The subject's speed over pairs of pictures (T, H, W, 3) in both of which it was found, in heights of 7.5 h."""
    pairs = [
        _pair(pictures[t], pictures[t + 1], subject[t], background[t], h, estimate) if {t, t + 1} <= found else None
        for t in range(len(pictures) - 1)
    ]
    valid = float(np.mean([0.0 if p is None else p.valid.sum() / max(1, p.subject.sum()) for p in pairs]))
    speeds = []
    for t, p in enumerate(pairs):
        beside = [q.motion for q in pairs[max(0, t - 1) : t + 2] if q is not None and q is not p]
        if p is not None and p.valid.any() and beside:  # alone, nothing says whether it is motion or noise
            speeds.append(_upper(p, _coherent(beside, p.motion)))
    if not speeds:
        return MotionMeasure("unmeasurable", math.nan, valid)
    return MotionMeasure("measured", float(np.mean(speeds)) * rate / (SUBJECT_HEADS * h) * valid, valid)


def _seen(head: Head | None) -> bool:
    return head is not None and bool(np.isfinite(head).all()) and head[2] > head[0] and head[3] > head[1]


def _pair(
    a: NDArray[np.uint8], b: NDArray[np.uint8], subject: Mask, background: Mask, h: float, estimate: FlowEstimator
) -> _Pair | None:
    """The subject's motion from a to b (H, W, 3); None where the background's cannot be found."""
    found = against_background(a, b, background, estimate)
    if found is None:
        return None
    _, trusted, residual = found
    valid = trusted & subject
    side = 2 * round(0.5 * _SMOOTH * h) + 1
    weight = cv2.blur(valid.astype(np.float32), (side, side)) + 1e-6
    motion = cv2.blur(residual * valid[..., None], (side, side)) / weight[..., None]
    return _Pair(cast(Flow, motion * valid[..., None]), valid, subject)


def _coherent(neighbours: list[Flow], motion: Flow) -> NDArray[np.float32]:
    """Speed (H, W) times max(0, cos) with the pair before or after, whichever agrees better.

    A turning point of a wave or a nod separates a pair from one neighbour only, so that periodic motion up to a
    quarter of the rate is kept; noise and boiling texture agree with neither.
    """
    speed = np.linalg.norm(motion, axis=-1)
    along = np.zeros_like(speed)
    for other in neighbours:
        cosine = (motion * other).sum(-1) / (speed * np.linalg.norm(other, axis=-1) + 1e-6)
        along = np.maximum(along, cosine)
    return cast(NDArray[np.float32], speed * along)


def _upper(pair: _Pair, speed: NDArray[np.float32]) -> float:
    """Mean of the fastest tenth of the valid pixels, in pixels per frame."""
    speeds = speed[pair.valid]
    count = max(1, round(UPPER * speeds.size))
    return float(np.partition(speeds, -count)[-count:].mean())
