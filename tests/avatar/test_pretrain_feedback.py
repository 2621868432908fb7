"""The training by feedback: what it moves, what it keeps, and that it goes on to the byte."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from magicid.avatar.pretrain import Pretrain, feedback
from magicid.avatar.pretrain_feedback import FeedbackSettings
from magicid.core.errors import UsageError
from magicid.core.run import WEIGHTS
from magicid.training.checkpoint import latest
from magicid.training.loop import LoopSettings

TRANSFORMER = Path("base/transformer/diffusion_pytorch_model.safetensors")


def settings(folder: Path, start: Path | None = WEIGHTS / "base") -> Pretrain:
    loop = LoopSettings(steps=2, learning_rate=1e-3, weight_decay=0.0, ema_decay=0.5, save_every_steps=1)
    short = FeedbackSettings(loop=loop, batch=2, clips=4, times=4)
    return Pretrain(parts=("feedback",), work=folder / "work", out=folder / "out", clips=4, start=start, feedback=short)


def test_feedback_without_a_network_to_start_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a saved pipeline as --start"):
        feedback(settings(tmp_path, start=None))
    assert not list(tmp_path.iterdir())


def test_more_clips_than_are_on_their_way_are_refused(tmp_path: Path) -> None:
    asked = settings(tmp_path)
    with pytest.raises(UsageError, match=r"feedback.batch 5: a step looks at 1 to feedback.clips \(4\) clips"):
        feedback(replace(asked, feedback=replace(asked.feedback, batch=5)))
    assert not list(tmp_path.iterdir())


def test_it_moves_the_transformer_alone_and_goes_on_to_the_byte(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS, tmp_path / "out")
    feedback(settings(tmp_path))
    made, before = load_file(tmp_path / "out" / TRANSFORMER), load_file(WEIGHTS / TRANSFORMER)
    assert set(made) == set(before) and not any(name.startswith("trajectories") for name in made)
    assert sum(not torch.equal(made[name], before[name]) for name in made) > len(made) / 2
    for part in ("text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors"):
        one, other = load_file(tmp_path / "out/base" / part), load_file(WEIGHTS / "base" / part)
        assert all(torch.equal(one[name], other[name]) for name in other)

    work = tmp_path / "work" / "feedback"
    found = latest(work)
    assert found is not None and found.step == 2
    left = found.groups["model"]["trajectories.left"]
    assert float(np.abs(left.numpy() - [1, 2, 3, 4]).sum()) >= 3  # four looks were taken, of which one at most came back round
    whole = (work / "step-00000002" / "model.safetensors").read_bytes()
    shutil.rmtree(work / "step-00000002")
    feedback(settings(tmp_path))
    assert (work / "step-00000002" / "model.safetensors").read_bytes() == whole
    again = load_file(tmp_path / "out" / TRANSFORMER)
    assert all(torch.equal(made[name], again[name]) for name in made)
