"""Recomputing keeps less and changes no bit of what comes out."""

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from magicid.core.interfaces import Family
from magicid.training import lora
from magicid.training.recompute import recomputing
from tests.families.test_contract import question
from tests.families.tiny import BUILD, adapter, tiny_family


@pytest.fixture(scope="module", params=BUILD)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return tiny_family(request.param, tmp_path_factory.mktemp(request.param))


def run(family: Family, level: str) -> tuple[list[Tensor], int]:
    """The gradients, and the bytes that the forward pass kept."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with lora.using(family, "x"), recomputing(family.transformer, level):  # type: ignore[arg-type]
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            value = family.predict(*question(family)).square().mean()
        weights = list(lora.parameters(family, "x").values())
        own = {p.untyped_storage().data_ptr() for p in family.transformer.parameters()}
        return [*torch.autograd.grad(value, weights), value.detach()], sum(n for key, n in kept.items() if key not in own)


def assert_same(family: Family, level: str, found: list[Tensor], plain: list[Tensor], rounding: float = 1e-5) -> None:
    """To the bit, but for what `recompute.recomputing` says of inputs that go around an attention as they are."""
    if family.name == "ltx" and level == "attention":
        assert torch.equal(found[-1], plain[-1])
        assert all(float((a - b).abs().max()) <= rounding * float(b.abs().max()) for a, b in zip(found, plain, strict=True))
    else:
        assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))


def test_gradients_are_the_same_to_the_bit_and_less_is_kept(family: Family) -> None:
    with adapter(family, "x"):
        plain, kept = run(family, "nothing")
        for level in ("blocks", "attention"):
            found, now = run(family, level)
            assert_same(family, level, found, plain)
            assert now < 0.8 * kept, level  # of two blocks, the last is kept in any case
            kept = now


@pytest.mark.parametrize("level", ["blocks", "attention"])
def test_mixed_precision_is_the_same_when_computed_again(family: Family, level: str) -> None:
    with adapter(family, "x"), torch.autocast("cpu", torch.bfloat16):
        plain, _ = run(family, "nothing")
        found, _ = run(family, level)
        assert_same(family, level, found, plain, rounding=0.02)


def test_afterwards_the_model_is_as_it_was(family: Family) -> None:
    with pytest.raises(RuntimeError, match="inside"), recomputing(family.transformer, "attention"):
        assert family.transformer.is_gradient_checkpointing  # type: ignore[truthy-function]
        raise RuntimeError("inside")
    assert not family.transformer.is_gradient_checkpointing
    assert not any("forward" in vars(module) for module in family.transformer.modules())
