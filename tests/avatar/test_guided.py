"""The guided target: what each weaker self ignores, how far the target goes, and that training learns it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from magicid.avatar.dataset import clip_store
from magicid.avatar.guided import WEAKER_FROM, Guided, Teacher
from magicid.avatar.plain_attention import PlainAttention
from magicid.avatar.pretrain_transformer import Curriculum, TextToLatents, TransformerLoss, new_tokenizer

FRAMES, CELLS = 5, 16  # 8 x 8 latents in patches of 2 x 2


@pytest.fixture
def model() -> TextToLatents:
    model = TextToLatents(channels=4, vocabulary=50)
    torch.nn.init.normal_(model.transformer.proj_out.weight)
    return model


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 50, (2, 7), generator=source)
    return torch.randn(2, 4, FRAMES, 8, 8, generator=source), torch.tensor([0.2, 0.9]), ids, torch.ones_like(ids)


def said(model: TextToLatents, batch: tuple[Tensor, ...], inside: int = 0, first: int = 0) -> Tensor:
    """What `model` says where blocks from `first` on look at their own frame alone, if `inside` says so."""
    for number, block in enumerate(model.transformer.blocks):
        block.attn1.set_processor(PlainAttention(inside if number >= first else 0))
    with torch.no_grad():
        return model(*batch)


def test_attention_inside_frames_sees_no_other_frame(model: TextToLatents, batch: tuple[Tensor, ...]) -> None:
    other = batch[0].clone()
    other[:, :, 1:] = 0  # all but the first frame
    before, after = (said(model, (x, *batch[1:]), inside=CELLS) for x in (batch[0], other))
    torch.testing.assert_close(before[:, :, 0], after[:, :, 0])
    assert (said(model, batch)[:, :, 0] - before[:, :, 0]).abs().max() > 1e-2


def test_the_target_moves_away_from_the_weaker_self_once_motion_is_decided(
    model: TextToLatents, batch: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    plain, weak = said(model, batch), said(model, batch, inside=CELLS, first=WEAKER_FROM)
    wanted = Teacher(model, Guided(frames=0.5), CELLS)(*batch)
    torch.testing.assert_close(wanted[0], (1.5 * plain - 0.5 * weak)[0], rtol=1e-4, atol=1e-4)  # at 0.2
    torch.testing.assert_close(wanted[1], plain[1])  # at 0.9


def test_swing_enlarges_what_changes_where_it_is_still_decided(
    model: TextToLatents, batch: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    x_t, times = batch[0], batch[1].reshape(-1, 1, 1, 1, 1)
    plain, swung = (x_t - times * Teacher(model, Guided(swing=s), CELLS)(*batch) for s in (0.0, 0.25))
    mean = plain.mean(2, keepdim=True)
    torch.testing.assert_close(swung[0], plain[0])  # at 0.2
    torch.testing.assert_close(swung[1], (mean + 1.25 * (plain - mean))[1], rtol=1e-4, atol=1e-4)  # at 0.9


def test_training_learns_what_the_frozen_teacher_says(tmp_path: Path) -> None:
    store = clip_store(tmp_path, seed=2, count=2)
    latents = torch.randn(2, 4, 17, 8, 8).half()
    tokenizer = new_tokenizer()
    model = TextToLatents(4, len(tokenizer))
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    loss = TransformerLoss(model, tokenizer, store, latents, Curriculum(batch=2, whole_from=0, guided=Guided(frames=1.0)))
    assert loss.teacher is not None
    start = [parameter.clone() for parameter in loss.teacher.model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    values = []
    for _ in range(6):
        value, _ = loss(0, 0)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values.append(float(value.detach()))
    assert 0 < values[-1] < values[0]
    assert all(torch.equal(a, b) for a, b in zip(start, loss.teacher.model.parameters(), strict=True))
