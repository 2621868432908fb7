"""What a person wears: torso, arms and small head-gear.

Body frame: origin at the head's centre, unit half a head height; shoulders at y 1.4, the hips below the picture.
"""

from cmath import rect
from collections.abc import Callable
from dataclasses import dataclass
from math import radians

import numpy as np

from magicid.avatar.actions import Arm, Pose
from magicid.avatar.canvas import Canvas, Colour, shade

_TORSO = np.array([0.42 + 1.2j, 0.95 + 1.33j, 1.26 + 1.56j, 1.36 + 1.9j, 1.2 + 2.6j, 1.2 + 5j])
_TORSO = np.concatenate([_TORSO, -_TORSO.conj()[::-1]])
_WHITE: Colour = (246, 246, 244)
_YELLOW: Colour = (250, 228, 60)


def _firefighter(c: Canvas) -> None:
    for y in (2.0, 2.7):
        c.box(-1.32, y, 1.32, y + 0.26, _YELLOW)
    c.box(-0.08, 1.25, 0.08, 5, (200, 60, 40))


def _tactical(c: Canvas) -> None:
    c.poly([-0.95 + 1.4j, 0.95 + 1.4j, 1.05 + 5j, -1.05 + 5j], (44, 50, 42))
    c.box(-0.45, 1.15, 0.45, 1.55, (118, 128, 72))
    for x in (-0.85, 0.1):
        c.box(x, 2.05, x + 0.72, 2.62, (158, 146, 98))


def _warrior(c: Canvas) -> None:
    c.poly([-1.2 + 2.0j, 0.9 + 1.42j, 1.25 + 2.1j, 1.2 + 5j, -1.2 + 5j], (142, 80, 38))
    c.line([-1.15 + 2.0j, 0.95 + 1.45j], 0.16, (88, 46, 22))
    for x, y in ((-0.6, 1.5), (-0.33, 1.75), (0.0, 1.85), (0.33, 1.75), (0.6, 1.5)):
        c.disc(complex(x, y), 0.14, (40, 190, 190) if x else (240, 200, 60))


def _scientist(c: Canvas) -> None:
    c.poly([-0.5 + 1.2j, 0.5 + 1.2j, 0.3 + 5j, -0.3 + 5j], (64, 128, 220))
    c.line([-0.52 + 1.25j, -0.34 + 2.1j, -0.3 + 5j], 0.09, (178, 190, 204))
    c.line([0.52 + 1.25j, 0.34 + 2.1j, 0.3 + 5j], 0.09, (178, 190, 204))
    c.box(0.6, 2.1, 1.0, 2.5, (160, 176, 196))


def _aviator(c: Canvas) -> None:
    c.line([-0.62 + 1.45j, -0.3 + 2.2j, -0.05 + 2.9j], 0.4, (236, 214, 170))
    c.line([0.62 + 1.45j, 0.3 + 2.2j, 0.05 + 2.9j], 0.4, (236, 214, 170))
    c.poly([-0.5 + 1.15j, 0.5 + 1.15j, 0.3 + 1.65j, 0.05 + 2.5j, -0.3 + 1.65j], (216, 60, 48))


def _suit(c: Canvas) -> None:
    c.poly([-0.5 + 1.2j, 0.5 + 1.2j, 2.9j], _WHITE)
    c.poly([-0.12 + 1.38j, 0.12 + 1.38j, 0.17 + 2.5j, 2.75j, -0.17 + 2.5j], (214, 30, 46))


def _hoodie(c: Canvas) -> None:
    c.line([-0.72 + 1.3j, -0.45 + 1.6j, 1.75j, 0.45 + 1.6j, 0.72 + 1.3j], 0.34, (158, 22, 36))
    for x in (-0.25, 0.25):
        c.line([complex(x, 1.75), complex(x * 1.2, 2.35)], 0.08, _WHITE)
    c.poly([-0.55 + 2.65j, 0.55 + 2.65j, 0.8 + 5j, -0.8 + 5j], (158, 22, 36))


def _striped(c: Canvas) -> None:
    for y in (1.72, 2.28, 2.84, 3.4):
        c.box(-1.3, y, 1.3, y + 0.28, (30, 50, 130))


def _dress(c: Canvas) -> None:
    half = np.array([2.15j, 0.4 + 2.0j, 0.95 + 1.95j, 1.12 + 2.6j, 1.3 + 5j])
    c.poly(np.concatenate([half, -half.conj()[::-1]]), (246, 110, 172))
    for x in (-0.72, 0.72):
        c.line([complex(x, 1.35), complex(x, 2.1)], 0.16, (246, 110, 172))
    for x, y in ((-0.62, 2.35), (0.1, 2.55), (0.7, 2.3)):
        c.disc(complex(x, y), 0.17, _WHITE)


def _chef(c: Canvas) -> None:
    c.poly([-0.55 + 1.2j, 0.55 + 1.2j, 0.2 + 1.62j, 0.12 + 1.95j, -0.12 + 1.95j, -0.2 + 1.62j], (226, 60, 50))
    for y in (2.1, 2.6, 3.1):
        for x in (-0.42, 0.42):
            c.disc(complex(x, y), 0.11, (60, 60, 70))


def _astronaut(c: Canvas) -> None:
    c.blob(1.4j, 0.85, 0.3, (150, 160, 176))
    c.blob(1.34j, 0.6, 0.18, (86, 94, 112))
    for x in (-0.98, 0.98):
        c.line([complex(x, 1.65), complex(x, 5)], 0.22, (250, 120, 30))
    c.box(-0.45, 2.0, 0.45, 2.6, (90, 104, 130))
    c.disc(-0.2 + 2.3j, 0.12, (230, 60, 60))
    c.disc(0.2 + 2.3j, 0.12, (80, 220, 130))


def _raincoat(c: Canvas) -> None:
    c.poly([-0.95 + 1.35j, -0.4 + 1.2j, 0.4 + 1.2j, 0.95 + 1.35j, 0.35 + 1.95j, 1.6j, -0.35 + 1.95j], (222, 172, 10))
    c.line([1.7j, 5j], 0.07, (206, 154, 6))
    for y in (2.1, 2.6):
        c.disc(complex(0.25, y), 0.1, (70, 80, 110))


def _helmet(c: Canvas, width: float) -> None:
    top = np.exp(1j * np.linspace(np.pi, 2 * np.pi, 9))
    c.poly(top.real * (width * 0.72) + 1j * top.imag * 0.5 - 0.82j, (206, 36, 34))
    c.line([complex(-width * 0.85, -0.8), complex(width * 0.85, -0.8)], 0.12, (160, 20, 24))
    c.poly([-0.16 - 1.18j, 0.16 - 1.18j, 0.12 - 0.88j, -0.12 - 0.88j], _YELLOW)


def _feather(c: Canvas, width: float) -> None:
    c.poly([complex(0.3, -0.72), complex(0.2, -1.2), complex(0.5, -1.62), complex(0.56, -1.15)], (240, 240, 236))
    c.poly([complex(0.32, -1.32), complex(0.5, -1.62), complex(0.56, -1.32)], (220, 50, 40))
    bend = np.linspace(-1, 1, 7)
    c.line(bend * width * 0.9 + 1j * (-0.66 - 0.08 * (1 - bend**2)), 0.13, (40, 180, 180))


def _goggles(c: Canvas, width: float) -> None:
    c.line([complex(-width * 0.92, -0.62), -0.74j, complex(width * 0.92, -0.62)], 0.13, (70, 42, 26))
    for x in (-0.27, 0.27):
        c.blob(complex(x, -0.72), 0.26, 0.19, (70, 42, 26))
        c.blob(complex(x, -0.72), 0.18, 0.12, (150, 220, 240))


def _toque(c: Canvas, width: float) -> None:
    c.poly([-0.34 - 0.9j, -0.5 - 1.3j, -0.3 - 1.5j, -1.55j, 0.3 - 1.5j, 0.5 - 1.3j, 0.34 - 0.9j], _WHITE)
    c.line([-0.32 - 0.93j, 0.32 - 0.93j], 0.1, (206, 206, 212))


@dataclass(frozen=True)
class Outfit:
    """Colours of torso and sleeves, the details on them, and head-gear (given the face's half width)."""

    torso: Colour | None  # None is bare skin
    sleeve: Colour | None
    details: Callable[[Canvas], None]
    cuff: Colour | None = None
    gear: Callable[[Canvas, float], None] | None = None


OUTFIT_LOOKS: dict[str, Outfit] = {
    "firefighter": Outfit((46, 46, 56), (46, 46, 56), _firefighter, _YELLOW, _helmet),
    "tactical": Outfit((118, 128, 72), (118, 128, 72), _tactical, (44, 50, 42)),
    "warrior": Outfit(None, None, _warrior, (142, 80, 38), _feather),
    "scientist": Outfit((244, 247, 250), (228, 234, 242), _scientist),
    "aviator": Outfit((122, 70, 36), (122, 70, 36), _aviator, (236, 214, 170), _goggles),
    "suit": Outfit((32, 40, 78), (32, 40, 78), _suit, _WHITE),
    "hoodie": Outfit((216, 44, 54), (216, 44, 54), _hoodie),
    "striped": Outfit(_WHITE, _WHITE, _striped, (30, 50, 130)),
    "dress": Outfit(None, None, _dress),
    "chef": Outfit((250, 250, 248), (238, 238, 240), _chef, (206, 206, 212), _toque),
    "astronaut": Outfit((240, 240, 244), (240, 240, 244), _astronaut, (250, 120, 30)),
    "raincoat": Outfit((252, 208, 30), (252, 208, 30), _raincoat),
}


def draw_body(c: Canvas, outfit: Outfit, skin: Colour, pose: Pose) -> None:
    """Neck, torso and arms."""
    body = c.frame(1, complex(0, -pose.shrug))
    body.poly(_TORSO, outfit.torso or skin)
    c.poly([-0.36 + 0.5j, 0.36 + 0.5j, 0.4 + 1.3j, 0.2 + 1.45j, -0.2 + 1.45j, -0.4 + 1.3j], shade(skin, 0.84))
    outfit.details(body)
    _arm(body, outfit, skin, pose.left, -1)
    _arm(body, outfit, skin, pose.right, 1)


def _arm(c: Canvas, outfit: Outfit, skin: Colour, arm: Arm, side: int) -> None:
    upper, fore = (1j * rect(1, -side * radians(angle)) for angle in arm)
    shoulder = complex(1.12 * side, 1.72)
    elbow = shoulder + 0.95 * upper
    wrist = elbow + 0.95 * fore
    sleeve = shade(outfit.sleeve or skin, 0.92)
    c.line([shoulder, elbow, wrist], 0.48, sleeve)
    if outfit.cuff:
        c.line([wrist - 0.06 * fore, wrist + 0.02 * fore], 0.5, outfit.cuff)
    c.disc(wrist + 0.32 * fore, 0.27, skin)
