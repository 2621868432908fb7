"""Motion reward: how fast the person moves against the background; the score stage caps it at the base model's p75."""

from dataclasses import dataclass

from magicid.core.interfaces import FlowEstimator, Measured, Observation
from magicid.perception.motion import subject_motion, top_flow
from magicid.perception.optical_flow import dis


@dataclass(frozen=True)
class MotionReward:
    """Subject motion in subject heights per second; the field's top-5% flow stands beside it in the details."""

    flow: FlowEstimator = dis
    name: str = "motion"

    def __call__(self, video: Observation) -> Measured:
        """The states are those of `subject_motion`: no person is "failed", too little to see "unmeasurable"."""
        measure = subject_motion(video.frames, video.heads, video.fps, self.flow)
        details = {"valid": measure.valid, "top_flow": top_flow(video.frames, self.flow)}
        return Measured(measure.state, measure.value, details)
