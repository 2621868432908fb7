"""The transformer's loss: where a head is, what its cells weigh, and which times are drawn."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from magicid.avatar.dataset import ClipStore
from magicid.avatar.pretrain_transformer import Curriculum, TransformerLoss, heads_inside


def test_a_box_covers_the_share_of_each_cell_that_lies_in_it() -> None:
    box = np.array([[[8, 4, 20, 16]]], np.float32)  # x 8..20, y 4..16, in cells of 8 pixels
    inside = heads_inside(box, size=32, cells=4)[0, 0].float()
    rows, columns = torch.tensor([0.5, 1, 0, 0]), torch.tensor([0, 1, 0.5, 0])
    torch.testing.assert_close(inside, rows[:, None] * columns)


def test_a_box_past_the_edge_covers_what_is_in_the_picture() -> None:
    inside = heads_inside(np.array([[[-8, -8, 40, 4]]], np.float32), size=32, cells=4)[0, 0].float()
    torch.testing.assert_close(inside, torch.tensor([0.5, 0, 0, 0])[:, None].expand(4, 4))


def test_a_heads_cells_weigh_more_the_less_noise_there_is() -> None:
    inside = torch.zeros(2, 1, 2, 2)
    inside[:, :, 0, 0] = 1
    weights = Curriculum(head_weight=4).weights(inside, torch.tensor([0.0, 1.0]))
    assert abs(float(weights.mean()) - 1) < 1e-6
    assert abs(float(weights[0, 0, 0, 0] / weights[0, 0, 1, 1]) - 4) < 1e-5
    assert abs(float(weights[1, 0, 0, 0] / weights[1, 0, 1, 1]) - 1) < 1e-6


def test_even_times_are_spread_over_their_range_and_others_lean_towards_noise() -> None:
    source = torch.Generator().manual_seed(0)
    even, bent = Curriculum(even_times=True).times(4000, source), Curriculum().times(4000, source)
    assert float(even.min()) >= 0.05 and float(even.max()) <= 0.97
    assert abs(float(even.mean()) - 0.51) < 0.02
    assert float(bent.mean()) > 0.55


def test_short_windows_come_first_and_every_fourth_step_shows_whole_clips() -> None:
    curriculum = Curriculum(short_frames=4, short_batch=128, batch=32, whole_from=10)
    assert [curriculum.at(step) for step in (0, 1, 4, 9, 10, 11)] == [
        (None, 32), (4, 128), (None, 32), (4, 128), (None, 32), (None, 32),
    ]  # fmt: skip


@pytest.mark.parametrize("head_weight", [1.0, 4.0])
def test_the_error_of_heads_is_that_of_their_cells_in_the_very_frames_that_were_drawn(head_weight: float) -> None:
    frames = np.arange(4)
    boxes = np.stack([8 * frames, np.zeros(4), 8 * frames + 8, np.full(4, 8)], -1)[None].astype(np.float32)  # a cell a frame
    store = ClipStore(0, np.zeros((1, 4, 32, 32, 3), np.uint8), boxes, np.zeros((1, 4, 5, 2), np.float32))
    latents = 100 * heads_inside(boxes, 32, 4)[:, None].expand(1, 3, 4, 4, 4)  # nothing but heads
    tokens = SimpleNamespace(input_ids=None, attention_mask=None)
    curriculum = Curriculum(short_frames=1, short_batch=16, whole_from=9, head_weight=head_weight)

    def blind(x_t: torch.Tensor, *_: object) -> torch.Tensor:
        return torch.zeros_like(x_t)

    silent: Any = lambda texts, **_: tokens  # noqa: E731
    loss, logged = TransformerLoss(blind, silent, store, latents, curriculum)(1, 0)  # type: ignore[arg-type]
    assert logged["frames"] == 1 and abs(logged["head"] / 100**2 - 1) < 0.05
    assert (float(loss) * 16 / 100**2 > 1.5) == (head_weight == 4)  # one cell of 16; with weight 1 the plain mean
