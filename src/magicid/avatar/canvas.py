"""Antialiased flat shapes on an RGBA picture, in any similarity frame; points are complex numbers x + iy, y down."""

from cmath import phase
from collections.abc import Sequence
from math import degrees

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Points = NDArray[np.complex128] | Sequence[complex]

_SHIFT = 4  # cv2's fixed-point bits
_ONE = 1 << _SHIFT


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Blend two colours; share 0 gives the first, 1 the second."""
    r, g, b = (p + (q - p) * share for p, q in zip(first, second, strict=True))
    return r, g, b


def shade(colour: Colour, gain: float) -> Colour:
    """Scale a colour's brightness, kept within 0..255."""
    r, g, b = (min(255.0, c * gain) for c in colour)
    return r, g, b


class Canvas:
    """A frame of reference (point p lands on pixel p * turn + origin) over an (H, W, 4) uint8 picture.

    `alpha` is what shapes write into the fourth plane, so that the person's silhouette comes with the drawing.
    """

    def __init__(self, image: NDArray[np.uint8], turn: complex, origin: complex, alpha: int) -> None:
        self.image, self.turn, self.origin, self.alpha = image, turn, origin, alpha

    def frame(self, turn: complex, origin: complex) -> "Canvas":
        """A child frame, whose point p is this frame's p * turn + origin."""
        return Canvas(self.image, self.turn * turn, self.origin + self.turn * origin, self.alpha)

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        placed = np.asarray(points, np.complex128) * (self.turn * _ONE) + self.origin * _ONE
        return placed.view(np.float64).reshape(-1, 2).astype(np.int32)

    def poly(self, points: Points, colour: Colour) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self.image, [self._fixed(points)], (*colour, self.alpha), cv2.LINE_AA, _SHIFT)

    def blob(self, centre: complex, rx: float, ry: float, colour: Colour, tilt: complex = 1) -> None:
        """Fill an ellipse with half axes rx, ry, turned by the unit number `tilt`."""
        at, scale = (centre * self.turn + self.origin) * _ONE, abs(self.turn) * _ONE
        place, axes, angle = (int(at.real), int(at.imag)), (int(rx * scale), int(ry * scale)), phase(self.turn * tilt)
        ink = (*colour, self.alpha)
        cv2.ellipse(self.image, place, axes, degrees(angle), 0, 360, ink, -1, cv2.LINE_AA, _SHIFT)

    def disc(self, centre: complex, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        at = (centre * self.turn + self.origin) * _ONE
        size = int(radius * abs(self.turn) * _ONE)
        place = int(at.real), int(at.imag)
        cv2.circle(self.image, place, size, (*colour, self.alpha), -1, cv2.LINE_AA, _SHIFT)

    def line(self, points: Points, width: float, colour: Colour) -> None:
        """Stroke a polyline with round ends, `width` in this frame's units."""
        thick = max(1, round(width * abs(self.turn)))
        cv2.polylines(self.image, [self._fixed(points)], False, (*colour, self.alpha), thick, cv2.LINE_AA, _SHIFT)

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """Fill a rectangle."""
        self.poly((complex(x0, y0), complex(x1, y0), complex(x1, y1), complex(x0, y1)), colour)
