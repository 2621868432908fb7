"""Identity reward: likeness to the references, frame by frame, of which a low quantile counts.

A mean is won by one good frame or by hiding the face; the tenth percentile times the share of frames with a face is not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magicid.core.interfaces import FaceEncoder, Measured, Observation
from magicid.perception.face import embed_faces


@dataclass(frozen=True, eq=False)
class IdentityReward:
    """Cosine to the nearest of the reference embeddings (R, D)."""

    encoder: FaceEncoder
    references: NDArray[np.float32]
    quantile: float = 0.1
    name: str = "identity"

    def __call__(self, video: Observation) -> Measured:
        """The quantile over frames times coverage; "failed" with 0 where no frame has a face."""
        likeness = (embed_faces(video, self.encoder) @ self.references.T).max(1)
        seen = likeness[np.isfinite(likeness)]
        if not len(seen):
            return Measured("failed", 0.0, {"coverage": 0.0})
        coverage = len(seen) / len(likeness)
        low, middle = float(np.quantile(seen, self.quantile)), float(np.median(seen))
        slope = float(np.polyfit(np.flatnonzero(np.isfinite(likeness)), seen, 1)[0]) if len(seen) > 1 else 0.0
        details = {"coverage": coverage, "mean": float(seen.mean()), "p10": low, "p50": middle, "slope": slope}
        return Measured("measured", max(low, 0.0) * coverage, details)  # below 0, hiding the face would pay
