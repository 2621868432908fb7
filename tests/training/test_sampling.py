"""Sampling: where guidance acts, and what it costs."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from magicid.core.interfaces import Condition
from magicid.training.sampling import sample
from tests.doubles import FakeFamily

SEEDS, SHAPE = [3, 4], (3, 5, 4, 4)


class Counted(FakeFamily):
    """Says how large each batch was, and at which time."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self.geometry = replace(self.geometry, guidance=3.0, guidance_until=until)
        self.asked: list[tuple[float, int]] = []

    def predict(self, x_t: Tensor, t_B: Tensor, condition: Condition) -> Tensor:
        """The double's prediction moved by the text."""
        self.asked.append((float(t_B[0]), len(x_t)))
        return super().predict(x_t, t_B, condition) + condition["text"].reshape(-1, 1, 1, 1, 1) / 10


def draw(family: FakeFamily, guidance: float | None = None) -> Tensor:
    wanted, unwanted = family.encode_prompts(["walks", "waves hello"]), family.encode_prompts([""])
    return sample(family, wanted, unwanted, SEEDS, SHAPE, steps=4, guidance=guidance)


@pytest.mark.parametrize("until", [0.0, 0.5, 0.6, 1.0])
def test_the_negative_prompt_is_asked_down_to_the_end_of_guidance_and_no_further(until: float) -> None:
    family = Counted(until)
    draw(family)
    assert family.asked == [(t, 4 if t >= until else 2) for t in (1.0, 0.75, 0.5, 0.25)]


def test_guidance_that_ends_late_pulls_further_than_guidance_that_ends_early() -> None:
    plain = draw(Counted(0.0), guidance=1.0)
    pulled = [float((draw(Counted(until)) - plain).norm()) for until in (0.0, 0.5, 1.0)]
    assert pulled[0] > pulled[1] > pulled[2] > 0
    torch.testing.assert_close(draw(Counted(2.0)), plain)  # never reached
