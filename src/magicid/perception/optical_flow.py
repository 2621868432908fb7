"""Dense optical flow, where it can be trusted, and what of it is the camera's.

Flow is OpenCV's DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), medium preset, or RAFT
(raft.py): one of them throughout a run, since their numbers do not compare. A flow `(H, W, 2)` float32 holds x, y in
pixels: what is at p in the first frame is at p + flow[p] in the second.
"""

from collections.abc import Mapping
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from magicid.core.interfaces import FlowEstimator

Flow = NDArray[np.float32]  # (H, W, 2) x, y in pixels
Mask = NDArray[np.bool_]  # (H, W)

SHORT_SIDE = (128, 256)  # pixels: frames are worked on between these, whatever their own size
_GRID = 4  # pixels between the points that the background's motion is fitted to
_INLIER = 0.5  # pixels that a point of the background may stray from the fit
_REST, _RESTING = 0.25, 0.1  # pixels that a point at rest may move; share of points at rest that a still camera shows
_FEWEST = 12  # points that a fit needs
_TEXTURE = 6.0  # grey levels that a neighbourhood must span for its flow to mean something


def working_scale(height: int, width: int) -> float:
    """The factor that brings a frame's short side into `SHORT_SIDE`."""
    short = min(height, width)
    return min(max(short, SHORT_SIDE[0]), SHORT_SIDE[1]) / short


def working_frame(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame (H, W, 3), its short side brought into `SHORT_SIDE`."""
    scale = working_scale(*frame.shape[:2])
    if scale == 1:
        return frame
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return cast(NDArray[np.uint8], cv2.resize(frame, size, interpolation=how))


def grey(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The RGB frame (H, W, 3) in grey, (H, W)."""
    return cast(NDArray[np.uint8], cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


def dis(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> Flow:
    """Flow from a to b, both (H, W, 3) RGB, at their own size."""
    found = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey(a), grey(b), None)  # type: ignore[call-overload]
    return cast(Flow, found)


def estimator(name: str, weights: str = "") -> FlowEstimator:
    """The one of that name, "dis" or "raft"; `weights` are RAFT's."""
    if name == "dis":
        return dis
    from magicid.perception.raft import Raft

    return Raft(weights)


def estimator_of(settings: Mapping[str, Any]) -> FlowEstimator:
    """The one that a run's settings name, for its rewards and its report alike."""
    return estimator(settings.get("score.flow", "dis"), settings.get("score.flow_weights", ""))


def flow(a: NDArray[np.uint8], b: NDArray[np.uint8], estimate: FlowEstimator = dis) -> Flow:
    """Flow from a to b, both (H, W, 3) RGB, in their own pixels; worked out at a short side within `SHORT_SIDE`."""
    height, width = a.shape[:2]
    found = estimate(working_frame(a), working_frame(b))
    if found.shape[:2] == (height, width):
        return found
    share = np.array([width / found.shape[1], height / found.shape[0]], np.float32)
    return cast(Flow, cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA) * share)


def consistent(forward: Flow, backward: Flow) -> Mask:
    """Pixels whose way back ends where they began: |f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5, in pixels of the flow.

    The test is Sundaram et al.'s (ECCV 2010), with b read where f leads; what leaves the picture fails.
    """
    height, width = forward.shape[:2]
    x = forward[..., 0] + np.arange(width, dtype=np.float32)
    y = forward[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    back = cv2.remap(backward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    gap = np.square(forward + back).sum(-1)
    size = np.square(forward).sum(-1) + np.square(back).sum(-1)
    return cast(Mask, inside & (gap < 0.01 * size + 0.5))


def background_motion(flow: Flow, background: Mask) -> NDArray[np.float64] | None:
    """The similarity (2, 3) that the background moves by, p -> A p + t in pixels; None where it cannot be fitted.

    RANSAC on a grid of the mask's points, so that what moves by itself is left out; the same input always gives the
    same answer. Where a tenth of the points rest, the camera does, whatever crosses the rest of the picture (the view
    from a train), since a camera that moves leaves nothing at rest. Keep pixels without texture out of the mask: they
    seem to rest.
    """
    y, x = np.nonzero(background[::_GRID, ::_GRID])
    if len(x) < _FEWEST:
        return None
    shift = flow[::_GRID, ::_GRID][y, x]
    if (np.linalg.norm(shift, axis=-1) < _REST).mean() > _RESTING:
        return np.eye(2, 3)
    points = np.stack([x, y], -1).astype(np.float32) * _GRID
    cv2.setRNGSeed(0)
    affine, _ = cv2.estimateAffinePartial2D(
        points, points + shift, method=cv2.RANSAC, ransacReprojThreshold=_INLIER, maxIters=300
    )
    return cast(NDArray[np.float64] | None, affine)


def residual_flow(flow: Flow, affine: NDArray[np.float64]) -> Flow:
    """The flow less the similarity's: motion as seen by a camera that follows the background, in pixels."""
    height, width = flow.shape[:2]
    x, y = np.arange(width)[None, :, None], np.arange(height)[:, None, None]
    still = affine - np.eye(2, 3)
    return cast(Flow, (flow - (x * still[:, 0] + y * still[:, 1] + still[:, 2])).astype(np.float32))


def against_background(
    a: NDArray[np.uint8], b: NDArray[np.uint8], background: Mask, estimate: FlowEstimator = dis
) -> tuple[Flow, Mask, Flow] | None:
    """Flow from a to b, both (H, W, 3), where it can be trusted, and what of it is not the camera's.

    None where the camera's motion cannot be found. It is that of the background with texture; a plain wall behind the
    person has none: its flow, mostly none, must do then.
    """
    forward = estimate(a, b)
    trusted = consistent(forward, estimate(b, a))
    textured = cv2.morphologyEx(grey(a), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > _TEXTURE
    affine = background_motion(forward, background & trusted & textured)
    if affine is None:
        affine = background_motion(forward, background & trusted)
    return None if affine is None else (forward, trusted, residual_flow(forward, affine))
