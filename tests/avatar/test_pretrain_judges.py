"""The judges' losses are repeatable, fall, and contrast only what differs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from magicid.avatar.dataset import clip_store
from magicid.avatar.judge_data import Reconstruct, face_store, views
from magicid.avatar.judge_figures import equal_error_rate
from magicid.avatar.judge_losses import VARIED, arc_face, focal_loss, hard_negatives, heat_map, same
from magicid.avatar.judges import NETWORKS
from magicid.avatar.pretrain_judges import RECIPES, JudgeSettings, new_loss, train_judges
from magicid.avatar.truth import VOCABULARIES, Truth, random_truth
from magicid.core.errors import UsageError
from magicid.core.weights import read_weights


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pretrain")


@pytest.mark.parametrize("name", RECIPES)
def test_losses_are_repeatable_and_fall(name: str, work: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    loss = new_loss(name, network, work, clips=16, people=6, reconstruct=None)
    loss.batch = 4  # type: ignore[attr-defined]
    parameters = [*network.parameters(), *([loss.head] if hasattr(loss, "head") else [])]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    assert torch.equal(loss(0, 0)[0], loss(0, 0)[0])
    values = []
    for _ in range(10):
        value, numbers = loss(0, 0)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values.append(float(value.detach()))
        assert np.isfinite([values[-1], *numbers.values()]).all()
    assert values[-1] < values[0]


def test_hard_negatives_differ_in_exactly_one_field() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth = random_truth(rng)
        for name, other in zip(VARIED, hard_negatives(truth, rng), strict=True):
            assert [field for field in VOCABULARIES if getattr(other, field) != getattr(truth, field)] == [name]


def test_clips_that_say_the_same_but_for_camera_and_amplitude_are_not_contrasted() -> None:
    a, c = Truth("snow", "suit", "nods"), Truth("rain", "suit", "nods")
    b = Truth("snow", "suit", "nods", "strong", "pan")
    assert same([a, b, c], [a, b, c]).tolist() == [[True, True, False], [True, True, False], [False, False, True]]


def test_margin_lowers_the_right_logit_only() -> None:
    cosines = torch.tensor([[0.5, 0.2], [-0.999, 0.1]])
    logits = arc_face(cosines, torch.tensor([0, 0]), 0.35)
    assert (logits[:, 0] < 32 * cosines[:, 0]).all()
    assert torch.equal(logits[:, 1], 32 * cosines[:, 1])
    assert torch.allclose(arc_face(cosines, torch.tensor([0, 0]), 0.0), 32 * cosines, atol=1e-4)


def test_heat_is_one_in_the_cell_of_the_head_and_nowhere_without_one() -> None:
    places = torch.full((2, 14), float("nan"))
    places[0, :4] = torch.tensor([20.0, 20.0, 40.0, 44.0])  # the centre is 30, 32
    heat = heat_map(places)
    assert (heat == 1).nonzero().tolist() == [[0, 8, 7]]
    assert not heat[1].any()
    assert torch.isfinite(focal_loss(torch.zeros_like(heat), heat))


def test_equal_error_rate_is_zero_when_apart_and_half_when_alike() -> None:
    low, high = np.linspace(0, 0.4, 100, dtype=np.float32), np.linspace(0.6, 1, 100, dtype=np.float32)
    assert equal_error_rate(high, low) == 0
    assert equal_error_rate(high, high) == pytest.approx(0.5, abs=0.02)


def test_reconstructions_stand_beside_what_was_drawn(tmp_path: Path, work: Path) -> None:
    negative, same = Reconstruct("negative", lambda shown: 255 - shown), Reconstruct("same", lambda shown: shown)
    faces = face_store(tmp_path, 5, 2, negative)
    assert faces.frames.shape == (2, 2, 12, 64, 64, 3)
    assert (faces.frames[0] == 255 - faces.frames[1]).all()
    seen = views(tmp_path, clip_store(work, 31, 16), negative, count=3)
    assert (seen.rebuilt == 255 - seen.store.frames[:3]).all()
    again = face_store(tmp_path, 5, 2, same), views(tmp_path, clip_store(work, 31, 16), same, count=3)
    assert (again[0].frames[0] == again[0].frames[1]).all() and (again[1].rebuilt == seen.store.frames[:3]).all()


def test_a_judge_is_trained_on_from_a_start_and_never_on_the_checkpoints_of_another_training(tmp_path: Path) -> None:
    asked, name, start = JudgeSettings(("face_reward",), steps=1, people=4), "face_reward.safetensors", tmp_path / "start"
    train_judges(asked, tmp_path, tmp_path / "anew")
    other = {key: value + 0.5 for key, value in read_weights(tmp_path / "anew/judges" / name).items()}
    start.mkdir()
    save_file(other, start / name)
    with pytest.raises(UsageError, match=r"judges/face_reward: has begun with start None, not .*; give .* or another --work\.$"):
        train_judges(replace(asked, start=start), tmp_path, tmp_path / "on")
    train_judges(replace(asked, start=start), tmp_path / "work", tmp_path / "on")
    learnt = read_weights(tmp_path / "on/judges" / name)
    assert max(float((learnt[key].float() - other[key].float()).abs().max()) for key in other) < 0.1


def test_training_saves_the_judge_and_refuses_unknown_names(tmp_path: Path) -> None:
    train_judges(JudgeSettings(("face_reward",), steps=2, people=4), tmp_path, tmp_path / "out")
    assert (tmp_path / "out/judges/face_reward.safetensors").exists()
    with pytest.raises(UsageError, match="no judge is called 'nose'"):
        train_judges(JudgeSettings(("nose",)), tmp_path, tmp_path)
