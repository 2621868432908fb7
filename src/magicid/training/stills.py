"""The photos as stage one learns them: static videos as in the paper, or single frames; whole, or a region of them."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from magicid.core.run import Run
from magicid.media.photo import read_photo
from magicid.media.video import to_tensor
from magicid.perception.subject import Head, Masks
from magicid.training.clips import read_latents
from magicid.training.reconstruction import Clips

Region = Callable[[NDArray[np.uint8], Sequence[Head]], Masks]  # frames (T, H, W, 3), a head box each -> (T, H, W)


def stills(run: Run, single_frame: bool = False, mirrored: bool = False, region: Region | None = None) -> Clips:
    """The photos' static videos, or their first latent frames; the trigger words are all that is said of them.

    `mirrored`: each photo's mirror image as well. `region`: where errors count; on the head alone, no scene and no clothes
    are learnt with the face.
    """
    photos = run.photos()
    found = read_latents(run, [photo.id for photo in photos])
    latents = torch.stack([found[photo.id] for photo in photos])
    size = run.family.geometry
    if single_frame:
        latents = latents[:, :, : run.family.latents_shape(1, size.height, size.width)[1]]
    masks = photo_masks(run, latents.shape[2:], region) if region else None
    ids = [photo.id for photo in photos]
    if mirrored:
        frames = 1 if single_frame else size.frames
        other = torch.stack([_encoded(run, read_photo(run.file(photo.image))[:, ::-1], frames) for photo in photos])
        latents, ids = torch.cat([latents, other]), [*ids, *(f"{name}-mirrored" for name in ids)]
        masks = torch.cat([masks, masks.flip(-1)]) if masks is not None else None
    return Clips(run, ids, latents, [run.common.trigger] * len(ids), masks)


def photo_masks(run: Run, shape: Sequence[int], region: Region) -> Tensor:
    """1 where a latent of `shape` (F, H, W) shows any of a region of each photo, else 0; (N, F, H, W)."""
    masks = []
    for photo in run.photos():
        image = read_photo(run.file(photo.image))
        head = run.judges.detector.detect(image[None])[0][0]
        inside = torch.from_numpy(region(image[None], [head.box]).astype(np.float32))
        masks.append(F.adaptive_max_pool2d(inside, tuple(shape[1:])).expand(*shape))
    return torch.stack(masks)


@torch.no_grad()
def _encoded(run: Run, image: NDArray[np.uint8], frames: int) -> Tensor:
    """Latents (C, F, H, W) of a picture that stands still."""
    still = np.repeat(np.ascontiguousarray(image)[None], frames, 0)
    latents: Tensor = run.family.encode(to_tensor(still[None]))[0].float().cpu()
    return latents
