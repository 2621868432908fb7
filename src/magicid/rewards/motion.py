"""Reward for a person who moves, up to as much as people in the base model's videos do."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magicid.perception.motion import subject_motion
from magicid.perception.subject import Head


@dataclass(frozen=True)
class MotionReward:
    """Subject motion as a share of the cap, at most 1: beyond the base model's, more motion is not better."""

    cap: float  # subject heights per second: the base model's 75th percentile
    name: str = "motion"

    def __post_init__(self) -> None:
        if not 0 < self.cap < float("inf"):
            raise ValueError(f"cap is {self.cap}; need a finite speed above 0: the base model's 75th percentile.")

    def __call__(self, frames: NDArray[np.uint8], heads: Sequence[Head | None], fps: float) -> float | None:
        """Reward in 0..1 of frames (T, H, W, 3); None where the motion could not be measured."""
        value = subject_motion(frames, heads, fps).value
        return None if value is None else min(value / self.cap, 1.0)
