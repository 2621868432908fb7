"""Motion reward: how fast the person moves against the background; the score stage caps it at the base model's p75."""

from dataclasses import dataclass

from magicid.core.interfaces import FlowEstimator, Measured, Observation
from magicid.perception.motion import subject_motion
from magicid.perception.optical_flow import dis


@dataclass(frozen=True)
class MotionReward:
    """Subject motion in subject heights per second."""

    flow: FlowEstimator = dis
    name: str = "motion"

    def __call__(self, video: Observation) -> Measured:
        """The states are those of `subject_motion`: no person is "failed", too little to see "unmeasurable"."""
        measure = subject_motion(video.frames, video.heads, video.fps, self.flow)
        return Measured(measure.state, measure.value, {"valid": measure.valid})
