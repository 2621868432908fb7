"""The guided target: what the weaker self ignores, how far the target goes, and that training learns it."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from magicid.avatar.dataset import clip_store
from magicid.avatar.guided import WEAKER_FROM, Guided, Teacher
from magicid.avatar.plain_attention import PlainAttention
from magicid.avatar.pretrain import Pretrain, transformer
from magicid.avatar.pretrain_transformer import Curriculum, TextToLatents, TransformerLoss, new_tokenizer
from magicid.core.errors import UsageError

FRAMES, TOKENS = 5, 16  # 8 x 8 latents in patches of 2 x 2


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


def said(model: TextToLatents, batch: tuple[Tensor, ...], frame_tokens: int = 0, first: int = 0) -> Tensor:
    """What `model` says where blocks from `first` on look at their own frame alone, if `frame_tokens` says so."""
    for number, block in enumerate(model.transformer.blocks):
        block.attn1.set_processor(PlainAttention(frame_tokens if number >= first else 0))
    with torch.no_grad():
        return model(*batch)


def test_attention_inside_frames_sees_no_other_frame(model: TextToLatents, batch: tuple[Tensor, ...]) -> None:
    other = batch[0].clone()
    other[:, :, 1:] = 0  # all but the first frame
    before, after = (said(model, (x, *batch[1:]), frame_tokens=TOKENS) for x in (batch[0], other))
    torch.testing.assert_close(before[:, :, 0], after[:, :, 0])
    assert (said(model, batch)[:, :, 0] - before[:, :, 0]).abs().max() > 1e-2


def test_the_target_moves_away_from_the_weaker_self_once_motion_is_decided(
    model: TextToLatents, batch: tuple[Tensor, Tensor, Tensor, Tensor]
) -> None:
    plain, weak = said(model, batch), said(model, batch, frame_tokens=TOKENS, first=WEAKER_FROM)
    wanted = Teacher(model, Guided(between_frames=0.5), TOKENS)(*batch)
    torch.testing.assert_close(wanted[0], (1.5 * plain - 0.5 * weak)[0], rtol=1e-4, atol=1e-4)  # at 0.2
    torch.testing.assert_close(wanted[1], plain[1])  # at 0.9


@pytest.mark.parametrize("between_frames", [0.0, 0.5])
def test_swing_enlarges_what_changes_while_motion_is_decided(
    model: TextToLatents, batch: tuple[Tensor, Tensor, Tensor, Tensor], between_frames: float
) -> None:
    x_t, _, *text = batch
    t_B = torch.tensor([0.2, 0.6])
    times = t_B.reshape(-1, 1, 1, 1, 1)
    plain, swung = (x_t - times * Teacher(model, Guided(between_frames, s), TOKENS)(x_t, t_B, *text) for s in (0.0, 0.25))
    mean = plain.mean(2, keepdim=True)
    torch.testing.assert_close(swung[0], plain[0])
    torch.testing.assert_close(swung[1], (mean + 1.25 * (plain - mean))[1], rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_distance_to_the_teacher_and_training_leaves_it_alone(tmp_path: Path) -> None:
    store, tokenizer = clip_store(tmp_path, seed=2, count=2), new_tokenizer()
    latents = torch.randn(2, 4, 17, 8, 8).half()
    model = TextToLatents(4, len(tokenizer))
    torch.nn.init.normal_(model.transformer.proj_out.weight, std=0.1)
    model.prepare(compile=False)
    curriculum = Curriculum(batch=2, whole_from=0)

    def loss(between_frames: float) -> TransformerLoss:
        teacher = Teacher(deepcopy(model).requires_grad_(False), Guided(between_frames), TOKENS)
        return TransformerLoss(model, tokenizer, store, latents, curriculum, teacher)

    near, far, farther = (float(loss(weight)(0, 0)[0].detach()) for weight in (1e-4, 1.0, 2.0))
    assert near < 1e-6 and farther == pytest.approx(4 * far, rel=1e-3)
    learning, kept = loss(1.0), model.transformer.proj_out.weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    before, _ = learning(0, 0)
    before.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert far == pytest.approx(float(before.detach())) and learning(0, 0)[0] < before
    assert not torch.equal(kept, model.transformer.proj_out.weight)
    assert learning.teacher is not None and torch.equal(kept, learning.teacher.model.transformer.proj_out.weight)


@pytest.mark.parametrize(
    "settings", [{"start": None}, {"start": Path("weights"), "curriculum": Curriculum(guided=Guided(swing=0.1))}]
)
def test_a_teacher_without_weights_or_whole_clips_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    curriculum = Curriculum(whole_from=0, guided=Guided(between_frames=1.0))
    with pytest.raises(UsageError, match="give --start and"):
        transformer(Pretrain(work=tmp_path, **{"curriculum": curriculum, **settings}))
    assert not list(tmp_path.iterdir())
