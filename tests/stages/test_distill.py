"""The student says what stage one says where the head is, moving more, and what the base model says elsewhere."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from magicid.core.errors import DataError
from magicid.core.records import Adapter
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.core.weights import read_weights
from magicid.perception import tracking
from magicid.stages.distill import STUDENT, TEACHER, Distill
from magicid.training import lora
from magicid.training.adapters import load_adapter, read_adapter
from magicid.training.log import Log
from magicid.training.objectives import video_error
from magicid.training.reconstruction import Clips, noised, snapshots
from magicid.training.regions import moving_like
from tests.doubles import CentredDetector

pytestmark = pytest.mark.usefixtures("judges")
STAGE = Distill(steps=4, batch=2, learning_rate=1e-2, save_every_steps=2, sample_steps=2)
LEARN = replace(STAGE, caption_dropout=0)


@pytest.fixture
def run(common: Common, finished: Path, tmp_path: Path) -> Iterator[Run]:
    """A run that has its prompts, and none of what comes after."""
    later = ("distill", "sample", "score", "pair", "optimize", "generate", "evaluate")
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns(*later))
    opened = Run(RunDir(tmp_path / "run"), common, Console(file=StringIO(), width=200))
    yield opened
    opened.dir.close()


@pytest.fixture
def taught(run: Run) -> tuple[Run, Clips]:
    """With both adapters in memory, and the photos as clips."""
    stage_one = run.dir.read("finetune", Adapter)[0]
    for name in (TEACHER, STUDENT):
        load_adapter(run, name, stage_one)
    ids = [photo.id for photo in run.photos()]
    return run, Clips.of(run, ids, [run.common.trigger] * len(ids))


def at_left(shape: Sequence[int]) -> Tensor:
    """A region (F, H, W) of the left half."""
    region = torch.zeros(*shape)
    region[..., : shape[-1] // 2] = 1
    return region


def predictions(run: Run, clips: Clips, chosen: Tensor, key: tuple[object, ...]) -> dict[str | None, Tensor]:
    x_t, t, _ = noised(run.family, clips.latents[chosen], run.common.seed, *key)
    found = {}
    for name in (None, TEACHER, STUDENT):
        with torch.no_grad(), lora.using(run.family, name):
            found[name] = run.family.predict(x_t, t, clips.condition(chosen))
    return found


def test_without_steps_the_outcome_is_stage_ones_adapter_and_nothing_is_drawn(run: Run) -> None:
    assert Distill().run(run) == [run.dir.read("finetune", Adapter)[0]]
    assert not (run.dir.root / "distill").exists()


def test_the_loss_is_the_distance_from_the_moving_teacher_on_the_head_and_the_base_elsewhere(taught: tuple[Run, Clips]) -> None:
    run, clips = taught
    with torch.no_grad():
        for name, parameter in lora.parameters(run.family, STUDENT).items():
            parameter.add_(0.1 * torch.ones_like(parameter) if "lora_B" in name else 0)
    key = ("distill", 3, 0)
    chosen = clips.choose(2, run.common.seed, *key)
    by = predictions(run, clips, chosen, key)
    law, (x_t, t, _) = run.family.law, noised(run.family, clips.latents[chosen], run.common.seed, *key)
    half = torch.stack([at_left(clips.latents.shape[2:])] * len(clips.latents))
    for heads in (torch.zeros_like(half), half, torch.ones_like(half)):
        region = heads[chosen][:, None]
        teacher, base = (law.clean_and_noise(x_t, by[name], t)[0] for name in (TEACHER, None))
        target = torch.where(region > 0, law.prediction_of(x_t, moving_like(teacher, base, region), t), by[None])
        loss = LEARN.loss(run, clips, heads)(3, 0)[0]
        assert float(loss.detach()) == pytest.approx(float(video_error(by[STUDENT], target).mean()), rel=1e-5) != 0


def test_what_the_student_says_at_first_is_right_where_the_head_is_but_for_its_motion(
    taught: tuple[Run, Clips], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, clips = taught
    heads = torch.ones(clips.latents.shape[0], *clips.latents.shape[2:])
    moving, elsewhere = (float(LEARN.loss(run, clips, part)(0, 0)[0].detach()) for part in (heads, 0 * heads))
    assert moving > 1e-6 < elsewhere
    monkeypatch.setattr("magicid.training.regions.MOST_GAIN", 1.0)
    assert float(LEARN.loss(run, clips, heads)(0, 0)[0].detach()) < 1e-9


def test_teacher_and_student_begin_at_their_strengths_of_stage_ones_adapter(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[dict[str, Tensor]] = []
    original = Distill.loss

    def noted(self: Distill, run: Run, clips: Clips, heads: Tensor) -> object:
        begun.extend(lora.weights(run.family, name) for name in (TEACHER, STUDENT))
        return original(self, run, clips, heads)

    monkeypatch.setattr(Distill, "loss", noted)
    stage_one = read_adapter(run, run.dir.read("finetune", Adapter)[0])
    replace(STAGE, steps=1, teacher_strength=0.25, student_strength=0.5).run(run)
    teacher, student = begun
    for key, tensor in stage_one.items():
        parts = (0.25, 0.5) if ".lora_B." in key else (1, 1)
        assert torch.equal(teacher[key], parts[0] * tensor) and torch.equal(student[key], parts[1] * tensor)
    assert any(tensor.any() for key, tensor in stage_one.items() if ".lora_B." in key)


def test_the_outcome_may_be_the_running_average_of_the_students_weights(run: Run) -> None:
    stage = replace(STAGE, steps=3, average_decay=0.15)  # of three steps all have a snapshot
    made = read_adapter(run, stage.run(run)[0])
    average = read_adapter(run, run.dir.read("finetune", Adapter)[0])
    steps = snapshots(run, "distill")
    for adapter, decay in zip(steps.values(), (0.1, 0.15, 0.15), strict=True):  # it forgets its start quickly
        weights = read_adapter(run, adapter)
        average = {key: tensor.lerp(weights[key], 1 - decay) for key, tensor in average.items()}
    for key, tensor in average.items():
        assert torch.allclose(made[key], tensor, atol=1e-7)
    assert any(not torch.equal(made[key], tensor) for key, tensor in read_adapter(run, steps[3]).items())


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_captions_is_dropped_for_the_empty_prompt(
    taught: tuple[Run, Clips], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, clips = taught
    told: list[dict[str, Tensor]] = []
    original = run.family.predict

    def noted(x_t: Tensor, t: Tensor, condition: dict[str, Tensor]) -> Tensor:
        told.append(condition)
        return original(x_t, t, condition)

    monkeypatch.setattr(run.family, "predict", noted)
    loss = replace(STAGE, batch=40, caption_dropout=share).loss(run, clips, clips.latents[:, 0])
    loss(1, 0)
    assert len(told) == 3 and all(torch.equal(said[name], told[0][name]) for said in told for name in said)
    key = (run.common.seed, "distill", 1, 0)
    own = clips.condition(clips.choose(40, *key))
    for name, tensor in told[0].items():
        dropped = [torch.equal(row, run.negative[name][0]) for row in tensor]
        assert sum(dropped) == 40 * share or (share == 0.5 and 8 < sum(dropped) < 32)
        assert all(torch.equal(tensor[i], own[name][i]) for i in range(40) if not dropped[i])


def test_only_the_student_learns(taught: tuple[Run, Clips]) -> None:
    run, clips = taught
    LEARN.loss(run, clips, torch.zeros(clips.latents.shape[0], *clips.latents.shape[2:]))(0, 0)[0].backward()
    learning = {name for name, p in run.family.transformer.named_parameters() if p.grad is not None}
    assert learning and all(f".{STUDENT}." in name for name in learning)


def test_it_comes_nearer_and_leaves_no_adapter_behind(run: Run) -> None:
    made = replace(STAGE, steps=30).run(run)[0]
    lines = Log(run.log_path("distill")).read()
    assert len(lines) == 30 and sum(line["loss"] for line in lines[-10:]) < 0.7 * sum(line["loss"] for line in lines[:10])
    stage_one = read_adapter(run, run.dir.read("finetune", Adapter)[0])
    learnt = read_adapter(run, made)
    assert learnt.keys() == stage_one.keys() and any(not torch.equal(learnt[key], stage_one[key]) for key in learnt)
    assert not getattr(run.family.transformer, "peft_config", None)
    said = run.console.file.getvalue()  # type: ignore[attr-defined]
    assert all(f" {bar} ━" in said for bar in ("base", "heads", "joined", "distill"))  # each bar has a name of its own
    drawn = [json.loads(line) for line in (run.dir.root / "distill" / "journal.jsonl").read_text().splitlines()]
    assert {(clip["origin"], clip["strength"]) for clip in drawn} == {("base", 0.0), ("joined", 1.0)}
    for origin in ("base", "joined"):
        assert len(list((run.dir.root / "distill").glob(f"{origin}-*.mp4"))) == 3


def test_a_joined_clip_is_much_nearer_to_the_base_models_where_no_head_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magicid.stages.distill.head_region", lambda frames, faces, shape, alone: at_left(shape))
    kept: list[tuple[Tensor, Tensor]] = []

    original = Distill.loss

    def noted(self: Distill, run: Run, clips: Clips, heads: Tensor) -> object:
        kept.append((clips.latents, heads))
        return original(self, run, clips, heads)

    monkeypatch.setattr(Distill, "loss", noted)
    replace(STAGE, steps=1).run(run)
    (joined, heads), folder = kept[0], run.dir.root / "distill"
    base = torch.stack([read_weights(file)["latents"] for file in sorted(folder.glob("base-*.safetensors"))])
    first = heads.shape[-1] // 2
    # the second of two steps sees what the first one joined, so the rest is near the base model's clip and not it
    apart = [(joined - base).abs()[..., side].mean() for side in (slice(first), slice(first, None))]
    assert heads[..., :first].all() and not heads[..., first:].any() and apart[1] < 0.5 * apart[0]


def test_clips_without_a_head_are_left_out_and_all_of_them_are_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, original = [0], CentredDetector.detect

    def now_and_then(self: CentredDetector, frames: tracking.Frames) -> object:
        seen[0] += 1
        return original(self, frames) if seen[0] == 2 else [[] for _ in frames]

    monkeypatch.setattr(CentredDetector, "detect", now_and_then)
    chosen: list[list[str]] = []

    loss = Distill.loss

    def noted(self: Distill, run: Run, clips: Clips, heads: Tensor) -> object:
        chosen.append(clips.ids)
        return loss(self, run, clips, heads)

    monkeypatch.setattr(Distill, "loss", noted)
    STAGE.run(run)
    assert chosen == [["joined-001-0"]]
    said = run.console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 of 3 clips of the base model show no head and are left out" in said
    seen[0] = 5
    with pytest.raises(DataError, match=r"^no head is seen in any of 3 clips .*; set --distill.steps 0\.$"):
        STAGE.run(run)
