"""What the report says of one video, by encoders that no reward has used."""

import math

import numpy as np
from numpy.typing import NDArray

from magicid.core.interfaces import FaceEncoder, FlowEstimator, Judges, Observation
from magicid.perception.face import embed_faces
from magicid.perception.motion import subject_motion, top_flow
from magicid.perception.optical_flow import dis


def video_metrics(
    video: Observation, judges: Judges, references: NDArray[np.float32], flow: FlowEstimator = dis
) -> dict[str, float]:
    """identity (p10 over frames times coverage), identity_mean, coverage, motion, top_flow, prompt, consistency.

    `references` (R, D) are the photos' faces by the report encoder, `flow` is the one that the run's rewards
    used. nan where a figure could not be measured; a video without any face has identity 0.
    """
    identity = face_metrics(video, judges.face_report, references)
    boxes = [None if face is None else face.box for face in video.faces]
    measure = subject_motion(video.frames, boxes, video.fps, flow)
    motion = {"failed": 0.0, "unmeasurable": math.nan}.get(measure.state, measure.value)
    steps = np.linspace(0, len(video.frames) - 1, 3).round().astype(int)
    early, late = video.frames[: steps[1] + 1], video.frames[steps[1] :]
    halves = judges.text_report.embed_video([early, late])
    return identity | {
        "motion": math.nan if motion is None else motion,
        "top_flow": top_flow(video.frames, flow),
        "prompt": float(judges.text_report.similarity([video.frames], [video.prompt])[0]),
        "consistency": float(halves[0] @ halves[1]),
    }


def face_metrics(video: Observation, encoder: FaceEncoder, references: NDArray[np.float32]) -> dict[str, float]:
    """identity, identity_mean (the field's: frames without a face dropped), coverage."""
    likeness = (embed_faces(video, encoder) @ references.T).max(1)
    seen = likeness[np.isfinite(likeness)]
    if not len(seen):
        return {"identity": 0.0, "identity_mean": 0.0, "coverage": 0.0}
    coverage = len(seen) / len(likeness)
    low = float(np.quantile(seen, 0.1))
    return {
        "identity": low * coverage if low > 0 else low,  # hiding a stranger's face is no gain
        "identity_mean": float(seen.mean()),
        "coverage": coverage,
    }
