"""What the judges say of clips on their way: crops as the judges see them, likeness, speed, and that gradients arrive."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from magicid.avatar.dataset import HELD_OUT, item, render
from magicid.avatar.feedback import (
    SLACK,
    STILL,
    FeedbackWeights,
    RewardModels,
    Rewards,
    aligned,
    leaping,
    likeness,
    speeds,
)
from magicid.avatar.prompts import describe
from magicid.avatar.renderer import Clip
from magicid.avatar.truth import ACTIONS
from magicid.media.video import to_tensor
from magicid.perception.face import align
from magicid.perception.networks import CROP, to_input

CLIPS = (1, 3, 4)


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [render(HELD_OUT, i) for i in CLIPS]


@pytest.fixture(scope="module")
def models() -> RewardModels:
    return RewardModels()


def judge(models: RewardModels, clips: list[Clip], video: Tensor, actions: list[int] | None = None) -> Rewards:
    truths = [item(HELD_OUT, i).truth for i in CLIPS]
    sentences = [[describe(replace(t, action=a), np.random.default_rng(0)) for a in ACTIONS] for t in truths]
    meant = [ACTIONS.index(truth.action) for truth in truths] if actions is None else actions
    return models(video, to_tensor(np.stack([clip.frames for clip in clips])), sentences, torch.tensor(meant))


@pytest.mark.parametrize("aside", [0.0, 25.0])  # the second at the picture's edge, half outside
def test_faces_are_cut_as_the_judges_cut_them(clips: list[Clip], aside: float) -> None:
    for clip in clips:
        frame, landmarks = clip.frames[0], clip.landmarks[0] + (aside, 0)
        expected = to_input(align(frame, landmarks, CROP)[None])
        found = aligned(to_input(frame[None]), torch.from_numpy(landmarks)[None].float())
        assert bool((expected == -1).all(1).any()) >= bool(aside)
        assert float((found - expected).abs().mean()) < 0.01  # of -1..1: OpenCV rounds places to a 32nd of a pixel


def test_likeness_is_of_frames_that_are_seen_and_of_other_clips() -> None:
    a, b, c = torch.eye(3)
    faces = torch.stack([torch.stack([a, a, b]), torch.stack([a, a, a]), torch.stack([c, c, c])])
    within, across = likeness(faces, torch.tensor([[1.0, 1, 0], [1, 1, 1], [1, 1, 1]]))
    torch.testing.assert_close(within, torch.ones(3))
    torch.testing.assert_close(across, torch.tensor([0.5, 0.5, 0]))
    within, _ = likeness(faces, torch.ones(3, 3))
    torch.testing.assert_close(within, torch.tensor([1 / 3, 1, 1]))


def test_no_face_at_all_is_like_nothing() -> None:
    within, across = likeness(torch.ones(2, 3, 4), torch.zeros(2, 3))
    assert within.tolist() == across.tolist() == [0, 0]


def test_speed_is_of_the_head_and_of_its_turning_and_not_of_jitter() -> None:
    steps = torch.arange(9).float()[None, :, None, None]
    face = 10 * torch.rand(1, 1, 5, 2, generator=torch.Generator().manual_seed(0))
    direction = torch.tensor([3.0, 4.0])
    rest = STILL**0.5
    torch.testing.assert_close(speeds(face + steps * direction), torch.tensor([[5.0, rest]]), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(speeds(face + (-1) ** steps * direction), torch.tensor([[rest, rest]]), rtol=1e-3, atol=1e-3)
    whole, turning = speeds(face * (1 + steps))[0]
    assert whole > turning > 1


def test_a_head_leaps_where_it_goes_further_than_the_real_one_or_is_in_two_places() -> None:
    real = torch.tensor([[[0.0, 0, 1], [3, 4, 1], [3, 4, 2]]]).expand(4, 3, 3)
    made = real.flip(1).clone()  # the same, another way
    made[1, 0, 0] += 12  # 13 where the longest step is 5
    made[2, 1, 2] = 8
    made[3, :, 2] = 0
    torch.testing.assert_close(leaping(made, real), torch.tensor([0.0, (7 - SLACK) / 2, 2, 0]))


def test_a_head_in_two_places_leaps_without_a_step(models: RewardModels, clips: list[Clip]) -> None:
    still = to_tensor(np.stack([clip.frames for clip in clips]))[:, :, :1].expand(-1, -1, 17, -1, -1)
    one, both = (judge(models, clips, video) for video in (still, torch.maximum(still, still.roll(32, -1))))
    assert (one.leaps_B == 0).all() and (both.leaps_B > 0.1).all()


def test_a_head_that_leaps_is_not_followed(models: RewardModels, clips: list[Clip]) -> None:
    video = to_tensor(np.stack([clip.frames for clip in clips]))
    found = judge(models, clips, video)
    assert found.followed_B.all() and (found.leaps_B == 0).all()
    aside = torch.cat((video[:, :, :8], video[:, :, 8:].roll(24, -1)), 2)
    leapt = judge(models, clips, aside)
    assert not leapt.followed_B.any() and (leapt.leaps_B > 0.02).all()
    faster = replace(leapt, speed_B2=torch.ones(3, 2))
    assert (faster.seen_B == 1).all()
    alone = FeedbackWeights(identity=0.0, action=0.0, seen=0.0, leaps=0.0)
    assert (faster.loss(alone) == 0).all()


def test_real_clips_are_found_as_they_are(models: RewardModels, clips: list[Clip]) -> None:
    video = to_tensor(np.stack([clip.frames for clip in clips]))
    found = judge(models, clips, video)
    assert (found.seen_B == 1).all() and (found.within_B > 0.6).all() and (found.across_B < 0.4).all()
    torch.testing.assert_close(found.speed_B2, torch.zeros(3, 2))  # of the very clips that they are set against
    others = judge(models, clips, video, [(ACTIONS.index(item(HELD_OUT, i).truth.action) + 1) % len(ACTIONS) for i in CLIPS])
    assert (others.action_B > found.action_B).all()
    boxes = torch.from_numpy(np.stack([clip.boxes for clip in clips]))
    assert float((found.boxes_BF4 - boxes).abs().mean()) < 2 and not found.boxes_BF4.requires_grad
    grey = judge(models, clips, torch.zeros_like(video))
    assert (grey.lost_B > 0.9).all() and (grey.seen_B == 0).all()
    frozen = judge(models, clips, video[:, :, :1].expand_as(video))
    assert (frozen.speed_B2[:, 0] < -0.5).all()
    mixed = judge(models, clips, torch.cat((video[:, :, ::2], video.roll(1, 0)[:, :, 1::2]), 2))
    assert (mixed.within_B < found.within_B - 0.2).all()


def test_the_loss_asks_for_what_each_weight_says_and_reaches_the_pixels(models: RewardModels, clips: list[Clip]) -> None:
    video = to_tensor(np.stack([clip.frames for clip in clips])).requires_grad_(True)
    found = judge(models, clips, video)
    alone = {"identity": 0.0, "motion": 0.0, "action": 0.0, "across": 0.0, "seen": 0.0, "leaps": 0.0}
    assert (found.loss(FeedbackWeights(**alone)) == 0).all()
    torch.testing.assert_close(found.loss(FeedbackWeights(**alone | {"identity": 2.0})), -2 * found.within_B)
    torch.testing.assert_close(
        found.loss(FeedbackWeights(**alone | {"identity": 2.0, "across": 0.5})), found.across_B - 2 * found.within_B
    )
    torch.testing.assert_close(found.loss(FeedbackWeights(**alone | {"motion": 3.0})), 3 * found.speed_B2.square().mean(1))
    torch.testing.assert_close(found.loss(FeedbackWeights(**alone | {"action": 3.0})), 3 * found.action_B)
    assert (found.lost_B < 0.05).all()
    hidden = replace(found, lost_B=torch.tensor([0.0, 0.5, 0.5]), real_seen_B=torch.tensor([1, 1, 16 / 17]))
    assert hidden.loss(FeedbackWeights(**alone | {"seen": 3.0})).tolist() == [0, 1.5, 0]
    astray = replace(found, leaps_B=torch.tensor([0.0, 0.5, 0.5]), real_seen_B=torch.tensor([1, 1, 16 / 17]))
    assert astray.loss(FeedbackWeights(**alone | {"leaps": 3.0})).tolist() == [0, 1.5, 0]
    for name in ("seen_B", "real_seen_B"):
        lost = replace(found, speed_B2=found.speed_B2 + 1, **{name: torch.full((3,), 16 / 17)})
        assert (lost.loss(FeedbackWeights(**alone | {"motion": 3.0})) == 0).all()
    faster = judge(models, clips, video[:, :, [*range(0, 17, 2), *range(15, 0, -2)]])
    assert (faster.loss(FeedbackWeights(**alone | {"motion": 3.0})) > 1e-3).all()
    grey, leapt = (judge(models, clips, v) for v in (0.2 * video, torch.cat((video[:, :, :8], video[:, :, 8:].roll(24, -1)), 2)))
    for part in (found.within_B, faster.speed_B2, found.action_B, grey.lost_B, leapt.leaps_B, found.crops_BFCHW):
        (gradient,) = torch.autograd.grad(part.sum(), video, retain_graph=True)
        assert bool(gradient.isfinite().all()) and float(gradient.abs().max()) > 0
