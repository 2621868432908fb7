"""The engine gives the loss of the formulae and its gradient, however it goes about it."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import pytest
import torch
from torch import Tensor

from magicid.core.diffusion import FlowMatching, VariancePreserving
from magicid.core.interfaces import Condition, Family
from magicid.core.records import Pair
from magicid.core.seeds import noise
from magicid.training import lora, preference, reference
from magicid.training.objectives import Errors, Objective, pair_loss, video_error
from magicid.training.pair_data import PairData
from magicid.training.preference import POLICY, REFERENCE, PairStep
from magicid.training.recompute import recomputing
from magicid.training.reference import Look, Seen, see
from magicid.training.timesteps import Draws
from tests.families.tiny import adapter, tiny_family

SHAPE = (4, 3, 8, 8)
PAIRS = [("a", "b"), ("a", "c"), ("a", "d"), ("e", "b"), ("f", "a")]
GROUPS, TAKEN = [[0, 1, 2], [3], [4]], [0, 1, 0]
T = torch.tensor([0.4, 0.9])
LAWS = [FlowMatching(), VariancePreserving("eps"), VariancePreserving("v")]
DRAWS = Draws(noise((2, *SHAPE), 0, "draws"), T)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return tiny_family("wan", tmp_path_factory.mktemp("wan"))


@pytest.fixture
def family(loaded: Family) -> Iterator[Family]:
    """With a policy and a reference that are equal and not trivial."""
    with adapter(loaded, POLICY) as weights, adapter(loaded, REFERENCE):
        lora.load_weights(loaded, REFERENCE, weights)
        yield loaded


@pytest.fixture
def data(family: Family) -> PairData:
    pairs = [Pair(str(i), "dynamic", w, x, "a person waves", 1.0, float(i % 2)) for i, (w, x) in enumerate(PAIRS)]
    return PairData(pairs, {name: noise(SHAPE, 0, name) for name in "abcdef"}, family.encode_prompts)


def move(family: Family, size: float = 0.05) -> None:
    """Take the policy away from the reference."""
    for name, weight in lora.parameters(family, POLICY).items():
        weight.data += size * noise(tuple(weight.shape), 1, name).to(weight.dtype)


def gradient(
    family: Family, step: PairStep, groups: list[list[int]] = GROUPS, taken: list[int] = TAKEN, draws: Draws = DRAWS
) -> Tensor:
    """The loss's gradient in the policy's weights, as one vector."""
    parameters = lora.parameters(family, POLICY).values()
    for parameter in parameters:
        parameter.grad = None
    step(groups, draws, taken)[0].backward()
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


def plain_gradient(family: Family, data: PairData, objective: Objective) -> tuple[float, Tensor]:
    """The same by autograd alone: one batch, one graph, one backward."""
    pairs, taken = list(chain(*GROUPS)), [d for group, d in zip(GROUPS, TAKEN, strict=True) for _ in group]
    looks = [Look(v, 0, d) for rows in (data.winners, data.losers) for v, d in zip([rows[p] for p in pairs], taken, strict=True)]
    with lora.using(family, REFERENCE), torch.no_grad():
        known = see(family, data, looks, DRAWS).error.chunk(2)
    with lora.using(family, POLICY):
        errors = Errors(*see(family, data, looks, DRAWS).error.chunk(2), *known)
        loss = pair_loss(errors, data.moving[pairs], objective).mean()
        found = torch.autograd.grad(loss, list(lora.parameters(family, POLICY).values()))
    return float(loss.detach()), torch.cat([g.flatten() for g in found])


def bf16() -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("level", ["nothing", "blocks", "attention"])
@pytest.mark.parametrize("chunk", [0, 1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16 products", "bf16 weights"])
def test_at_the_reference_the_loss_is_ln_2_and_the_logit_0_to_the_last_bit(
    family: Family, data: PairData, monkeypatch: pytest.MonkeyPatch, precision: str, chunk: int, level: str
) -> None:
    monkeypatch.setattr(reference, "autocast", lambda where: bf16() if precision == "bf16 products" else nullcontext())
    try:
        if precision == "bf16 weights":
            family.transformer.to(torch.bfloat16)
        with recomputing(family.transformer, level):  # type: ignore[arg-type]
            step = PairStep(family, data, Objective(5000.0), chunk=chunk, keep=chunk == 1)
            for _ in range(2):  # the second time from the bank
                loss, numbers = step(GROUPS, DRAWS, TAKEN)
                assert torch.equal(loss.detach(), torch.log(torch.tensor(2.0)))
                assert numbers["margin"] == 0 and numbers["gradient_factor"] == 0.5 and numbers["norm_ratio"] == 1
                drifts = [value for name, value in numbers.items() if "drift" in name]
                assert drifts and not any(drifts)
    finally:
        family.transformer.float()


@pytest.mark.parametrize("level", ["nothing", "blocks", "attention"])
@pytest.mark.parametrize("chunk", [0, 1, 2])
@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
def test_the_gradient_is_that_of_the_formulae_together_apart_and_in_chunks(
    family: Family, data: PairData, kind: str, chunk: int, level: str
) -> None:
    move(family)
    family.transformer.double()
    objective = Objective(5.0, kind, winner_guard=0.5)
    try:
        loss, expected = plain_gradient(family, data, objective)
        step = PairStep(family, data, objective, chunk=chunk)
        with recomputing(family.transformer, level):  # type: ignore[arg-type]
            found = gradient(family, step)
        assert float(step(GROUPS, DRAWS, TAKEN)[0].detach()) == pytest.approx(loss, rel=1e-6)
        assert float((found - expected).norm() / expected.norm()) < 1e-6
        assert float(expected.norm()) > 1e-3
    finally:
        family.transformer.float()


def test_a_winner_shared_by_losers_is_looked_at_once(family: Family, data: PairData, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    predict = type(family).predict
    monkeypatch.setattr(
        type(family), "predict", lambda self, x, t, condition: batches.append(len(x)) or predict(self, x, t, condition)
    )
    PairStep(family, data, Objective(), chunk=1)(GROUPS, DRAWS, TAKEN)
    assert batches == [1] * (7 + 8)  # the reference's, of which one is in two groups, then the policy's
    batches.clear()
    PairStep(family, data, Objective())(GROUPS, DRAWS, TAKEN)
    assert batches == 2 * [3, 5]


def test_the_reference_is_asked_once_about_what_is_kept(family: Family, data: PairData, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    predict = type(family).predict
    monkeypatch.setattr(
        type(family), "predict",
        lambda self, x, t, condition: asked.append(torch.is_grad_enabled()) or predict(self, x, t, condition),
    )  # fmt: skip
    step = PairStep(family, data, Objective(), chunk=1, keep=True)
    step(GROUPS, DRAWS, TAKEN)
    assert asked.count(False) == 7
    step(GROUPS, DRAWS, TAKEN)
    step([[1, 0]], DRAWS, [0])
    assert asked.count(False) == 7
    step([[1, 0]], DRAWS, [1])  # of these, the loser of pair 0 has met draw 1 in pair 3
    assert asked.count(False) == 9


def test_where_a_part_ends_within_a_group_the_reference_still_sees_what_the_policy_sees(
    family: Family, data: PairData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rounded(family: Family, data: PairData, looks: Sequence[Look], draws: Draws) -> Seen:  # by the batch's shape
        seen = see(family, data, looks, draws)
        return Seen(seen.error * (1 + 0.1 * len(looks)), seen.square)

    for module in (preference, reference):
        monkeypatch.setattr(module, "see", rounded)
    _, numbers = PairStep(family, data, Objective(), chunk=2)([[3], [0, 1]], DRAWS, [1, 0])  # "a" beside "e", then alone
    assert numbers["margin"] == 0


def test_the_bank_changes_no_bit(family: Family, data: PairData) -> None:
    move(family)
    fresh, kept = (PairStep(family, data, Objective(50.0), chunk=1, keep=keep) for keep in (False, True))
    for _ in range(2):
        assert torch.equal(gradient(family, fresh), gradient(family, kept))


@pytest.mark.parametrize("law", LAWS)
def test_steps_lower_the_winners_error_and_raise_the_losers_whatever_the_law(
    family: Family, data: PairData, law: FlowMatching | VariancePreserving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family, "law", law)
    step = PairStep(family, data, Objective(100.0), chunk=1)
    draws = Draws(DRAWS.eps, torch.tensor([0.05, 0.05]))  # so little noise that winner and loser can be told apart
    optimizer = torch.optim.Adam(lora.parameters(family, POLICY).values(), lr=1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        loss, numbers = step([[0]], draws, [0])
        loss.backward()
        optimizer.step()
    assert numbers["win_drift"] < 0 < numbers["lose_drift"] and numbers["accuracy"] == 1
    assert float(loss.detach()) < 1e-3


def present(
    family: Family, law: FlowMatching | VariancePreserving, level: float, patch: pytest.MonkeyPatch
) -> tuple[Draws, float]:
    """Let a network, whose output is the flow's velocity, speak in the units of a law, at a level of the variance-preserving.

    x_t there, a x0 + s eps, is (a + s) times that of the flow at t = s / (a + s). Returned are the draw in the law's own time,
    and by how much its errors are the flow's: (1 - t)^2 for eps, 1 / (a + s)^2 for v.
    """
    at, one, flow = torch.tensor([level]), torch.ones(1, dtype=torch.float64), FlowMatching()
    a, s = (float(VariancePreserving().add_noise(x0, 1 - x0, at)) for x0 in (one, 0 * one))
    t, predict = s / (a + s), type(family).predict

    def said(self: Family, x_t: Tensor, t_B: Tensor, condition: Condition) -> Tensor:
        times = torch.full_like(t_B, t)
        clean_and_noise = flow.clean_and_noise(x_t / (a + s), predict(self, x_t / (a + s), times, condition), times)
        return law.target(*clean_and_noise, t_B)

    patch.setattr(family, "law", law)
    if law == flow:
        return Draws(DRAWS.eps[:1].double(), torch.tensor([t], dtype=torch.float64)), 1.0
    patch.setattr(type(family), "predict", said)
    return Draws(DRAWS.eps[:1].double(), at.double()), (1 - t) ** 2 if law.prediction == "eps" else (a + s) ** -2


@pytest.mark.parametrize("level", [0.05, 0.3, 0.7])
def test_one_network_learns_the_same_whatever_it_is_taken_to_predict(
    family: Family, data: PairData, level: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(family)
    family.transformer.double()
    found = []
    try:
        for law in LAWS:
            with monkeypatch.context() as patch:
                draws, factor = present(family, law, level, patch)
                step = PairStep(family, data, Objective(20 / factor), chunk=1)  # the same logits, whatever the errors' size
                errors = step.reference_errors(GROUPS, draws, [0, 0, 0]) / factor
                loss, numbers = step(GROUPS, draws, [0, 0, 0])
                grads = torch.autograd.grad(loss, list(lora.parameters(family, POLICY).values()))
            assert numbers["gradient_factor"] != 0.5
            found.append((errors, loss.detach(), torch.cat([g.flatten() for g in grads])))
    finally:
        family.transformer.float()
    assert float(found[0][2].norm()) > 1e-3
    for other in found[1:]:
        for mine, flows in zip(other, found[0], strict=True):
            torch.testing.assert_close(mine, flows, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("law", LAWS)
def test_one_step_from_the_reference_lowers_the_winners_error_and_raises_the_losers_whatever_is_predicted(
    family: Family, data: PairData, law: FlowMatching | VariancePreserving, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.latents[data.losers[0]] = -data.latents[data.winners[0]]  # in noise they look alike, and ask for opposites
    family.transformer.double()
    try:
        draws, factor = present(family, law, 0.8, monkeypatch)
        step = PairStep(family, data, Objective(20 / factor), chunk=1)
        loss, numbers = step([[0]], draws, [0])
        assert float(loss.detach()) == pytest.approx(math.log(2), rel=1e-7) and numbers["margin"] == 0
        found = gradient(family, step, [[0]], [0], draws)
        with torch.no_grad():
            for p in lora.parameters(family, POLICY).values():
                assert p.grad is not None
                p -= 1e-2 * p.grad / found.norm()
        numbers = step([[0]], draws, [0])[1]
        assert numbers["win_drift"] < 0 < numbers["lose_drift"]
    finally:
        family.transformer.float()


def test_the_safeguard_keeps_the_winners_error_from_rising(family: Family, data: PairData) -> None:
    """A loser that is nearly its winner: raising its error raises the winner's, unless the loser's pull is scaled down."""
    data.latents[data.losers[0]] = data.latents[data.winners[0]] + 0.1 * noise(SHAPE, 0, "near")
    start = lora.weights(family, POLICY)

    def rise(mu: float, size: float = 1e-4) -> float:
        """Of the winner's error, for a step of that length along the gradient."""
        lora.load_weights(family, POLICY, start)
        step = PairStep(family, data, Objective(100.0), chunk=1, safeguard=mu)
        found = gradient(family, step, [[0]], [0])
        with torch.no_grad():
            for p in lora.parameters(family, POLICY).values():
                assert p.grad is not None
                p -= size * p.grad / found.norm()
        return step([[0]], DRAWS, [0])[1]["win_drift"] / size

    unguarded = [rise(0.0), rise(0.0, 1e-2)]
    assert rise(1.0) < 0.02 * abs(unguarded[0]) or rise(1.0) <= 0
    assert rise(0.5) < 0
    step = PairStep(family, data, Objective(100.0), chunk=1, safeguard=0.5)
    assert 0 < step([[0]], DRAWS, [0])[1]["loser_scale"] <= 1


def test_the_base_alone_can_be_the_reference(family: Family, data: PairData) -> None:
    step = PairStep(family, data, Objective(1.0), reference=None, chunk=1)
    errors = step.reference_errors(GROUPS, DRAWS, TAKEN)
    with lora.using(family, None), torch.no_grad():
        x0 = data.latents[data.winners[3] : data.winners[3] + 1]
        x_t, target = family.law.add_noise(x0, DRAWS.eps[1:], T[1:]), family.law.target(x0, DRAWS.eps[1:], T[1:])
        expected = video_error(family.predict(x_t, T[1:], data.condition([0])), target)
    assert torch.equal(errors[[6]], expected)
    assert step(GROUPS, DRAWS, TAKEN)[1]["norm_ratio"] != 1
