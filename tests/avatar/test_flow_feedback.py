"""Speed by optical flow: it is what the motion measure says, and its gradient is where DIS goes."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from magicid.avatar.dataset import FPS, HELD_OUT, ClipStore, item, render
from magicid.avatar.flow_feedback import CELL, FlowReward, slope, speed, speed_of, subject_flow
from magicid.avatar.pretrain_autoencoder import to_video
from magicid.avatar.renderer import Clip
from magicid.avatar.truth import ACTIONS
from magicid.perception.motion import SUBJECT_HEADS, subject_motion
from magicid.perception.optical_flow import dis, working_scale

CLIPS = range(900, 908)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [render(HELD_OUT, i) for i in CLIPS]


@pytest.fixture(scope="module")
def reward(clips: list[Clip]) -> FlowReward:
    frames, boxes, landmarks = (np.stack([getattr(clip, n) for clip in clips]) for n in ("frames", "boxes", "landmarks"))
    return FlowReward(ClipStore(HELD_OUT, frames, boxes, landmarks, first=CLIPS[0]))


def measured(frames: np.ndarray, boxes: np.ndarray) -> float:
    found = subject_flow(frames, boxes)
    assert found is not None
    return float(speed_of(to_video(frames[None])[0], found))


def test_speed_is_what_the_motion_measure_says(clips: list[Clip]) -> None:
    for clip in clips:
        expected = subject_motion(clip.frames, [tuple(box) for box in clip.boxes], FPS).value
        height = float(np.median(clip.boxes[:, 3] - clip.boxes[:, 1])) * working_scale(64, 64)
        assert measured(clip.frames, clip.boxes) * FPS / (SUBJECT_HEADS * height) == pytest.approx(expected, rel=0.2)


def test_without_background_nothing_is_told(clips: list[Clip]) -> None:
    whole = np.tile(np.array([0.0, 0, 63, 63]), (17, 1))
    assert subject_flow(np.zeros((17, 64, 64, 3), np.uint8), whole) is None


def test_speed_is_of_the_fastest_tenth_less_the_camera_and_of_what_goes_on(clips: list[Clip]) -> None:
    flow, valid = torch.zeros(1, 4, 2, 10, 20), torch.ones(1, 4, 10, 20)
    camera = torch.full_like(flow, 0.5)
    torch.testing.assert_close(speed(flow + camera, camera, valid), torch.zeros(1), rtol=0, atol=0.01)
    flow[..., 0, 0:4, 0:9] = 3.0  # 36 cells, of which 20 count; smoothed, 16 of these have it all around
    assert 2.8 < float(speed(flow + camera, camera, valid)) <= 3.001
    to_and_fro = flow * torch.tensor([1.0, -1, 1, -1]).reshape(1, 4, 1, 1, 1)
    assert float(speed(to_and_fro, 0 * camera, valid)) < 0.01
    valid[..., :4, :9] = 0
    assert float(speed(flow, 0 * camera, valid)) < 0.01


def test_the_slope_is_that_of_a_picture_that_goes_on() -> None:
    """Texture moved by 1 pixel; moved by a little more, flow grows by so much."""
    picture = F.interpolate(torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(3)), (64, 64), mode="bicubic")

    def moved(by: float) -> Tensor:
        grid = F.affine_grid(torch.tensor([[[1.0, 0, -2 * by / 64], [0, 1, 0]]]), [1, 3, 64, 64], align_corners=False)
        return F.grid_sample(picture, grid, mode="bicubic", align_corners=False, padding_mode="reflection")

    b = moved(1.0).requires_grad_(True)
    flow = torch.zeros(1, 2, 64, 64)
    flow[:, 0] = 1
    found = slope(picture, b, flow)
    assert not found.any()
    inner = found[:, :, 12:52, 12:52].mean((0, 2, 3))
    more = moved(1.1) - moved(1.0)
    x, y = (float((torch.autograd.grad(part, b, retain_graph=True)[0] * more).sum()) for part in inner)
    assert x == pytest.approx(0.1, rel=0.15) and abs(y) < 0.01


def test_going_up_the_slope_is_more_motion_to_dis(clips: list[Clip]) -> None:
    boxes = [clip.boxes for clip in clips]
    video = to_video(np.stack([clip.frames for clip in clips]))
    before = [measured(clip.frames, clip.boxes) for clip in clips]
    for _ in range(3):
        video.requires_grad_(True)
        frames = ((video.detach().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 4, 1).numpy()
        found = [subject_flow(clip, box) for clip, box in zip(frames, boxes, strict=True)]
        speeds = [speed_of(clip, flow) for clip, flow in zip(video, found, strict=True) if flow]
        (gradient,) = torch.autograd.grad(torch.stack(speeds).log().sum(), video)
        video = video.detach() + 0.01 * gradient / gradient.square().mean((1, 2, 3, 4), keepdim=True).sqrt()
    frames = ((video.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 4, 1).numpy()
    after = [measured(clip, box) for clip, box in zip(frames, boxes, strict=True)]
    assert np.mean(np.log(after) - np.log(before)) > 0.1


def test_a_clip_is_set_against_the_real_one_of_its_sentence(clips: list[Clip], reward: FlowReward) -> None:
    video, boxes = (to_video(np.stack([c.frames for c in clips])), torch.from_numpy(np.stack([c.boxes for c in clips])))
    actions = [ACTIONS.index(item(HELD_OUT, i).truth.action) for i in CLIPS]
    numbers, followed = list(range(len(clips))), torch.ones(len(clips), dtype=torch.bool)
    torch.testing.assert_close(reward(video, boxes, numbers, actions, followed, 1.0), torch.zeros(8), rtol=0, atol=1e-5)
    assert (reward(video, boxes, numbers, actions, followed, 1.2) < 0).all()
    still = video[:, :, :1].expand_as(video)
    slow = reward(still, boxes[:, :1].expand_as(boxes), numbers, actions, followed, 1.0)
    assert (slow < -0.05).all()
    followed[2] = False
    some = reward(still, boxes[:, :1].expand_as(boxes), numbers, actions, followed, 1.0)
    assert some[2] == 0 and torch.equal(some[followed], slow[followed])


def test_cells_are_of_a_working_frame() -> None:
    found = subject_flow(render(HELD_OUT, 900).frames, render(HELD_OUT, 900).boxes)
    assert found is not None and found.flow_P2hw.shape == (16, 2, 128 // CELL, 128 // CELL)
    a, b = np.zeros((128, 128, 3), np.uint8), np.zeros((128, 128, 3), np.uint8)
    assert dis(a, b).shape == (128, 128, 2)
