"""Clips on their way: they begin at every time, go on by the sampler's step, and begin anew where they arrive."""

import torch
from torch import Tensor

from magicid.avatar.trajectories import Trajectories

LATENTS = torch.arange(5.0).reshape(5, 1, 1, 1, 1).expand(5, 2, 3, 4, 4).half()


def tensors(way: Trajectories) -> tuple[Tensor, Tensor, Tensor]:
    x, clip, left = (way.state[f"trajectories.{name}"] for name in ("x", "clip", "left"))
    return x, clip, left


def test_they_begin_as_real_clips_at_every_time() -> None:
    x, clips, left = tensors(Trajectories(LATENTS, count=8, times=4, seed=0))
    assert left.tolist() == [1, 2, 3, 4, 1, 2, 3, 4]
    assert x[3].mean().abs() < 0.5 and x[7].std() > 0.8  # nothing but noise
    rest = x[0] - 0.75 * LATENTS[int(clips[0])].float()
    assert abs(float(rest.std()) - 0.25) < 0.05


def test_a_step_always_looks_at_the_same_places_and_others_at_others() -> None:
    way = Trajectories(LATENTS, count=8, times=4, seed=0)
    places, x, t, clips = way.look(3, batch=5)
    assert len(set(places.tolist())) == 5 and torch.equal(way.look(3, batch=5)[0], places)
    assert any(not torch.equal(way.look(step, batch=5)[0], places) for step in range(4, 8))
    assert torch.equal(x, tensors(way)[0][places]) and torch.equal(t, tensors(way)[2][places] / 4)
    assert clips.dtype == torch.int64 and set(clips.tolist()) <= set(range(5))


def test_a_clip_goes_on_by_the_samplers_step_and_begins_anew_where_it_arrives() -> None:
    way = Trajectories(LATENTS, count=4, times=4, seed=0)
    x, _, left = tensors(way)
    before, places = x.detach().clone(), torch.tensor([0, 2])
    velocity = torch.ones(2, *x.shape[1:])
    way.advance(0, places, velocity)
    assert left.tolist() == [4, 2, 2, 4]
    torch.testing.assert_close(x[2], before[2] - 0.25)
    assert torch.equal(x[1], before[1]) and abs(float(x[0].detach().std()) - 1) < 0.2
    again = Trajectories(LATENTS, count=4, times=4, seed=0)
    again.advance(0, places, velocity)
    assert all(torch.equal(a, b) for a, b in zip(tensors(way), tensors(again), strict=True))
    other = Trajectories(LATENTS, count=4, times=4, seed=0)
    other.advance(1, places, velocity)
    assert not torch.equal(tensors(other)[0][0], x[0])
