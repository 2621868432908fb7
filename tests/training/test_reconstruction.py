"""What every training by reconstruction shares: its draws, its conditions, its snapshots."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from magicid.core.records import Photo
from magicid.core.run import Run
from magicid.core.seeds import noise
from magicid.training.loop import LoopSettings
from magicid.training.objectives import video_error
from magicid.training.reconstruction import Clips, learn, noised_prediction, reconstruction, snapshots
from tests.doubles import fake_run

SAID = ["walks", "nods twice", "walks"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = fake_run(tmp_path / "run", tmp_path)
    for i in range(3):
        save_file({"latents": noise((3, 2, 4, 4), 0, "clip", i)}, run.dir.stage("prepare") / f"{i}.safetensors")
    run.dir.publish("prepare", [Photo(f"photo-{i}", "", "", f"prepare/{i}.safetensors", "", False) for i in range(3)])
    return run


@pytest.fixture
def clips(run: Run) -> Clips:
    return Clips.of(run, [f"photo-{i}" for i in range(3)], SAID)


def test_each_clip_has_the_condition_of_its_own_prompt(run: Run, clips: Clips) -> None:
    asked = clips.condition(torch.tensor([1, 0, 1]))
    assert torch.equal(asked["text"], run.family.encode_prompts([SAID[1], SAID[0], SAID[1]])["text"])


def test_a_step_draws_the_same_whatever_came_before_it(run: Run, clips: Clips) -> None:
    loss, other = reconstruction(run, clips, 4), reconstruction(run, clips, 4, "prior")
    drawn = [value[0].item() for value in (loss(7, 0), loss(3, 0), loss(7, 1), other(7, 0), loss(7, 0))]
    assert drawn[0] == drawn[-1] and len(set(drawn)) == 4


def test_a_model_that_is_right_has_no_loss(run: Run, clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    known = clips.latents[:1]

    def right(x_t: Tensor, t_B: Tensor, condition: object) -> Tensor:
        return (x_t - known) / t_B.reshape(-1, 1, 1, 1, 1)  # eps - x0, from x_t = (1 - t) x0 + t eps

    monkeypatch.setattr(run.family, "predict", right)
    for i in range(5):
        prediction, target = noised_prediction(run.family, known, {}, 0, "step", i)
        assert float(video_error(prediction, target)) < 1e-6


def test_snapshots_are_the_weights_of_their_steps(run: Run) -> None:
    weight = nn.Parameter(torch.ones(1))
    seen: dict[int, float] = {}

    def loss(step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        seen[step] = float(weight.detach())
        return weight.square().sum(), {}

    adapter = learn(run, "finetune", {"w": weight}, loss, LoopSettings(10, 0.1))
    found = snapshots(run, "finetune")
    assert list(found) == [2, 4, 6, 8, 10]
    for step in (2, 4, 6, 8):
        assert load_file(run.file(found[step].file))["w"].item() == seen[step]
    assert found[10].sha256 == adapter.sha256 and snapshots(run, "magic_me") == {}
