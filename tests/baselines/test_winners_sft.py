"""Winners are learnt with their pairs' prompts; losers are not even read."""

import shutil
from typing import Any

import pytest

from magicid.baselines.winners_sft import WinnersSft
from magicid.core.records import Adapter, Pair, Video
from magicid.core.run import Run
from magicid.training import reconstruction
from magicid.training.adapters import read_adapter, save_adapter


def test_losers_are_never_read_and_winners_are_learnt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    losers = {pair.loser for pair in run.dir.read("pair", Pair)}
    for video in run.dir.read("sample", Video):
        if video.id in losers:
            run.file(video.latents).unlink()
    said: list[list[str]] = []
    original = reconstruction.Clips.of

    def noted(run: Run, files: list[str], prompts: list[str]) -> reconstruction.Clips:
        said.append(prompts)
        return original(run, files, prompts)

    monkeypatch.setattr(reconstruction.Clips, "of", noted)
    assert WinnersSft(2, 1e-2).run(run)[0].sha256 != run.dir.read("finetune", Adapter)[0].sha256
    assert said == [[pair.prompt for pair in run.dir.read("pair", Pair)]]


def test_no_steps_leave_the_stage_one_adapter(run: Run) -> None:
    assert WinnersSft(0).run(run)[0].sha256 == run.dir.read("finetune", Adapter)[0].sha256


def test_it_begins_where_hpo_does(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_one = run.dir.read("finetune", Adapter)[0]
    distilled = save_adapter(run, "distill", {key: 2 * value for key, value in read_adapter(run, stage_one).items()})
    read = run.dir.read
    monkeypatch.setattr(run.dir, "read", lambda stage, kind: [distilled] if stage == "distill" else read(stage, kind))
    assert WinnersSft(0).run(run)[0].sha256 == distilled.sha256 != stage_one.sha256


def test_it_keeps_as_little_as_hpo_and_has_the_same_bits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = WinnersSft(2, 1e-2).run(run)[0]
    shutil.rmtree(run.dir.root / "winners_sft")
    settings = run.dir.settings() | {"optimize.recompute": "blocks"}
    monkeypatch.setattr(run.dir, "settings", lambda: settings)
    said: list[bool] = []
    original = reconstruction.noised_prediction

    def noted(*arguments: Any) -> Any:
        said.append(run.family.transformer.gradient_checkpointing)
        return original(*arguments)

    monkeypatch.setattr(reconstruction, "noised_prediction", noted)
    assert WinnersSft(2, 1e-2).run(run)[0].sha256 == plain.sha256 and said == [True, True]
