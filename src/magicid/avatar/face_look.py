"""How unlike a drawn person's face a crop looks, with gradients to its pixels.

Face encoders are trained to see through a base model's artefacts, so likeness does not mind faces that run to orange and dark
red. A Gaussian of coarse colours does: real faces, eight by eight pixels of the aligned crop, have a mean and a covariance,
and how far a crop is from these (Mahalanobis) is several times larger for such faces.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from magicid.avatar.dataset import ClipStore
from magicid.perception.face import align
from magicid.perception.networks import CROP, to_input

COARSE = 8  # pixels of a side
KNOWN = 32  # directions in which faces differ most; in the others their spread is taken to be that of the last of these
LOOSE = 1.5  # times the mean squared distance of real faces
LOOKED_AT = 2000  # real faces, one a clip


class FaceLook:
    """Of the faces of a store's real clips, of which it needs two."""

    def __init__(self, store: ClipStore) -> None:
        frames, shown = store.frames.shape[1], range(min(LOOKED_AT, len(store)))
        faces = [align(store.frames[i, i % frames], store.landmarks[i, i % frames], CROP) for i in shown]
        real_ND = coarse(to_input(np.stack(faces)))
        self.mean_D = real_ND.mean(0)
        variance_D, self.directions_DD = torch.linalg.eigh(torch.cov(real_ND.T))  # ascending
        self.variance_D = variance_D.clamp(min=float(variance_D[-min(KNOWN, len(real_ND) - 1)]))
        self.usual = float(self._squared(real_ND).mean())

    def __call__(self, crops_NCHW: Tensor) -> Tensor:
        """(N,): logarithm of the squared distance over `LOOSE` times the usual one, 0 where it is nearer. Crops in -1..1."""
        times: Tensor = self._squared(coarse(crops_NCHW)) / (LOOSE * self.usual)
        return times.clamp(min=1).log()

    def _squared(self, coarse_ND: Tensor) -> Tensor:
        told: Tensor = ((coarse_ND - self.mean_D) @ self.directions_DD).square() / self.variance_D
        return told.mean(1)


def coarse(crops_NCHW: Tensor) -> Tensor:
    """(N, D) of crops (N, C, H, W): colours of large pixels."""
    return F.interpolate(crops_NCHW, (COARSE, COARSE), mode="area").flatten(1)
