"""The training by feedback: what reaches the transformer, what stays as it is, and that it goes on to the byte."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file

from magicid.avatar.dataset import clip_store
from magicid.avatar.feedback import FeedbackWeights, RewardModels
from magicid.avatar.guided import Guided, Teacher
from magicid.avatar.pretrain import Pretrain, feedback
from magicid.avatar.pretrain_feedback import FeedbackLoss, FeedbackSettings
from magicid.avatar.pretrain_transformer import GEOMETRY, TextToLatents, new_tokenizer
from magicid.core import tables
from magicid.core.errors import UsageError
from magicid.core.run import WEIGHTS
from magicid.training.checkpoint import latest
from magicid.training.loop import LoopSettings
from magicid.training.sampling import sample

TRANSFORMER = Path("base/transformer/diffusion_pytorch_model.safetensors")
NAMES = ("identity", "across", "seen", "leaps", "face", "motion", "flow", "action", "anchor", "look")
NOTHING = FeedbackWeights(**dict.fromkeys(NAMES, 0.0))


def settings(folder: Path, start: Path | None = WEIGHTS / "base") -> Pretrain:
    loop = LoopSettings(steps=2, learning_rate=1e-3, weight_decay=0.0, ema_decay=0.5, save_every_steps=1)
    short = FeedbackSettings(loop=loop, batch=2, pool=4, sample_steps=4)
    return Pretrain(parts=("feedback",), work=folder / "work", out=folder / "out", clips=4, start=start, feedback=short)


@pytest.mark.parametrize("change", [{"start": None}, {"parts": ("transformer", "feedback")}])
def test_feedback_without_a_network_to_start_from_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="give its pipeline as --start"):
        feedback(replace(settings(tmp_path), **change))
    assert not list(tmp_path.iterdir())


def test_more_clips_than_are_on_their_way_are_refused(tmp_path: Path) -> None:
    asked = settings(tmp_path)
    with pytest.raises(UsageError, match=r"feedback.batch 5: a step looks at 1 to 4 clips \(feedback.pool\)"):
        feedback(replace(asked, feedback=replace(asked.feedback, batch=5)))
    assert not list(tmp_path.iterdir())


def test_without_an_autoencoder_nothing_is_rendered(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS / "judges", tmp_path / "out" / "judges")
    with pytest.raises(UsageError, match="base/vae: no autoencoder, and latents are its own; train it first"):
        feedback(settings(tmp_path))
    assert not (tmp_path / "work").exists()


def test_a_single_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="clips 1: how faces look is learnt of 2 or more"):
        feedback(replace(settings(tmp_path), clips=1))
    assert not list(tmp_path.iterdir())


def test_actions_that_are_none_are_refused(tmp_path: Path) -> None:
    asked = settings(tmp_path)
    with pytest.raises(UsageError, match="action 'sway' is unknown; did you mean 'sways'"):
        feedback(replace(asked, feedback=replace(asked.feedback, often=("sway",))))
    assert not list(tmp_path.iterdir())


def feeding(work: Path, weights: FeedbackWeights, often: tuple[str, ...] = (), clips: int = 2) -> FeedbackLoss:
    """The loss of so many clips on the shipped weights, four sampling steps a clip."""
    tokenizer = new_tokenizer()
    model = TextToLatents(30, len(tokenizer))
    model.load(WEIGHTS / "base")
    vae = AutoencoderKLWan.from_pretrained(WEIGHTS / "base" / "vae", dtype=torch.float32).eval().requires_grad_(False)
    before, store = Teacher(model, Guided(swing=weights.swing), 16), clip_store(work, seed=2, count=4)
    asked = FeedbackSettings(batch=clips, pool=clips, sample_steps=4, weights=weights, often=often)
    return FeedbackLoss(model, before, vae, tokenizer, store, GEOMETRY, RewardModels(), asked)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> FeedbackLoss:
    """One clip after its first step, with everything that any weight asks for, and a distance to the weights before."""
    loss = feeding(tmp_path_factory.mktemp("begun"), FeedbackWeights(**dict.fromkeys(NAMES, 1.0)), clips=1)
    loss(0, 0)
    loss.before.guided = Guided(between_frames=1.0)
    return loss


@pytest.mark.parametrize("weight", [name for name in NAMES if name != "across"])
def test_each_weight_alone_reaches_the_transformer(begun: FeedbackLoss, weight: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magicid.avatar.feedback.SURE", 1.1)  # so that no head is found surely enough
    monkeypatch.setattr("magicid.avatar.feedback.SLACK", -9.0)  # and each leaps
    monkeypatch.setattr(begun, "settings", replace(begun.settings, weights=replace(NOTHING, **{weight: 1.0})))
    state = {name: tensor.detach().clone() for name, tensor in begun.trajectories.state.items()}
    value, _ = begun(1, 0)
    for name, tensor in begun.trajectories.state.items():
        tensor.data.copy_(state[name])
    begun.model.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    gradient = begun.model.transformer.blocks[0].attn1.to_q.weight.grad
    assert gradient is not None and bool(gradient.isfinite().all()) and float(gradient.abs().max()) > 0


def test_actions_come_as_often_as_they_are_named(tmp_path: Path) -> None:
    store = clip_store(tmp_path, seed=2, count=4)
    action = store.item(0).truth.action
    loss = feeding(tmp_path, NOTHING, often=(action, action))
    expected = [3 if store.item(i).truth.action == action else 1 for i in range(4)]
    assert np.bincount(loss.trajectories.clips).tolist() == expected and 1 in expected


def test_nothing_is_fed_back_of_pure_noise_and_nothing_unasked(tmp_path: Path) -> None:
    loss = feeding(tmp_path, replace(NOTHING, identity=1.0))
    assert float(loss(0, 0)[0].detach()) == 0
    assert float(loss(1, 0)[0].detach()) != 0
    loss = feeding(tmp_path, NOTHING)
    loss(0, 0)
    loss.before.guided = Guided(between_frames=1.0)
    assert float(loss(1, 0)[0].detach()) == 0


def test_clips_go_the_samplers_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = feeding(tmp_path, NOTHING)
    x, clip, _ = loss.trajectories.state.values()
    begun = x.detach().clone()
    family = tables.load(tables.FAMILIES, "family", "wan").load(WEIGHTS / "base")
    prompts = [choice[action] for action, choice in map(loss._sentences, clip.int().tolist())]
    monkeypatch.setattr("magicid.training.sampling.noise", lambda shape, seed, *key: begun[seed])
    condition, negative = family.encode_prompts(prompts), family.encode_prompts([""])
    drawn = sample(family, condition, negative, [0, 1], tuple(begun.shape[1:]), steps=4)
    for step in range(3):
        loss(step, 0)
    with torch.no_grad():
        last = x - 0.25 * family.predict(x, torch.full((2,), 0.25), condition)
    torch.testing.assert_close(last, drawn, rtol=0, atol=0.02)


def test_it_moves_the_transformer_alone_and_goes_on_to_the_byte(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS, tmp_path / "out")
    feedback(settings(tmp_path))
    made, before = load_file(tmp_path / "out" / TRANSFORMER), load_file(WEIGHTS / TRANSFORMER)
    assert set(made) == set(before) and not any(name.startswith("trajectories") for name in made)
    assert sum(not torch.equal(made[name], before[name]) for name in made) > len(made) / 2
    for part in ("text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors"):
        one, other = load_file(tmp_path / "out/base" / part), load_file(WEIGHTS / "base" / part)
        assert all(torch.equal(one[name], other[name]) for name in other)
    assert (tmp_path / "out/base/geometry.json").read_text() == (WEIGHTS / "base/geometry.json").read_text()

    work = tmp_path / "work" / "feedback"
    found = latest(work)
    assert found is not None and found.step == 2
    assert found.groups["model"]["trajectories.left"].sum() == 4 * 4 - 4  # two clips of each of two steps, one time further
    whole = (work / "step-00000002" / "model.safetensors").read_bytes()
    shutil.rmtree(work / "step-00000002")
    feedback(settings(tmp_path))
    assert (work / "step-00000002" / "model.safetensors").read_bytes() == whole
    again = load_file(tmp_path / "out" / TRANSFORMER)
    assert all(torch.equal(made[name], again[name]) for name in made)
