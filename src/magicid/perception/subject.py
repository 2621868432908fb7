"""Which pixels are the person's, from head boxes and colour: enough to say whose a motion is, without a segmenter.

Lengths are in head heights h, the height of the box from crown to chin, so that yaw does not change them.
"""

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

Head = tuple[float, float, float, float]  # x0, y0, x1, y1 from crown to chin, in pixels
Masks = NDArray[np.bool_]  # (T, H, W)

LEAST_BACKGROUND = 0.15  # share of the picture; with less, the camera's motion cannot be told from the person's
_BITS = 4  # per colour channel
_EDGE = 0.05  # head heights around a person in which flow may be either's


def subject_masks(frames: NDArray[np.uint8], heads: Sequence[Head]) -> tuple[Masks, Masks]:
    """Masks (T, H, W) of the subject and of the background in frames (T, H, W, 3), one head box a frame, in pixels.

    The face and the chest below it are the person's. What is doubtful around them, up to the arms' reach, is when its
    colour is more frequent on the face and chest than outside of head and body, both counted over the whole clip.
    The background is outside of head and body, dilated, and not of the person's colours within the arms' reach. In a
    close-up, where head and body leave too little, it is all that is not the subject's or at its edge.
    """
    height, width = frames.shape[1:3]
    zones = [np.stack(z) for z in zip(*(_zones(head, height, width) for head in heads), strict=True)]
    sure, body, grown, reach = zones
    r, g, b = np.moveaxis(frames >> (8 - _BITS), -1, 0).astype(np.intp)
    colour = (r << 2 * _BITS) + (g << _BITS) + b
    bins = 1 << 3 * _BITS
    person, world = (np.bincount(colour[m], minlength=bins) / max(1, m.sum()) for m in (sure, ~grown))
    doubtful = (person > world)[colour] & (body | reach)
    subject, background = sure | doubtful, ~grown & ~doubtful
    if background.mean() < LEAST_BACKGROUND:
        side = 2 * round(_EDGE * float(np.median([head[3] - head[1] for head in heads]))) + 1
        around = np.ones((side, side), np.uint8)
        background |= np.stack([cv2.dilate(mask.astype(np.uint8), around) == 0 for mask in subject])
    return subject, background


def head_masks(frames: NDArray[np.uint8], heads: Sequence[Head]) -> Masks:
    """Masks (T, H, W) of the heads with hair, hat and neck in frames (T, H, W, 3), one head box a frame."""
    masks = []
    for x0, y0, x1, y1 in heads:
        h = y1 - y0
        masks.append(_boxes(*frames.shape[1:3], (x0 - 0.25 * h, y0 - 0.35 * h, x1 + 0.25 * h, y1 + 0.2 * h)))
    return np.stack(masks)


def _boxes(height: int, width: int, *sides: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """A mask (H, W) of boxes of left, top, right and bottom."""
    mask = np.zeros((height, width), np.bool_)
    for left, top, right, bottom in sides:
        rows, columns = np.clip(((top, bottom), (left, right)), 0, ((height,), (width,))).round().astype(int)
        mask[slice(*rows), slice(*columns)] = True
    return mask


def _zones(head: Head, height: int, width: int) -> tuple[NDArray[np.bool_], ...]:
    """Masks (H, W): surely the person's; head and body; the same dilated by 0.15 h; the arms' reach."""
    x0, y0, x1, y1 = head
    h, middle = y1 - y0, (x0 + x1) / 2
    boxes = partial(_boxes, height, width)

    def figure(more: float) -> NDArray[np.bool_]:  # hair and hats; shoulders, and all below them
        return boxes(
            (x0 - 0.25 * h - more, y0 - 0.35 * h - more, x1 + 0.25 * h + more, y1),
            (middle - 1.1 * h - more, y1 - more, middle + 1.1 * h + more, y1 + 6.5 * h),
        )

    sure = boxes((x0 + 0.1 * h, y0, x1 - 0.1 * h, y1), (middle - 0.5 * h, y1 + 0.3 * h, middle + 0.5 * h, y1 + 2 * h))
    reach = boxes((middle - 1.7 * h, y0 - 0.35 * h, middle + 1.7 * h, y1 + 3 * h))
    return sure, figure(0), figure(0.15 * h), reach
