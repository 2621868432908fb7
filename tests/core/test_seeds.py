"""Every draw belongs to its item."""

import torch

from magicid.core.seeds import generator, item_seed, noise


def test_equal_keys_give_equal_noise_whatever_was_drawn_before() -> None:
    first = noise((2, 3), 0, "optimize", 5)
    torch.randn(100)
    assert torch.equal(noise((2, 3), 0, "optimize", 5), first)


def test_seed_stage_step_and_order_of_the_key_all_matter() -> None:
    keys = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, 1, "a"), (0, "a", 1, 0), (0, "a", "1"), (0, "a1")]
    assert len({item_seed(*key) for key in keys}) == len(keys)


def test_seeds_are_the_same_on_every_machine_and_fit_torch() -> None:
    assert item_seed(0, "optimize", 3, "noise") == 1835574898080227933
    assert all(0 <= item_seed(0, i) < 2**63 for i in range(100))
    generator(0, "x")


def test_drawing_noise_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    noise((8,), 0, "x")
    assert torch.equal(torch.get_rng_state(), before)
