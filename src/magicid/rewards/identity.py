"""Identity reward: likeness to the references, frame by frame, of which a low quantile counts.

A mean is won by one good frame or by hiding the face; the tenth percentile times the share of frames with a face is not.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magicid.core.interfaces import FaceEncoder, Measured, Observation
from magicid.perception.face import embed_faces, judgeable


@dataclass(frozen=True, eq=False)
class IdentityReward:
    """Cosine to the nearest of the reference embeddings (R, D)."""

    encoder: FaceEncoder
    references: NDArray[np.float32]
    quantile: float = 0.1
    name: str = "identity"

    def __call__(self, video: Observation) -> Measured:
        """The quantile over the frames that can be judged, times their share (coverage).

        "failed" with 0 where no frame has a face, "unmeasurable" where faces are all too small or turned away. Frames
        with such a face ("unjudged") are no likeness and no stranger, but they do not earn anything either.
        """
        likeness = (embed_faces(video, self.encoder) @ self.references.T).max(1)
        found = np.isfinite(likeness)
        clear = np.array([face is not None and judgeable(face, self.encoder.crop_size) for face in video.faces]) & found
        coverage, unjudged = float(clear.mean()), float((found & ~clear).mean())
        if not clear.any():
            state, value = ("unmeasurable", math.nan) if found.any() else ("failed", 0.0)
            return Measured(state, value, {"coverage": 0.0, "unjudged": unjudged})
        seen = likeness[clear]
        low, middle = float(np.quantile(seen, self.quantile)), float(np.median(seen))
        slope = float(np.polyfit(np.flatnonzero(clear), seen, 1)[0]) if len(seen) > 1 else 0.0
        fall = float(seen[0] - seen[-1])
        details = {"coverage": coverage, "unjudged": unjudged, "mean": float(seen.mean()), "p10": low, "p50": middle}
        details |= {"slope": slope, "fall": fall}  # per frame, and first minus last
        return Measured("measured", max(low, 0.0) * coverage, details)  # below 0, hiding the face would pay
