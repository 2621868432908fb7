"""DreamBooth-LoRA is stage one gone on; stopped early, it is chosen by the rewards' judges on the repository's prompts."""

import json
import shutil
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import starmap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from magicid.baselines.dreambooth_lora import DreamboothLora
from magicid.baselines.dreambooth_lora_early import DreamboothLoraEarly
from magicid.baselines.dreambooth_lora_prior import DreamboothLoraPrior
from magicid.core.errors import DataError, UsageError
from magicid.core.files import sha256
from magicid.core.records import Adapter, Prompt, Video
from magicid.core.run import Run
from magicid.core.weights import write_weights
from magicid.export.lora_file import low_file
from magicid.rewards import validation
from magicid.rewards.validation import Point, area
from magicid.stages import finetune
from magicid.training import lora
from magicid.training.adapters import load_adapter
from magicid.training.objectives import video_error
from magicid.training.recompute import Level
from magicid.training.reconstruction import noised_prediction, snapshots


def test_going_on_from_stage_one_is_training_from_the_start(run: Run) -> None:
    stage_one = run.dir.read("finetune", Adapter)[0]
    on = DreamboothLora(8).run(run)[0]
    lines = (run.dir.root / "dreambooth_lora" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(8))
    shutil.rmtree(run.dir.root / "dreambooth_lora")
    shutil.rmtree(run.dir.root / "finetune" / "checkpoints")
    assert DreamboothLora(8).run(run)[0].sha256 == on.sha256 != stage_one.sha256


def test_fewer_steps_than_stage_one_has_are_refused(run: Run) -> None:
    with pytest.raises(UsageError, match=r"dreambooth_lora\.steps 4; stage one alone has 5"):
        DreamboothLora(4).run(run)
    assert DreamboothLora(5).run(run)[0].sha256 == run.dir.read("finetune", Adapter)[0].sha256


def test_snapshots_are_kept_on_the_way_and_the_last_is_the_end(run: Run) -> None:
    found = snapshots(run, "finetune")
    assert list(found) == [1, 2, 3, 4, 5]
    assert found[5].sha256 == run.dir.read("finetune", Adapter)[0].sha256
    DreamboothLora(8).run(run)
    assert list(snapshots(run, "dreambooth_lora")) == [6, 8]  # fifths of 8 steps, of which stage one made the first five


def test_the_snapshot_with_the_largest_area_is_chosen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    points = iter(starmap(Point, [(0.1, 9.0), (0.6, 1.0), (0.4, 3.0), (-0.5, -9.0), (0.9, 0.0)]))
    asked: list[list[Video]] = []

    def found(run: Run, videos: list[Video]) -> Point:
        asked.append(videos)
        return next(points)

    monkeypatch.setattr(validation, "mean_rewards", found)
    run.dir.stage("dreambooth_lora")
    run.dir.publish("dreambooth_lora", [])
    chosen = DreamboothLoraEarly(prompts=2, sample_steps=1).run(run)[0]
    assert chosen == snapshots(run, "finetune")[3]
    told = json.loads((run.dir.root / "dreambooth_lora_early" / "validation.json").read_text())
    assert told["best"] == 3 and told["steps"]["2"] == {"identity": 0.6, "motion": 1.0}
    prompts = [p.text for p in run.dir.read("prompts", Prompt) if p.split == "repository"]
    assert all([video.prompt for video in videos] == prompts for videos in asked)
    assert len({videos[0].sha256 for videos in asked}) == 5 and len({videos[0].seed for videos in asked}) == 1


def test_the_reports_judges_have_no_say(run: Run) -> None:
    run.dir.stage("dreambooth_lora")
    run.dir.publish("dreambooth_lora", [])
    run.judges = replace(run.judges, face_report=None, text_report=None)  # type: ignore[arg-type]
    assert DreamboothLoraEarly(prompts=1, sample_steps=1).run(run)[0] in snapshots(run, "finetune").values()


def test_without_snapshots_there_is_nothing_to_choose(run: Run) -> None:
    shutil.rmtree(run.dir.root / "finetune" / "snapshots")
    run.dir.stage("dreambooth_lora")
    run.dir.publish("dreambooth_lora", [])
    with pytest.raises(DataError, match="no snapshots of finetune or dreambooth_lora"):
        DreamboothLoraEarly().run(run)


def test_an_area_is_nothing_where_one_side_is() -> None:
    assert area(Point(0.5, 2.0)) == 1.0 and area(Point(-0.5, -2.0)) == 0 == area(Point(0.5, 0.0))


def test_a_prior_that_weighs_nothing_is_no_prior(run: Run) -> None:
    plain, weightless = (baseline.run(run)[0] for baseline in (DreamboothLora(8), DreamboothLoraPrior(8, 0.0)))
    free, held = (load_file(run.file(adapter.file)) for adapter in (plain, weightless))
    for name in free:
        torch.testing.assert_close(free[name], held[name])


def test_with_a_prior_the_base_models_clips_are_known_better(run: Run) -> None:
    clips = [video for video in run.dir.read("sample", Video) if video.origin == "base"]
    latents = torch.stack([load_file(run.file(video.latents))["latents"] for video in clips])
    condition = run.family.encode_prompts([video.prompt for video in clips])
    errors = []
    for baseline in (DreamboothLora(30), DreamboothLoraPrior(30, 10.0)):
        load_adapter(run, "trained", baseline.run(run)[0])
        with torch.no_grad(), lora.using(run.family, "trained"):
            drawn = [noised_prediction(run.family, latents, condition, 0, "check", i) for i in range(8)]
        errors.append(sum(float(video_error(*one).mean()) for one in drawn))
        lora.remove_adapter(run.family, "trained")
    assert errors[1] < errors[0]


@pytest.mark.parametrize("baseline", [DreamboothLora(5), DreamboothLoraPrior(2, 0.0)])
def test_it_begins_where_stage_one_began_and_keeps_as_little(
    run: Run, tmp_path: Path, baseline: DreamboothLora | DreamboothLoraPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs.safetensors"
    start, scale = load_file(run.file(run.dir.read("finetune", Adapter)[0].file)), 16 / 2  # of alpha and rank
    write_weights(theirs, {f"transformer.{key}": p * (scale if "lora_B" in key else 1) for key, p in start.items()})
    shutil.rmtree(run.dir.root / "finetune" / "checkpoints")
    asked = {"start": str(theirs), "recompute": "blocks", "learning_rate": 1e-12}
    settings = run.dir.settings() | {f"finetune.{name}": value for name, value in asked.items()}
    monkeypatch.setattr(run.dir, "settings", lambda: settings)
    levels: list[str] = []
    original = finetune.recomputing

    def noted(transformer: nn.Module, level: Level) -> AbstractContextManager[None]:
        levels.append(level)
        return original(transformer, level)

    monkeypatch.setattr(finetune, "recomputing", noted)
    found = load_file(run.file(baseline.run(run)[0].file))
    for name in start:
        torch.testing.assert_close(found[name], start[name])
    assert levels == ["blocks"]
    settings["finetune.start_sha256"] = sha256(theirs)
    baseline.run(run)
    shutil.copy(theirs, low_file(theirs))  # as of two experts: the other's is started from too
    with pytest.raises(
        DataError, match=r"theirs\.safetensors: not the file that this run's stage one began with; bring that one"
    ):
        baseline.run(run)
