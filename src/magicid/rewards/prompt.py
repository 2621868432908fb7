"""Prompt reward: how well the clip follows its sentence, as a video-text judge says."""

import math
from dataclasses import dataclass

from magicid.core.interfaces import Measured, Observation, VideoTextJudge


@dataclass(frozen=True, eq=False)
class PromptReward:
    """The judge's own measure."""

    judge: VideoTextJudge
    name: str = "prompt"

    def __call__(self, video: Observation) -> Measured:
        """ "measured", or "unmeasurable" where the judge gave no answer that counts."""
        value = float(self.judge.similarity([video.frames], [video.prompt])[0])
        return Measured("measured" if math.isfinite(value) else "unmeasurable", value, {})
