"""Where the head is in pixels, and where in latents."""

import numpy as np
import pytest
import torch

from magicid.core.interfaces import Face
from magicid.training.regions import head_region, latent_region


def face(left: float, top: float, size: float) -> Face:
    return Face((left, top, left + size, top + size), 0.9, np.zeros((5, 2), np.float32))


def test_a_latent_belongs_to_the_region_from_three_tenths_of_its_pixels_on() -> None:
    inside = np.zeros((1, 16, 16), np.bool_)
    inside[0, :8, :3] = True  # 24 of the 64 pixels of the first cell
    inside[0, 8:, 8:10] = True  # 16 of the last one's
    assert latent_region(inside, (1, 2, 2)).tolist() == [[[1, 0], [0, 0]]]


def test_the_first_frame_stands_alone_and_the_others_share_latents_in_equal_groups() -> None:
    inside = np.zeros((9, 4, 4), np.bool_)
    inside[0] = inside[5:7] = True  # alone; and half of the last group
    assert latent_region(inside, (3, 1, 1)).flatten().tolist() == [1, 0, 1]
    assert latent_region(inside, (9, 2, 2))[:, 0, 0].tolist() == [1, 0, 0, 0, 0, 1, 1, 0, 0]


def test_the_head_is_followed_and_stays_where_it_was_last_seen() -> None:
    frames = np.zeros((4, 64, 64, 3), np.uint8)
    left, right = face(8, 20, 12), face(44, 20, 12)
    region = head_region(frames, [None, left, None, right], (4, 8, 8))
    assert torch.equal(region[0], region[1]) and torch.equal(region[1], region[2]) and not torch.equal(region[2], region[3])
    assert region[1, 3, 1] == region[3, 3, 6] == 1 and region[1, 3, 6] == region[3, 3, 1] == 0
    assert region[:, 7].sum() == 0  # below the neck


@pytest.mark.parametrize("frames", [1, 5])
def test_without_a_face_there_is_no_region(frames: int) -> None:
    region = head_region(np.zeros((frames, 32, 32, 3), np.uint8), [None] * frames, (frames, 4, 4))
    assert region.shape == (frames, 4, 4) and not region.any()
