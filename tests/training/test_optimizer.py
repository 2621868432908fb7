"""Muon's updates are orthogonal and as large as AdamW's; an optimiser that is resumed goes on as if it had not stopped."""

import pytest
import torch
from torch import nn

from magicid.core.seeds import noise
from magicid.training.optimizer import Muon, Optimizer, orthogonalize


def parameters() -> dict[str, nn.Parameter]:
    shapes = {"block.wide": (4, 9), "block.tall": (9, 4), "block.square": (5, 5), "bias": (5,)}
    return {name: nn.Parameter(noise(shape, 0, name)) for name, shape in shapes.items()}


def descend(own: dict[str, nn.Parameter], optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        sum((p - noise(tuple(p.shape), 1, step, name)).square().sum() for name, p in own.items()).backward()  # type: ignore[union-attr]
        optimizer.step(0.1)


def test_all_singular_values_come_near_one() -> None:
    values = torch.linalg.svdvals(orthogonalize(noise((3, 16, 40), 0, "m")))
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize("shape", [(8, 32), (32, 8), (16, 16)])
def test_an_update_has_the_size_of_adam_s(shape: tuple[int, int]) -> None:
    matrix = nn.Parameter(torch.zeros(shape))
    matrix.grad = 1e-3 * noise(shape, 0, "gradient")
    Muon([matrix], lr=1.0, weight_decay=0.0).step()
    assert 0.1 < matrix.square().mean().sqrt() < 0.3
    assert (matrix * matrix.grad).sum() < 0


def test_matrices_of_one_shape_do_not_mix() -> None:
    alone, together = parameters(), parameters()
    together["block.twin"] = nn.Parameter(noise((4, 9), 5, "twin"))
    for own in (alone, together):
        descend(own, Optimizer(own, 0.1, 0.0, muon="block"), range(2))
    assert torch.allclose(alone["block.wide"], together["block.wide"], atol=1e-6)


@pytest.mark.parametrize("muon", ["", "block", "."])
def test_resumed_is_the_same_to_the_bit(muon: str) -> None:
    own = {name: p for name, p in parameters().items() if p.ndim == 2 or muon != "."}
    optimizer = Optimizer(own, 0.1, 0.01, muon=muon)
    descend(own, optimizer, range(2))
    copy = {name: nn.Parameter(p.detach().clone()) for name, p in own.items()}
    resumed = Optimizer(copy, 0.1, 0.01, muon=muon)
    resumed.load_state({key: value.clone() for key, value in optimizer.state().items()})
    descend(own, optimizer, range(2, 5))
    descend(copy, resumed, range(2, 5))
    assert all(torch.equal(own[name], copy[name]) for name in own)


def test_only_the_matrices_that_the_pattern_names_are_orthogonalised() -> None:
    own = parameters()
    optimizer = Optimizer(own, 0.1, 0.0, muon="wide$")
    descend(own, optimizer, range(1))
    assert {key.split(":")[0] for key in optimizer.state() if key.endswith(":momentum")} == {"block.wide"}
