"""The photos as stage one learns them."""

import pytest
import torch

from magicid.core.run import Run
from magicid.media.photo import read_photo
from magicid.media.video import to_tensor
from magicid.perception.subject import head_masks
from magicid.training.reconstruction import noised_prediction, reconstruction
from magicid.training.stills import photo_masks, stills
from tests.baselines.conftest import paired, run

__all__ = ["paired", "run"]


def test_a_single_frame_is_the_first_of_the_static_video(run: Run) -> None:
    whole, one = stills(run), stills(run, single_frame=True)
    assert one.latents.shape[2] == 1 and torch.equal(one.latents, whole.latents[:, :, :1])
    assert one.ids == whole.ids == [photo.id for photo in run.photos()]


@pytest.mark.parametrize("single_frame", [False, True])
def test_mirror_images_follow_the_photos_as_if_they_had_been_photos(run: Run, single_frame: bool) -> None:
    plain, both = stills(run, single_frame), stills(run, single_frame, mirrored=True)
    assert torch.equal(both.latents[:3], plain.latents) and both.latents.shape[1:] == plain.latents.shape[1:]
    picture = read_photo(run.file(run.photos()[0].image))[None, None, :, ::-1].copy()
    frames = 1 if single_frame else run.family.geometry.frames
    expected = run.family.encode(to_tensor(picture.repeat(frames, 1)))[0]
    torch.testing.assert_close(both.latents[3], expected.float())
    assert len(set(both.ids)) == 6


def test_a_head_has_hair_and_neck_and_no_body(run: Run) -> None:
    shape = run.family.latents_shape(5, 32, 32)[1:]
    masks = photo_masks(run, shape, head_masks)
    assert masks.shape == (3, *shape) and set(masks.unique().tolist()) == {0, 1}
    photo = run.photos()[0]
    x0, y0, x1, y1 = run.judges.detector.detect(read_photo(run.file(photo.image))[None])[0][0].box
    side = 32 / shape[1]
    inside = masks[0, 0]
    assert inside[int(y0 / side) : int(y1 / side), int(x0 / side) : int(x1 / side)].all()
    assert not inside[-1].any() or y1 + 0.2 * (y1 - y0) > 32 - side


def test_what_lies_outside_of_the_region_teaches_nothing(run: Run) -> None:
    clips = stills(run, single_frame=True, mirrored=True, region=head_masks)
    assert clips.masks is not None and clips.masks.shape == (6, 1, *clips.latents.shape[3:])
    assert torch.equal(clips.masks[3:], clips.masks[:3].flip(-1))
    loss = reconstruction(run, clips, 2)
    key = (run.common.seed, "finetune", 5, 0)
    chosen = clips.choose(2, *key)
    prediction, target = noised_prediction(run.family, clips.latents[chosen], clips.condition(chosen), *key)
    inside = clips.masks[chosen][:, None].expand_as(target).bool()
    expected = torch.stack([(a - b)[m].square().mean() for a, b, m in zip(prediction, target, inside, strict=True)])
    torch.testing.assert_close(loss(5, 0)[0], expected.mean())
    assert not inside.all()
