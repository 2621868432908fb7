"""Adapters on one base: which one works, which one learns, and what fits into which."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from magicid.core.errors import DataError
from magicid.core.interfaces import Family
from magicid.training import lora
from magicid.training.objectives import Errors, Objective, pair_loss, video_error
from tests.families.tiny import adapter, tiny_family

SIZE = lora.LoraSettings(rank=2, alpha=4.0)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return tiny_family("wan", tmp_path_factory.mktemp("wan"))


def predict(family: Family) -> Tensor:
    x = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    condition = {name: tensor.repeat(2, 1, 1) for name, tensor in family.encode_prompts(["a person walks"]).items()}
    return family.predict(x, torch.tensor([0.3, 0.8]), condition)


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(family: Family) -> None:
    drawn = []
    for seed in (0, 0, 1):
        lora.add_adapter(family, "x", SIZE, seed)
        drawn.append(lora.weights(family, "x"))
        lora.remove_adapter(family, "x")
    key = next(key for key in drawn[0] if "lora_A" in key)
    assert torch.equal(drawn[0][key], drawn[1][key]) and not torch.equal(drawn[0][key], drawn[2][key])
    assert all((value == 0).all() for name, value in drawn[0].items() if "lora_B" in name)


def test_adding_an_adapter_leaves_the_global_generator_alone(family: Family) -> None:
    before = torch.get_rng_state()
    with adapter(family, "x", trained=False):
        assert torch.equal(torch.get_rng_state(), before)


def test_names_of_weights_do_not_hold_the_adapters_name(family: Family) -> None:
    with adapter(family, "policy", SIZE) as a, adapter(family, "reference", SIZE) as b:
        assert a.keys() == b.keys() and not any("policy" in key for key in a)
        assert len(a) == 2 * 2 * 2 * 4  # A and B of four layers of two attentions of two blocks


def test_scaled_for_good_it_adds_what_it_adds_at_that_strength(family: Family) -> None:
    with adapter(family, "x", SIZE), torch.no_grad():
        with lora.using(family, "x", 0.5):
            weaker = predict(family)
        with lora.using(family, "x"):
            whole = predict(family)
            lora.scale(family, "x", 0.5)
            assert torch.allclose(predict(family), weaker, atol=1e-6) and not torch.allclose(whole, weaker, atol=1e-6)


def test_only_the_adapter_at_work_takes_gradients(family: Family) -> None:
    with adapter(family, "policy", SIZE), adapter(family, "reference", SIZE):
        with lora.using(family, "reference"), torch.no_grad():
            predict(family)
        with lora.using(family, "policy"):
            predict(family).square().mean().backward()
        learning = {name for name, p in family.transformer.named_parameters() if p.grad is not None}
        assert learning and all(".policy." in name for name in learning)
        assert {name for name, p in family.transformer.named_parameters() if p.requires_grad} == learning


def test_after_the_base_alone_the_policy_still_learns(family: Family) -> None:
    with adapter(family, "policy", SIZE):
        with lora.using(family, None), torch.no_grad():
            predict(family)
        with lora.using(family, "policy"):
            predict(family).square().mean().backward()
        assert all(p.grad is not None and p.grad.any() for p in lora.parameters(family, "policy").values())


def test_a_policy_equal_to_its_reference_has_a_logit_of_0_to_the_last_bit(family: Family) -> None:
    with adapter(family, "policy", SIZE) as weights, adapter(family, "reference", SIZE):
        lora.load_weights(family, "reference", weights)
        with lora.using(family, "reference"), torch.no_grad():
            reference = video_error(predict(family), torch.zeros(2, 4, 3, 8, 8))
        with lora.using(family, "policy"):
            policy = video_error(predict(family), torch.zeros(2, 4, 3, 8, 8))
        errors = Errors(policy[:1], policy[1:], reference[:1], reference[1:])
        loss = pair_loss(errors, torch.ones(1), Objective(5000.0))
        assert torch.equal(loss.detach(), torch.log(torch.full((1,), 2.0)))


def test_strength_scales_the_update_and_does_not_outlast_its_use(family: Family) -> None:
    with adapter(family, "x", SIZE):
        layer = next(m for m in family.transformer.modules() if "x" in getattr(m, "scaling", {}))
        for strength in (1.0, 0.5, 1.0):
            with lora.using(family, "x", strength):
                assert layer.scaling["x"] == strength * SIZE.alpha / SIZE.rank
        with lora.using(family, None):
            base = predict(family)
        with lora.using(family, "x", 0.0):
            assert torch.equal(predict(family), base)


def test_weights_of_another_rank_are_refused(family: Family) -> None:
    refused = pytest.raises(DataError, match=r"is \(2, 32\), not \(3, 32\); use the same rank")
    larger = lora.LoraSettings(rank=3, alpha=1.0)
    with adapter(family, "x", SIZE) as weights, adapter(family, "y", larger), refused:
        lora.load_weights(family, "y", weights)


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_every_tensor_must_find_its_place_and_the_other_way_round(family: Family, change: str) -> None:
    with adapter(family, "x", SIZE) as weights:
        first = min(weights)
        tensors = {k: v for k, v in weights.items() if k != first} if change == "missing" else weights | {"other": weights[first]}
        with pytest.raises(DataError, match="1 tensors do not match"):
            lora.load_weights(family, "x", tensors)


def test_targets_that_match_no_layer_are_refused(family: Family) -> None:
    with pytest.raises(DataError, match=r"cannot be those of wan .*not found in the base model"):
        lora.add_adapter(family, "z", lora.LoraSettings(targets=("nothing_like_it",)))


@pytest.mark.parametrize("others", [0, 1])
def test_targets_that_were_refused_leave_nothing_behind(tmp_path: Path, others: int) -> None:
    bare = tiny_family("wan", tmp_path)
    for i in range(others):
        lora.add_adapter(bare, f"other-{i}", SIZE)
    for targets in (("nothing_like_it",), ("to_q", "norm1"), ("to_q", "norm1")):
        with pytest.raises(DataError, match=r"wan \(.+\); choose others\.$"):
            lora.add_adapter(bare, "z", lora.LoraSettings(targets=targets))
        assert not lora.parameters(bare, "z")
    with adapter(bare, "z", SIZE) as weights:
        assert len(weights) == 32


def test_an_adapter_that_is_not_loaded_cannot_work(tmp_path: Path) -> None:
    bare = tiny_family("wan", tmp_path)
    with pytest.raises(DataError, match="'x' is not loaded"), lora.using(bare, "x"):
        pass
    with lora.using(bare, None):
        assert torch.isfinite(predict(bare)).all()


def test_an_adapter_that_was_added_for_a_while_is_gone_after_an_error_too(family: Family) -> None:
    with pytest.raises(RuntimeError, match="stop"), lora.added(family, "z", SIZE):
        assert lora.parameters(family, "z")
        raise RuntimeError("stop")
    assert not lora.parameters(family, "z")
