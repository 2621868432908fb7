"""Each law of times is what it says; draws belong to the step, or to a fixed few."""

import pytest
import torch

from magicid.core.diffusion import FlowMatching, VariancePreserving
from magicid.core.seeds import generator
from magicid.training.timesteps import Drawing, positions

SHAPE = (2, 3, 4, 4)
LAWS = [FlowMatching(shift=3.0), VariancePreserving("v")]


@pytest.mark.parametrize("times", ["uniform", "logit_normal", "stratified"])
def test_positions_are_within_the_path_and_centred(times: str) -> None:
    u = positions(times, 4000, generator(0))
    assert u.shape == (4000,) and (u >= 0).all() and (u <= 1).all()
    assert float(u.mean()) == pytest.approx(0.5, abs=0.02)


def test_logit_normal_prefers_the_middle_and_uniform_does_not() -> None:
    middle = {times: ((u := positions(times, 4000, generator(0))) > 0.25).logical_and(u < 0.75).float().mean()
              for times in ("uniform", "logit_normal")}  # fmt: skip
    assert float(middle["uniform"]) == pytest.approx(0.5, abs=0.03) and middle["logit_normal"] > 0.7


def test_stratified_positions_have_one_in_each_part() -> None:
    parts = [(positions("stratified", 8, generator(seed)) * 8).floor() for seed in (3, 4)]
    assert all(torch.equal(part.sort().values, torch.arange(8.0)) for part in parts)
    assert not torch.equal(*parts), "the first of a step is not always the cleanest"


def test_an_unknown_law_of_times_is_refused() -> None:
    with pytest.raises(ValueError, match="'cosine' are unknown; choose uniform"):
        positions("cosine", 1, generator(0))


@pytest.mark.parametrize("law", LAWS)
def test_times_are_bent_by_the_models_own_warp(law: FlowMatching | VariancePreserving) -> None:
    draws, _ = Drawing(law, SHAPE)([True] * 5, 7, 0)
    assert torch.equal(draws.t, law.warp(positions("uniform", 5, generator(0, "optimize", 7, 0, "time"))))


@pytest.mark.parametrize("fixed", [0, 6])
def test_identity_pairs_are_noised_less_than_dynamic_ones_if_asked(fixed: int) -> None:
    law, kinds = FlowMatching(shift=3.0), [True, False] * 6
    draws, taken = Drawing(law, SHAPE, split=True, fixed=fixed)(kinds, 0, 0)
    half = float(law.warp(torch.tensor(0.5)))
    assert [t <= half for t in draws.t[taken].tolist()] == kinds


def test_fresh_draws_belong_to_the_step() -> None:
    drawing = Drawing(FlowMatching(), SHAPE)
    first, taken = drawing([True] * 3, 4, 0)
    again, _ = Drawing(FlowMatching(), SHAPE)([True] * 3, 4, 0)
    other, _ = drawing([True] * 3, 5, 0)
    assert taken == [0, 1, 2] and first.eps.shape == (3, *SHAPE)
    assert torch.equal(first.eps, again.eps) and torch.equal(first.t, again.t)
    assert not torch.equal(first.eps, other.eps) and not torch.equal(first.t, other.t)


def test_fixed_draws_are_the_same_at_every_step_and_spread_over_its_groups() -> None:
    drawing = Drawing(FlowMatching(), SHAPE, fixed=4)
    steps = [drawing([True] * 4, step, 0) for step in range(20)]
    assert all(torch.equal(draws.eps, steps[0][0].eps) and torch.equal(draws.t, steps[0][0].t) for draws, _ in steps)
    assert all(sorted(taken) == [0, 1, 2, 3] for _, taken in steps) and len({tuple(taken) for _, taken in steps}) > 5
    assert drawing([True] * 6, 0, 0)[1][4:] == drawing([True] * 6, 0, 0)[1][:2]
