"""Where the head is in pixels and in latents, and predictions that are joined there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from magicid.core.interfaces import Face
from magicid.core.seeds import noise
from magicid.training import lora
from magicid.training.regions import head_region, latent_region, moving_like, regional
from magicid.training.sampling import sample
from tests.families.tiny import tiny_family


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
    assert latent_region(inside, (4, 1, 1), alone=2).flatten().tolist() == [1, 1, 0, 1]
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


def test_inside_the_adapter_speaks_moving_more_and_outside_the_base_model_guided_or_not(tmp_path: Path) -> None:
    family = tiny_family("wan", tmp_path)
    lora.add_adapter(family, "face", lora.LoraSettings(2, 2.0))
    with torch.no_grad():
        for name, parameter in lora.parameters(family, "face").items():
            parameter.fill_(-0.05) if "lora_B" in name else None
    shape = family.latents_shape(5, family.geometry.height, family.geometry.width)
    x, condition = noise((2, *shape), 0, "x"), family.encode_prompts(["a", "b"])
    regions = torch.zeros(2, *shape[1:])
    regions[1, ..., 0] = 1  # nothing of the first clip, a column of the second
    joined = regional(family, "face", regions)
    t = torch.tensor([0.5, 0.5])
    with torch.no_grad():
        with lora.using(family, None):
            base = family.predict(x, t, condition)
        with lora.using(family, "face"):
            own = family.predict(x, t, condition)
        said = joined(x, t, condition)
        both = joined(torch.cat([x, x]), torch.cat([t, t]), {key: torch.cat([c, c]) for key, c in condition.items()})
    assert torch.equal(said[0], base[0]) and torch.equal(said[1, ..., 1:], base[1, ..., 1:])
    clean = {key: family.law.clean_and_noise(x, value, t)[0][1:] for key, value in (("said", said), ("own", own), ("base", base))}
    wanted = moving_like(clean["own"], clean["base"], regions[1:, None])
    assert torch.allclose(clean["said"][..., 0], wanted[..., 0], atol=1e-5) and not torch.equal(own, base)
    assert not torch.allclose(wanted, clean["own"], atol=1e-4)
    assert torch.allclose(both[2:], said, atol=1e-5) and torch.allclose(both[:2], said, atol=1e-5)


def test_a_region_moves_as_strongly_as_another_clip_s_and_keeps_its_mean_frame() -> None:
    other, region = noise((3, 3, 5, 4, 4), 0, "other"), torch.zeros(3, 1, 5, 4, 4)
    region[..., :2] = 1
    strengths = torch.tensor([0.5, 2.0, 0.05]).reshape(3, 1, 1, 1, 1)
    clips = noise((3, 3, 1, 4, 4), 0, "face") + strengths * noise((3, 3, 5, 4, 4), 0, "own")
    moved = moving_like(clips, other, region)

    def power(x: torch.Tensor) -> torch.Tensor:
        return ((x - x.mean(2, keepdim=True)).square() * region).sum((1, 2, 3, 4))

    assert torch.allclose(moved.mean(2), clips.mean(2), atol=1e-5)
    assert torch.allclose(power(moved)[0], power(other)[0], rtol=1e-4)
    assert torch.equal(moved[1], clips[1])  # it moves more than the other: nothing is taken from it
    assert torch.allclose(power(moved)[2], 16 * power(clips)[2], rtol=1e-4)  # four times at most


def test_what_cannot_move_is_left_as_it_is() -> None:
    clips, others = noise((2, 3, 5, 4, 4), 0, "own"), noise((2, 3, 5, 4, 4), 0, "other")
    frame, whole = clips[:, :, :1], torch.ones(2, 1, 5, 4, 4)
    assert torch.equal(moving_like(frame, others[:, :, :1], whole[:, :, :1]), frame)
    assert torch.equal(moving_like(clips, others, 0 * whole), clips)


def test_a_sampler_draws_with_the_predictions_it_is_given(tmp_path: Path) -> None:
    family = tiny_family("wan", tmp_path)
    shape, condition = family.latents_shape(5, family.geometry.height, family.geometry.width), family.encode_prompts(["a"])

    def still(x_t: torch.Tensor, t: torch.Tensor, condition: object) -> torch.Tensor:
        return torch.zeros_like(x_t)

    drawn = sample(family, condition, condition, [3], shape, 4, 1.0, predict=still)
    assert torch.allclose(drawn[0], noise(shape, 3, "sample"), atol=1e-5)
