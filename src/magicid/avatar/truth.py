"""What a clip of the embedded world shows, in the world's own words.

A `Truth` is everything that a prompt decides; who the person is stands in `Identity`. The names are the classes
that the judges tell apart, so their order is part of the shipped weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

T = TypeVar("T")

SCENES = (
    "beach", "snow", "street", "campfire", "forest", "desert",
    "kitchen", "office", "fireworks", "rain", "aquarium", "train",
)  # fmt: skip
OUTFITS = (
    "firefighter", "tactical", "warrior", "scientist", "aviator", "suit",
    "hoodie", "striped", "dress", "chef", "astronaut", "raincoat",
)  # fmt: skip
ACTIONS = ("turns", "nods", "walks", "leans", "sways", "jumps", "waves", "laughs", "looks", "dances")
AMPLITUDES = {"gentle": 0.6, "plain": 1.0, "strong": 1.4}  # factor on the action's excursion
CAMERAS = ("still", "pan", "zoom", "handheld")


@dataclass(frozen=True)
class Truth:
    """One clip's scene, outfit, action, amplitude and camera; every field is one of the names above."""

    scene: str
    outfit: str
    action: str
    amplitude: str = "plain"
    camera: str = "still"

    def __post_init__(self) -> None:
        for field, names in zip(fields(self), VOCABULARIES.values(), strict=True):
            value = getattr(self, field.name)
            if value not in names:
                raise ValueError(f"{field.name} {value!r} is unknown; choose one of {', '.join(names)}.")

    @property
    def labels(self) -> tuple[int, ...]:
        """Class index of each field, in the order of `VOCABULARIES`."""
        return tuple(names.index(getattr(self, name)) for name, names in VOCABULARIES.items())


VOCABULARIES: dict[str, tuple[str, ...]] = {
    "scene": SCENES,
    "outfit": OUTFITS,
    "action": ACTIONS,
    "amplitude": tuple(AMPLITUDES),
    "camera": CAMERAS,
}


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of a few things, each as likely: what `rng.choice` draws, without making an array of them."""
    return options[int(rng.integers(len(options)))]


def random_truth(rng: np.random.Generator) -> Truth:
    """Draw every field uniformly, but for the camera: half of all clips have a still one."""
    camera = "still" if rng.random() < 0.5 else pick(rng, CAMERAS[1:])
    scene, outfit, action, amplitude = (pick(rng, VOCABULARIES[k]) for k in list(VOCABULARIES)[:4])
    return Truth(scene, outfit, action, amplitude, camera)
