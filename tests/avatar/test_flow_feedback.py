"""Speed by optical flow: it is what the motion measure says, and its gradient is where DIS goes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from magicid.avatar.dataset import FPS, HELD_OUT, ClipStore, render
from magicid.avatar.flow_feedback import MEASURED, FlowReward, flow_gradient, speed, speed_of, subject_flow
from magicid.avatar.renderer import Clip
from magicid.media.video import to_frames, to_tensor
from magicid.perception.motion import SUBJECT_HEADS, subject_motion

CLIPS = range(900, 908)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [render(HELD_OUT, i) for i in CLIPS]


@pytest.fixture(scope="module")
def reward(clips: list[Clip]) -> FlowReward:
    frames, boxes, landmarks = (np.stack([getattr(clip, n) for clip in clips]) for n in ("frames", "boxes", "landmarks"))
    return FlowReward(ClipStore(HELD_OUT, frames, boxes, landmarks, first=CLIPS[0]), aim=1.0)


def measured(frames: np.ndarray, boxes: np.ndarray) -> float:
    found = subject_flow(frames, boxes)
    assert found is not None
    return float(speed_of(to_tensor(frames[None])[0], found))


def test_speed_is_what_the_motion_measure_says(clips: list[Clip]) -> None:
    for clip in clips:
        expected = subject_motion(clip.frames, [tuple(box) for box in clip.boxes], FPS).value
        assert measured(clip.frames, clip.boxes) * FPS / SUBJECT_HEADS == pytest.approx(expected, rel=0.2)


def test_without_background_nothing_is_told(clips: list[Clip]) -> None:
    whole = np.tile(np.array([0.0, 0, 63, 63]), (17, 1))
    assert subject_flow(np.zeros((17, 64, 64, 3), np.uint8), whole) is None


def test_speed_is_of_the_fastest_tenth_and_of_what_goes_on() -> None:
    motion, valid = torch.zeros(4, 2, 10, 20), torch.ones(4, 10, 20)
    assert float(speed(motion, valid)) < 0.01
    motion[:, 0, 0:4, 0:9] = 3.0  # 36 cells, of which 20 count; smoothed, 27 of these have it all around or are at the edge
    assert 2.8 < float(speed(motion, valid)) <= 3.001
    assert float(speed(motion * torch.tensor([1.0, -1, 1, -1]).reshape(4, 1, 1, 1), valid)) < 0.01  # to and fro
    whole = float(speed(motion, valid))
    motion[3], valid[3] = 0, 0  # nothing is known of the last pair
    assert float(speed(motion, valid)) == pytest.approx(whole)
    assert float(speed(motion, 0 * valid)) == 0


def test_the_gradient_is_that_of_a_picture_that_goes_on() -> None:
    """A texture of slanting stripes and spots, moved a little more: flow grows by so much, both ways."""
    x, y = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="xy")

    def moved(dx: float, dy: float) -> Tensor:
        u, v = x - dx, y - dy
        grey = 0.5 * torch.sin(0.6 * u + 0.25 * v) + 0.25 * torch.sin(0.2 * u - 0.6 * v + 1)
        return grey.expand(1, 3, 64, 64).clone()

    a, b, flow = moved(0, 0).requires_grad_(True), moved(1.0, 0.5).requires_grad_(True), torch.zeros(1, 2, 64, 64)
    flow[:, 0], flow[:, 1] = 1.0, 0.5
    found = flow_gradient(a, b, flow)
    assert not found.any()
    inner = found[0, :, 12:52, 12:52].mean((1, 2))
    on, back = moved(1.02, 0.46) - moved(1.0, 0.5), moved(0.02, -0.04) - moved(0, 0)
    for part, expected in zip(inner, (0.02, -0.04), strict=True):
        of_a, of_b = torch.autograd.grad(part, (a, b), retain_graph=True)
        assert float((of_b * on).sum()) == pytest.approx(expected, rel=0.15)
        assert float((of_a * back).sum()) == pytest.approx(-expected, rel=0.15)


def test_going_up_the_slope_is_more_motion_to_dis(clips: list[Clip]) -> None:
    boxes = [clip.boxes for clip in clips]
    video = to_tensor(np.stack([clip.frames for clip in clips]))
    before = [measured(clip.frames, clip.boxes) for clip in clips]
    for _ in range(3):
        video.requires_grad_(True)
        found = [subject_flow(clip, box) for clip, box in zip(to_frames(video), boxes, strict=True)]
        speeds = [speed_of(clip, flow) for clip, flow in zip(video, found, strict=True) if flow]
        (gradient,) = torch.autograd.grad(torch.stack(speeds).log().sum(), video)
        video = video.detach() + 0.01 * gradient / gradient.square().mean((1, 2, 3, 4), keepdim=True).sqrt()
    after = [measured(clip, box) for clip, box in zip(to_frames(video), boxes, strict=True)]
    assert np.mean(np.log(after) - np.log(before)) > 0.1


def test_a_clip_is_set_against_the_real_one_of_its_sentence(clips: list[Clip], reward: FlowReward) -> None:
    video, boxes = (to_tensor(np.stack([c.frames for c in clips])), torch.from_numpy(np.stack([c.boxes for c in clips])))
    numbers, followed = list(range(len(clips))), torch.ones(len(clips), dtype=torch.bool)
    torch.testing.assert_close(reward(video, boxes, numbers, followed), torch.zeros(8), rtol=0, atol=1e-4)
    faster = FlowReward(reward.store, aim=1.2)(video, boxes, numbers, followed)
    actions = [reward._action(clip) for clip in numbers]
    asked = [-0.2 * (reward.speeds[c] or 0.0) / reward.usual[a] for c, a in zip(numbers, actions, strict=True)]
    torch.testing.assert_close(faster, torch.tensor(asked), rtol=0, atol=1e-4)
    still, at_first = video[:, :, :1].expand_as(video), boxes[:, :1].expand_as(boxes)
    slow = reward(still, at_first, numbers, followed)
    assert (slow < -0.05).all()
    followed[2] = False
    some = reward(still, at_first, numbers, followed)
    assert some[2] == 0 and torch.equal(some[followed], slow[followed])


def test_what_is_not_told_counts_as_no_gap(clips: list[Clip], reward: FlowReward) -> None:
    video, whole = to_tensor(np.stack([clips[0].frames])), torch.tensor([[[0.0, 0, 63, 63]] * 17])
    assert reward(video, whole, [0], torch.tensor([True])).tolist() == [0]
    unknown = FlowReward(reward.store, aim=1.0)
    unknown.speeds[0] = None
    boxes = torch.from_numpy(clips[0].boxes)[None]
    assert unknown(0.5 * video, boxes, [0], torch.tensor([True])).tolist() == [0]


def test_a_real_clip_is_measured_when_it_is_asked_for(
    clips: list[Clip], monkeypatch: pytest.MonkeyPatch, reward: FlowReward
) -> None:
    monkeypatch.setattr("magicid.avatar.flow_feedback.MEASURED", 2)
    assert len(reward.speeds) == min(MEASURED, len(clips)) == 8
    later = FlowReward(reward.store, aim=1.0)
    assert set(later.speeds) == {0, 1}
    later(to_tensor(np.stack([clips[5].frames])), torch.from_numpy(clips[5].boxes)[None], [5], torch.tensor([True]))
    assert later.speeds == {number: reward.speeds[number] for number in (0, 1, 5)}
