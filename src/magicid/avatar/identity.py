"""Who a drawn person is: traits spread as widely as a caricature's, so that faces differ even at 64 pixels."""

from dataclasses import dataclass

import numpy as np

from magicid.avatar.canvas import Colour, mix
from magicid.avatar.truth import pick

HAIR_STYLES = ("bald", "buzz", "short", "side-part", "bob", "long", "curly", "bun", "mohawk")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
HAIR_COLOURS: tuple[Colour, ...] = (
    (28, 24, 30), (74, 44, 28), (128, 78, 42), (222, 178, 92), (190, 78, 34),
    (196, 196, 202), (60, 110, 220), (240, 100, 170), (70, 175, 95),
)  # fmt: skip
EYE_COLOURS: tuple[Colour, ...] = ((60, 36, 22), (110, 70, 30), (50, 130, 70), (50, 120, 200), (110, 120, 130))
_SKIN: tuple[Colour, ...] = ((255, 226, 205), (242, 196, 160), (212, 156, 112), (158, 102, 66), (92, 58, 42))


@dataclass(frozen=True)
class Identity:
    """One person; lengths are in half head heights, angles in degrees, shares in 0..1, colours in RGB 0..255."""

    skin_tone: float  # share: pale to dark
    undertone: float  # -1 rosy .. 1 golden
    face_width: float
    jaw_width: float  # share: pointed to square
    chin_length: float
    hair_style: str
    hair_colour: Colour
    hair_volume: float  # share
    hairline: float  # height above the head's centre
    eye_colour: Colour
    eye_size: float
    eye_roundness: float  # height over width
    eye_spacing: float  # each eye from the middle
    eye_height: float  # below the head's centre
    eye_tilt: float  # outer corners up
    brow_thickness: float
    brow_angle: float  # outer ends up
    nose_length: float
    nose_width: float
    mouth_width: float
    mouth_height: float  # below the head's centre
    lip_fullness: float
    lip_colour: Colour
    beard: str
    freckles: bool
    blush: float  # share
    ear_size: float

    @classmethod
    def random(cls, seed: int) -> "Identity":
        """Draw the person that a seed names."""
        rng = np.random.default_rng([seed, 0x1D])
        between = rng.uniform

        def tint(palette: tuple[Colour, ...], spread: float) -> Colour:
            r, g, b = np.clip(pick(rng, palette) + rng.normal(0, spread, 3), 0, 255).tolist()
            return r, g, b

        width, spacing = between(0.68, 0.92), between(0.43, 0.53)
        tone, undertone, hair = between(), between(-1, 1), tint(HAIR_COLOURS, 12)
        lips = mix(skin_colour(tone, undertone), (205, 30, 60), between(0.3, 0.85))
        return cls(
            tone, undertone, width, between(), between(-0.1, 0.12),
            pick(rng, HAIR_STYLES), hair, between(), between(0.38, 0.66),
            tint(EYE_COLOURS, 8), width * between(0.2, 0.29), between(0.62, 1.0), width * spacing, between(-0.1, 0.1),
            between(-14, 16), between(0.04, 0.15), between(-22, 13),
            between(0.22, 0.44), between(0.08, 0.2), between(0.2, 0.42), between(0.52, 0.64), between(0.03, 0.11), lips,
            str(rng.choice(BEARDS, p=(0.52, 0.12, 0.12, 0.12, 0.12))), bool(rng.random() < 0.25),
            between() * float(rng.random() < 0.6), between(0.14, 0.3),
        )  # fmt: skip

    @property
    def skin(self) -> Colour:
        """The skin's colour."""
        return skin_colour(self.skin_tone, self.undertone)


def skin_colour(tone: float, undertone: float) -> Colour:
    """Colour of a skin tone (0 pale .. 1 dark) with an undertone (-1 rosy .. 1 golden)."""
    place = tone * (len(_SKIN) - 1)
    low = min(int(place), len(_SKIN) - 2)
    r, g, b = mix(_SKIN[low], _SKIN[low + 1], place - low)
    return r - 3 * undertone, g + 7 * undertone, b - 13 * undertone
