"""Identity reward: likeness to the references, frame by frame, of which a low quantile counts.

A mean is won by one good frame or by hiding the face; the tenth percentile times the share of frames with a face is not.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magicid.core.interfaces import FaceEncoder, Measured, Observation
from magicid.perception.likeness import likeness_of


@dataclass(frozen=True, eq=False)
class IdentityReward:
    """Cosine to the nearest of the reference embeddings (R, D)."""

    encoder: FaceEncoder
    references: NDArray[np.float32]
    name: str = "identity"

    def __call__(self, video: Observation) -> Measured:
        """The tenth percentile over the frames that can be judged, times their share (coverage).

        "failed" with 0 where no frame has a face, "unmeasurable" where faces are all too small or turned away. Frames
        with such a face ("unjudged") are no likeness and no stranger, but they do not earn anything either.
        """
        likeness = likeness_of(video, self.encoder, self.references)
        figures = likeness.figures()
        if likeness.state != "measured":
            shares = {name: figures[name] for name in ("coverage", "unjudged")}
            return Measured(likeness.state, 0.0 if likeness.state == "failed" else math.nan, shares)
        return Measured("measured", max(figures["p10"], 0.0) * figures["coverage"], figures)  # below 0, hiding would pay
