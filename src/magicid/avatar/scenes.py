"""Where a clip takes place: a still backdrop and its own moving part, both in frame sizes with a margin around 0..1."""

from collections.abc import Callable
from math import cos, pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from magicid.avatar.canvas import Canvas, Colour, mix

MARGIN = 0.25  # how far backdrops reach beyond the frame
_LO, _HI, _SPAN = -MARGIN, 1 + MARGIN, 1 + 2 * MARGIN
_X = np.linspace(_LO, _HI, 13)
_FALL = np.array([(0.07, 0.1), (0.2, 0.55), (0.33, 0.25), (0.5, 0.8), (0.62, 0.4), (0.75, 0.05), (0.85, 0.65),
                  (0.97, 0.3), (0.14, 0.85), (0.9, 0.92)])  # fmt: skip

Phases = list[float]  # eight seeded numbers in 0..1


def _wrap(value: float) -> float:
    return _LO + (value - _LO) % _SPAN


def _gradient(c: Canvas, y0: float, y1: float, top: Colour, bottom: Colour) -> None:
    steps = 10
    for i in range(steps):
        c.box(_LO, y0 + (y1 - y0) * i / steps, _HI, _HI, mix(top, bottom, i / (steps - 1)))


def _hill(c: Canvas, y: float, height: float, waves: float, colour: Colour) -> None:
    ridge = _X + 1j * (y - height * np.sin(_X * waves * 2 * pi))
    c.poly(np.concatenate([ridge, [complex(_HI, _HI), complex(_LO, _HI)]]), colour)


def _beach(c: Canvas) -> None:
    _gradient(c, _LO, 0.45, (90, 190, 250), (190, 232, 255))
    c.disc(0.84 + 0.14j, 0.09, (255, 236, 120))
    c.box(_LO, 0.44, _HI, _HI, (28, 140, 200))
    c.box(_LO, 0.72, _HI, _HI, (246, 218, 150))


def _beach_moves(c: Canvas, s: float, p: Phases) -> None:
    for row, (y, colour) in enumerate(((0.5, (70, 180, 225)), (0.6, (120, 212, 235)), (0.7, (240, 250, 250)))):
        wave = _X + 1j * (y + 0.02 * np.sin(2 * pi * (_X * 2.5 + (0.5 + 0.15 * row) * s + p[row])))
        c.line(wave + 0.02j * sin(2 * pi * (0.4 * s + p[3])), 0.035, colour)


def _snow(c: Canvas) -> None:
    _gradient(c, _LO, 0.7, (120, 160, 205), (205, 224, 242))
    for x, y in ((0.0, 0.72), (0.2, 0.66), (0.8, 0.66), (1.0, 0.72), (-0.2, 0.68), (1.2, 0.68)):
        for k in range(3):
            top = y - 0.42 + 0.12 * k
            half = 0.07 + 0.03 * k
            c.poly([complex(x, top), complex(x + half, top + 0.2), complex(x - half, top + 0.2)], (52, 104, 106))
    _hill(c, 0.74, 0.04, 1.2, (244, 248, 255))


def _snow_moves(c: Canvas, s: float, p: Phases) -> None:
    for i, (x, y) in enumerate(_FALL.tolist()):
        at = complex(x + 0.04 * sin(2 * pi * (0.4 * s + y + p[1])), _wrap(y * _SPAN + 0.28 * s + p[0]))
        c.disc(at, 0.024 + 0.006 * (i % 3), (255, 255, 255))


def _street(c: Canvas) -> None:
    c.box(_LO, _LO, _HI, _HI, (236, 190, 160))
    walls: tuple[Colour, ...] = ((150, 100, 120), (196, 112, 96), (112, 120, 160), (172, 136, 96))
    for x, top, colour in zip((-0.25, 0.08, 0.7, 1.02), (0.1, -0.1, 0.0, 0.15), walls, strict=True):
        c.box(x, top, x + 0.31, 0.75, colour)
        for row in range(3):
            c.box(x + 0.06, top + 0.1 + 0.16 * row, x + 0.24, top + 0.19 + 0.16 * row, (250, 226, 150))
    c.box(_LO, 0.68, _HI, _HI, (92, 94, 104))
    c.line([0.9 + 0.2j, 0.9 + 0.75j], 0.025, (50, 52, 60))
    c.box(0.84, 0.08, 0.96, 0.38, (44, 46, 54))


def _street_moves(c: Canvas, s: float, p: Phases) -> None:
    lit = int(s * 1.1 + 3 * p[0]) % 3
    for i, colour in enumerate(((255, 60, 50), (255, 200, 50), (70, 230, 100))):
        c.disc(complex(0.9, 0.13 + 0.1 * i), 0.04, colour if i == lit else (76, 76, 82))
    x = _wrap(0.55 * s + p[1] * _SPAN)
    c.poly([x - 0.1 + 0.72j, x - 0.06 + 0.6j, x + 0.08 + 0.6j, x + 0.13 + 0.72j], (190, 225, 240))
    c.box(x - 0.19, 0.7, x + 0.2, 0.82, (40, 150, 210))
    c.disc(complex(x - 0.1, 0.83), 0.045, (30, 30, 36))
    c.disc(complex(x + 0.11, 0.83), 0.045, (30, 30, 36))


def _campfire(c: Canvas) -> None:
    _gradient(c, _LO, 0.75, (18, 16, 52), (84, 44, 84))
    c.disc(0.86 + 0.12j, 0.07, (250, 240, 200))
    _hill(c, 0.7, 0.02, 1.5, (70, 46, 40))
    c.poly([1.28 + 0.7j, 1.02 + 0.2j, 0.72 + 0.7j], (60, 70, 60))
    c.line([0.04 + 0.86j, 0.3 + 0.8j], 0.06, (96, 56, 30))
    c.line([0.04 + 0.8j, 0.3 + 0.86j], 0.06, (120, 70, 38))


def _campfire_moves(c: Canvas, s: float, p: Phases) -> None:
    for i in range(3):
        rise = (0.4 * s + p[0] + i / 3) % 1
        at = complex(0.15 + 0.04 * sin(6 * rise + i), 0.5 - 0.55 * rise)
        c.disc(at, 0.03 + 0.05 * rise, mix((120, 96, 120), (40, 28, 66), rise))
    flames: tuple[Colour, ...] = ((240, 90, 30), (255, 165, 40), (255, 240, 140))
    for i, (half, tall, colour) in enumerate(zip((0.13, 0.09, 0.05), (0.36, 0.26, 0.15), flames, strict=True)):
        flick = sin(2 * pi * (1.7 * s + p[i])) * 0.05
        up = tall * (1 + 0.2 * sin(2 * pi * (1.3 * s + p[i + 3])))
        foot = 0.17 + 0.8j
        left, right = [foot - half, foot - 0.9 * half - 0.4j * up], [foot + 0.9 * half - 0.45j * up, foot + half]
        c.poly([*left, foot + flick - 1j * up, *right, foot + 0.04j], colour)


def _forest(c: Canvas) -> None:
    _gradient(c, _LO, 0.8, (196, 236, 150), (110, 190, 100))
    for x, w in ((-0.15, 0.09), (0.1, 0.1), (0.34, 0.06), (0.66, 0.06), (0.9, 0.1), (1.15, 0.09)):
        c.box(x - w / 2, _LO, x + w / 2, 0.9, (112, 78, 50))
    _hill(c, 0.8, 0.03, 1.7, (58, 130, 58))


def _forest_moves(c: Canvas, s: float, p: Phases) -> None:
    crowns = ((-0.15, 0.05, 0.2), (0.12, 0, 0.22), (0.4, -0.06, 0.17), (0.64, -0.05, 0.18), (0.92, 0.02, 0.23))
    for i, (x, y, r) in enumerate((*crowns, (1.2, 0.06, 0.2))):
        swing = 0.045 * sin(2 * pi * (0.6 * s + p[0] + 0.13 * i))
        c.disc(complex(x + swing, y + 0.1), r, (36, 118 + 10 * (i % 3), 52))
    for i in range(2):
        fall = (0.3 * s + p[1] + i / 2) % 1
        c.blob(complex(0.1 + 0.8 * i + 0.06 * sin(9 * fall), fall), 0.035, 0.022, (250, 190, 50))


def _desert(c: Canvas) -> None:
    _gradient(c, _LO, 0.65, (250, 150, 70), (255, 222, 130))
    c.disc(0.18 + 0.2j, 0.12, (255, 246, 190))
    _hill(c, 0.62, 0.05, 1.1, (226, 150, 80))
    _hill(c, 0.76, 0.04, 0.8, (238, 178, 98))
    c.line([0.9 + 0.72j, 0.9 + 0.34j], 0.08, (60, 130, 70))
    c.line([0.9 + 0.58j, 0.79 + 0.56j, 0.79 + 0.45j], 0.055, (60, 130, 70))


def _desert_moves(c: Canvas, s: float, p: Phases) -> None:
    x = _wrap(0.5 * s + p[0] * _SPAN)
    at, spin = complex(x, 0.8 - 0.07 * abs(sin(5 * s + 6 * p[1]))), complex(cos(7 * s), sin(7 * s)) * 0.075
    c.disc(at, 0.09, (150, 92, 46))
    c.line([at - spin, at + spin], 0.02, (212, 160, 90))
    c.line([at - 1j * spin, at + 1j * spin], 0.02, (212, 160, 90))
    for i in range(2):
        drift = _wrap(0.7 * s + p[2] + 0.7 * i)
        c.line([complex(drift, 0.68 + 0.2 * i), complex(drift + 0.22, 0.67 + 0.2 * i)], 0.022, (255, 222, 160))


def _kitchen(c: Canvas) -> None:
    c.box(_LO, _LO, _HI, _HI, (180, 226, 206))
    for x in np.arange(-0.2, 1.25, 0.2).tolist():
        c.line([complex(x, _LO), complex(x, 0.75)], 0.014, (206, 240, 226))
    c.box(0.68, _LO, _HI, 0.2, (224, 150, 84))
    c.box(_LO, _LO, 0.34, 0.12, (224, 150, 84))
    c.box(_LO, 0.72, _HI, _HI, (196, 120, 66))
    c.box(_LO, 0.68, _HI, 0.74, (246, 240, 230))
    c.box(0.02, 0.5, 0.26, 0.69, (210, 50, 50))
    c.box(-0.01, 0.49, 0.29, 0.54, (150, 30, 36))


def _kitchen_moves(c: Canvas, s: float, p: Phases) -> None:
    for i in range(4):
        rise = (0.45 * s + p[0] + i / 4) % 1
        at = complex(0.14 + 0.05 * sin(7 * rise + i), 0.46 - 0.42 * rise)
        c.disc(at, 0.035 + 0.035 * rise, mix((250, 254, 252), (196, 232, 216), rise))
    swing = 0.06 * sin(2 * pi * (0.8 * s + p[1]))
    c.line([0.86 + 0.22j, complex(0.86 + swing, 0.42)], 0.022, (90, 96, 104))
    c.disc(complex(0.86 + swing * 1.2, 0.47), 0.06, (90, 96, 104))


def _office(c: Canvas) -> None:
    c.box(_LO, _LO, _HI, _HI, (196, 202, 222))
    c.box(-0.1, -0.1, 0.32, 0.4, (240, 244, 250))
    c.box(-0.06, -0.06, 0.28, 0.36, (110, 170, 230))
    c.box(_LO, 0.74, _HI, _HI, (132, 96, 80))
    c.box(0.66, 0.4, 1.04, 0.7, (40, 44, 56))
    c.box(0.82, 0.68, 0.88, 0.76, (40, 44, 56))
    c.disc(0.84 + 0.17j, 0.12, (70, 74, 96))
    c.disc(0.84 + 0.17j, 0.1, (250, 250, 250))


def _office_moves(c: Canvas, s: float, p: Phases) -> None:
    turn = 2 * pi * (0.35 * s + p[0])
    c.line([0.84 + 0.17j, complex(0.84 + 0.08 * sin(turn), 0.17 - 0.08 * cos(turn))], 0.022, (220, 50, 50))
    lit = int(s * 2.2 + 2 * p[1]) % 2
    c.box(0.69, 0.43, 1.01, 0.67, ((40, 210, 190), (30, 90, 160))[lit])
    for i in range(3):
        at = complex(0.73, 0.48 + 0.07 * i)
        c.line([at, at + 0.07 + 0.06 * ((i + int(s * 4)) % 3)], 0.024, (240, 250, 250))


def _fireworks(c: Canvas) -> None:
    _gradient(c, _LO, 0.85, (12, 12, 44), (54, 34, 104))
    for i in range(10):
        x = -0.25 + 0.15 * i
        c.box(x, 0.62 + 0.07 * ((i * 3) % 4), x + 0.16, _HI, (22, 20, 48))
        c.box(x + 0.05, 0.84, x + 0.1, 0.88, (250, 210, 110))


def _fireworks_moves(c: Canvas, s: float, p: Phases) -> None:
    spots = ((0.16 + 0.26j, (255, 90, 120)), (0.84 + 0.2j, (110, 230, 255)), (0.5 + 0.06j, (255, 220, 90)))
    for i, (at, colour) in enumerate(spots):
        age = (0.75 * s + p[0] + i / 3) % 1
        tint = mix(colour, (40, 26, 80), max(0.0, age - 0.35) * 1.4)
        for ray in range(8):
            way = complex(cos(ray * pi / 4), sin(ray * pi / 4))
            reach = 0.21 * age**0.6
            c.line([at + way * reach * 0.45, at + way * reach + 0.03j * age], 0.03, tint)


def _rain(c: Canvas) -> None:
    _gradient(c, _LO, 0.75, (70, 86, 112), (128, 146, 166))
    c.blob(0.1 + 0.0j, 0.35, 0.12, (54, 66, 90))
    c.blob(0.8 - 0.02j, 0.42, 0.14, (54, 66, 90))
    c.box(_LO, 0.76, _HI, _HI, (84, 96, 112))
    top = np.exp(1j * np.linspace(pi, 2 * pi, 11))
    for x, colour in ((0.07, (220, 60, 90)), (0.95, (60, 120, 220))):
        c.line([complex(x, 0.45), complex(x, 0.82)], 0.024, (40, 40, 50))
        c.poly(top.real * 0.19 + 1j * top.imag * 0.17 + complex(x, 0.55), colour)


def _rain_moves(c: Canvas, s: float, p: Phases) -> None:
    for x, y in _FALL.tolist():
        at = complex(x, _wrap(y * _SPAN + 1.3 * s + p[0]))
        c.line([at, at + complex(-0.02, 0.1)], 0.018, (186, 212, 236))
    for i in range(2):
        grow = (1.1 * s + p[1] + i / 2) % 1
        ripple = mix((176, 200, 222), (84, 96, 112), grow)
        c.blob(complex(0.15 + 0.7 * i, 0.92), 0.04 + 0.12 * grow, 0.015 + 0.03 * grow, ripple)


def _aquarium(c: Canvas) -> None:
    _gradient(c, _LO, 0.9, (40, 170, 220), (10, 70, 150))
    _hill(c, 0.86, 0.03, 1.4, (226, 204, 140))
    c.line([0.95 + 0.9j, 0.9 + 0.75j, 1.0 + 0.62j], 0.06, (240, 100, 110))
    c.line([0.9 + 0.75j, 0.8 + 0.66j], 0.05, (240, 100, 110))


def _aquarium_moves(c: Canvas, s: float, p: Phases) -> None:
    scales: tuple[Colour, ...] = ((255, 140, 40), (250, 220, 60), (250, 90, 140))
    for i, (y, speed, colour) in enumerate(zip((0.14, 0.36, 0.62), (0.3, -0.24, 0.36), scales, strict=True)):
        x, way = _wrap(speed * s + p[i] * _SPAN), 1 if speed > 0 else -1
        at = complex(x, y + 0.02 * sin(5 * s + i))
        c.blob(at, 0.09, 0.055, colour)
        flap = 0.02 * sin(14 * s + i)
        tail = at - 0.15 * way + 1j * flap
        c.poly([at - 0.06 * way, tail - 0.06j, tail + 0.06j], colour)
        c.disc(at + 0.045 * way - 0.012j, 0.016, (20, 20, 40))
    for i in range(3):
        rise = (0.4 * s + p[3] + i / 3) % 1
        c.disc(complex(0.06 + 0.44 * i + 0.02 * sin(12 * rise), 1 - 1.1 * rise), 0.026, (190, 236, 250))
    sway = 0.04 * sin(2 * pi * (0.5 * s + p[4]))
    for x in (0.04, 0.13):
        c.line([complex(x, 0.92), complex(x + sway * 0.4, 0.75), complex(x + sway, 0.58)], 0.05, (50, 170, 90))


def _train(c: Canvas) -> None:
    c.box(_LO, _LO, _HI, _HI, (150, 208, 246))
    c.box(_LO, 0.44, _HI, 0.62, (140, 196, 96))


def _train_moves(c: Canvas, s: float, p: Phases) -> None:
    for i in range(3):
        c.blob(complex(_wrap(0.5 * i - 0.2 * s + p[0]), 0.42), 0.24, 0.14, (112, 150, 170))
    c.box(_LO, 0.46, _HI, 0.62, (140, 196, 96))
    for i in range(4):
        x = _wrap(0.375 * i - 0.7 * s + p[1])
        c.line([complex(x, 0.6), complex(x, 0.44)], 0.03, (110, 70, 44))
        c.disc(complex(x, 0.37), 0.085, (40, 128, 74))
    c.box(_LO, 0.6, _HI, _HI, (170, 52, 66))
    c.box(_LO, 0.6, _HI, 0.65, (226, 196, 150))
    c.box(_LO, _LO, _HI, 0.06, (226, 196, 150))
    for x in (-0.12, 0.5, 1.12):
        c.box(x - 0.04, _LO, x + 0.04, 0.65, (226, 196, 150))


Backdrop = tuple[Callable[[Canvas], None], Callable[[Canvas, float, Phases], None]]
BACKDROPS: dict[str, Backdrop] = {  # the still part, and the part that moves with the seconds s
    "beach": (_beach, _beach_moves), "snow": (_snow, _snow_moves), "street": (_street, _street_moves),
    "campfire": (_campfire, _campfire_moves), "forest": (_forest, _forest_moves), "desert": (_desert, _desert_moves),
    "kitchen": (_kitchen, _kitchen_moves), "office": (_office, _office_moves), "rain": (_rain, _rain_moves),
    "fireworks": (_fireworks, _fireworks_moves), "aquarium": (_aquarium, _aquarium_moves),
    "train": (_train, _train_moves),
}  # fmt: skip


def paint_backdrop(scene: str, side: int, gain: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The still backdrop with its margin, RGBA (side * 1.5, side * 1.5, 4) with zero alpha; gain (3,) tints it."""
    total = round(side * _SPAN)
    image = np.zeros((total, total, 4), np.uint8)
    BACKDROPS[scene][0](Canvas(image, side, complex(MARGIN, MARGIN) * side - (0.5 + 0.5j), 0))
    table = np.clip(np.arange(256)[:, None] * np.append(gain, 0), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)
