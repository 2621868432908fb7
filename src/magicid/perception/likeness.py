"""How like the references the followed person is, frame by frame, and what of it counts: rewards and report say the same.

A frame is one of three things: judged, seen but not to be judged (too small, turned away), or without the person.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from magicid.core.interfaces import FaceEncoder, Observation
from magicid.perception.face import embed_faces, judgeable


@dataclass(frozen=True, eq=False)
class Likeness:
    """Cosines of one video with the nearest reference."""

    cosines: NDArray[np.float32]  # (T,), nan where the person is not seen
    judged: NDArray[np.bool_]  # (T,)

    @property
    def state(self) -> str:
        """ "measured", "unmeasurable" where faces are all too small or turned away, "failed" where there is none."""
        return "measured" if self.judged.any() else "unmeasurable" if np.isfinite(self.cosines).any() else "failed"

    def figures(self) -> dict[str, float]:
        """Shares of frames (coverage: judged, unjudged), and of the judged ones mean, p10, p50, slope per frame, fall.

        Fall is the first less the last. Where no frame is judged, all but the shares are nan.
        """
        seen = self.cosines[self.judged]
        shares = {"coverage": float(self.judged.mean()), "unjudged": float((np.isfinite(self.cosines) & ~self.judged).mean())}
        if not len(seen):
            return shares | dict.fromkeys(("mean", "p10", "p50", "slope", "fall"), float("nan"))
        return shares | {
            "mean": float(seen.mean()),
            "p10": float(np.quantile(seen, 0.1)),
            "p50": float(np.median(seen)),
            "slope": float(np.polyfit(np.flatnonzero(self.judged), seen, 1)[0]) if len(seen) > 1 else 0.0,
            "fall": float(seen[0] - seen[-1]),
        }


def likeness_of(video: Observation, encoder: FaceEncoder, references: NDArray[np.float32]) -> Likeness:
    """Cosine of the followed person's face with the nearest of the references (R, D), unclamped, in every frame."""
    cosines = (embed_faces(video, encoder) @ references.T).max(1)
    clear = np.array([face is not None and judgeable(face, encoder.crop_size) for face in video.faces])
    return Likeness(cosines, clear & np.isfinite(cosines))
