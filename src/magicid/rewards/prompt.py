"""Prompt reward: how well a video-text encoder finds the sentence in the clip."""

from dataclasses import dataclass

from magicid.core.interfaces import Measured, Observation, VideoTextEncoder


@dataclass(frozen=True, eq=False)
class PromptReward:
    """Cosine of clip and sentence."""

    encoder: VideoTextEncoder
    name: str = "prompt"

    def __call__(self, video: Observation) -> Measured:
        """Always measured: every clip has an embedding."""
        return Measured("measured", float(self.encoder.similarity([video.frames], [video.prompt])[0]), {})
