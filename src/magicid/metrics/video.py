"""What the report says of one video, by encoders that no reward has used."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from magicid.core.interfaces import FaceEncoder, FlowEstimator, Judges, Observation, VideoTextEncoder
from magicid.perception.likeness import likeness_of
from magicid.perception.motion import scene_motion, subject_motion, top_flow
from magicid.perception.optical_flow import dis

DEFINITION = 3  # of these figures; one more where any is measured in another way, so that what is kept is measured anew

MEANINGS = {  # of the figures, for those who read a table of them
    "identity": "likeness of the face to the photos: tenth percentile over frames that can be judged, times coverage if above 0",
    "identity_mean": "the same likeness, the mean over all frames with a face",
    "coverage": "share of frames with a face that can be judged",
    "unjudged": "share of frames whose face is too small or turned too far to be judged",
    "p50": "the same likeness, the median over the frames that can be judged",
    "slope": "by how much the likeness grows from frame to frame, of those that can be judged",
    "fall": "by how much it is less in the last of these frames than in the first",
    "motion": "speed of the person's fastest tenth against the background, in body heights a second, times the trusted share",
    "scene_motion": "how fast whatever moves most does, in picture heights a second",
    "top_flow": "how fast the fastest 5% of all pixels move, camera and scene too, in pixels between frames at 8 a second",
    "prompt": "likeness of the clip to its sentence",
    "consistency": "likeness of neighbouring frames, each a picture by itself",
}


def video_metrics(
    video: Observation, judges: Judges, references: NDArray[np.float32], flow: FlowEstimator = dis
) -> dict[str, float]:
    """identity (p10 over frames times coverage) and the other figures of `face_metrics`, motion, scene_motion, top_flow, prompt,
    consistency (the field's T.Cons: mean cosine of neighbouring frames).

    `references` (R, D) are the photos' faces by the report encoder, `flow` is the one that the run's rewards used. nan where a
    figure could not be measured; a video without any face has identity 0.
    """
    identity = face_metrics(video, judges.face_report, references)
    stills = embed_stills(judges.text_report, video.frames)
    return identity | {
        "motion": subject_motion(video.frames, video.heads, video.fps, flow).value,
        "scene_motion": scene_motion(video.frames, video.fps, flow).value,
        "top_flow": top_flow(video.frames, video.fps, flow),
        "prompt": float(judges.text_report.similarity([video.frames], [video.prompt])[0]),
        "consistency": float((stills[1:] * stills[:-1]).sum(1).mean()),
    }


def embed_stills(encoder: VideoTextEncoder, images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Embeddings (N, D) of pictures, each a clip of one frame."""
    return encoder.embed_video([image[None] for image in images])


def face_metrics(video: Observation, encoder: FaceEncoder, references: NDArray[np.float32]) -> dict[str, float]:
    """identity (p10 times coverage, 0 without a face, nan where no face can be judged) and what it is made of.

    coverage, unjudged, p50, slope, fall are those of `Likeness.figures`; identity_mean is the field's, over all frames
    with a face, those that cannot be judged among them, and 0 where there is none.
    """
    likeness = likeness_of(video, encoder, references)
    figures = likeness.figures()
    seen = likeness.cosines[np.isfinite(likeness.cosines)]
    low = 0.0 if likeness.state == "failed" else figures["p10"]
    return {
        "identity": low * figures["coverage"] if low > 0 else low,  # hiding a stranger's face is no gain
        "identity_mean": float(seen.mean()) if len(seen) else 0.0,
        **{name: figures[name] for name in ("coverage", "unjudged", "p50", "slope", "fall")},
    }
