"""Clips on their way: they begin as noise, go on by the sampler's step, and begin anew where they arrive."""

import numpy as np
import torch
from torch import Tensor

from magicid.avatar.trajectories import Trajectories
from magicid.core.diffusion import FlowMatching

CLIPS = (0, 1, 1, 1, 4)


def pool() -> Trajectories:
    return Trajectories(FlowMatching(), (2, 3, 4, 4), pool=8, sample_steps=4, clips=np.array(CLIPS), seed=0)


def tensors(way: Trajectories) -> tuple[Tensor, Tensor, Tensor]:
    x, clip, left = (way.state[f"trajectories.{name}"] for name in ("x", "clip", "left"))
    return x, clip, left


def test_they_begin_as_noise_told_of_clips_of_the_store() -> None:
    x, clip, left = tensors(pool())
    assert left.tolist() == [4] * 8 and set(clip.tolist()) == set(CLIPS)
    assert abs(float(x.mean())) < 0.2 and abs(float(x.std()) - 1) < 0.2


def test_a_turn_always_looks_at_the_same_places_and_others_at_others() -> None:
    way = pool()
    places, x, t, clips = way.look(3, batch=5)
    assert len(set(places.tolist())) == 5 and torch.equal(way.look(3, batch=5)[0], places)
    assert any(not torch.equal(way.look(turn, batch=5)[0], places) for turn in range(4, 8))
    assert torch.equal(x, tensors(way)[0][places]) and t.tolist() == [1.0] * 5
    assert clips.dtype == torch.int64 and torch.equal(clips.float(), tensors(way)[1][places])


def test_a_clip_goes_on_by_the_samplers_step_and_begins_anew_where_it_arrives() -> None:
    way, again = pool(), pool()
    x, _, left = tensors(way)
    before, places = x.detach().clone(), torch.tensor([0, 2])
    velocity = torch.ones(2, *x.shape[1:])
    for turn in range(3):
        way.advance(turn, places, velocity)
    assert left.tolist() == [1, 4, 1, 4, 4, 4, 4, 4]
    torch.testing.assert_close(x[2], before[2] - 0.75)
    assert torch.equal(x[1], before[1])
    way.advance(3, places[:1], velocity[:1])
    assert left.tolist() == [4, 4, 1, 4, 4, 4, 4, 4] and not torch.equal(x[0], before[0])
    for turn in range(3):
        again.advance(turn, places, velocity)
    again.advance(4, places[:1], velocity[:1])
    assert torch.equal(tensors(again)[0][1:], x[1:]) and not torch.equal(tensors(again)[0][0], x[0]), "turns share a noise"


def test_what_is_not_finite_changes_nothing() -> None:
    way = pool()
    before = [tensor.detach().clone() for tensor in tensors(way)]
    way.advance(0, torch.tensor([1, 3]), torch.full((2, 2, 3, 4, 4), float("nan")))
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(way), strict=True))
