"""What every baseline owes: a folder, settings and a manifest of its own, and the same end after a kill."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from magicid.baselines.dreambooth_lora import DreamboothLora
from magicid.baselines.dreambooth_lora_early import DreamboothLoraEarly
from magicid.baselines.dreambooth_lora_prior import DreamboothLoraPrior
from magicid.baselines.magic_me import MagicMe
from magicid.baselines.winners_sft import WinnersSft
from magicid.core import tables
from magicid.core.cost import read_cost
from magicid.core.errors import DataError, UsageError
from magicid.core.interfaces import Stage
from magicid.core.run import Run
from magicid.core.run_dir import Journal
from magicid.pipeline import run_baseline, run_pipeline
from magicid.training import reconstruction
from tests.baselines.conftest import QUIET, SMALL

EACH: dict[str, Stage] = {
    "dreambooth_lora": DreamboothLora(8),
    "dreambooth_lora_early": DreamboothLoraEarly(prompts=2, sample_steps=1),
    "dreambooth_lora_prior": DreamboothLoraPrior(3),
    "magic_me": MagicMe(3),
    "winners_sft": WinnersSft(3, 1e-2),
}


def test_every_baseline_of_the_table_is_tested_here() -> None:
    assert set(EACH) == set(tables.BASELINES)
    assert all(isinstance(EACH[name], tables.load(tables.BASELINES, "baseline", name)) for name in EACH)


@pytest.mark.parametrize("name", EACH)
def test_it_publishes_one_adapter_and_what_it_cost_and_is_not_made_twice(run: Run, name: str) -> None:
    if name == "dreambooth_lora_early":
        with pytest.raises(UsageError, match="the stage 'dreambooth_lora' is not finished; run it first"):
            run_baseline(run, name, EACH[name])
        run_baseline(run, "dreambooth_lora", EACH["dreambooth_lora"])
    adapter = run_baseline(run, name, EACH[name])
    folder = run.dir.root / name
    assert run.file(adapter.file).exists() and read_cost(folder).seconds > 0 and read_cost(folder).peak_memory_mb > 1
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run_baseline(run, name, EACH[name]) == adapter
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ["dreambooth_lora", "dreambooth_lora_prior", "magic_me", "winners_sft"])
def test_killed_on_its_way_it_ends_like_one_that_was_not(run: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original: Callable[..., object] = reconstruction.noised_prediction
    calls = [0]

    def dies(*arguments: object) -> object:
        calls[0] += 1
        if calls[0] == 3:
            raise RuntimeError("killed")
        return original(*arguments)

    monkeypatch.setattr(reconstruction, "noised_prediction", dies)
    monkeypatch.setattr("magicid.training.loop.LoopSettings.save_every_steps", 1)
    with pytest.raises(RuntimeError, match="killed"):
        run_baseline(run, name, EACH[name])
    del run.family  # a new process has a new one
    killed = run_baseline(run, name, EACH[name])
    log = (run.dir.root / name / "log.jsonl").read_bytes()
    for path in sorted((run.dir.root / name).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (run.dir.root / name).rmdir()
    del run.family
    assert run_baseline(run, name, EACH[name]).sha256 == killed.sha256
    assert (run.dir.root / name / "log.jsonl").read_bytes() == log


def test_settings_freeze_with_the_run_and_the_run_goes_on(run: Run) -> None:
    run_baseline(run, "winners_sft", EACH["winners_sft"])
    assert run.dir.settings()["winners_sft.steps"] == 3
    with pytest.raises(
        UsageError, match=r"winners_sft\.steps: 3 there, 4 asked\); choose another --out, or delete winners_sft/ to"
    ):
        run_baseline(run, "winners_sft", WinnersSft(4, 1e-2))
    run.dir.close()
    folder = run_pipeline(run.common, SMALL, run.dir.root, QUIET, until="score")
    assert folder.settings()["winners_sft.steps"] == 3
    with pytest.raises(UsageError, match=r"finetune\.steps: 5 there, 6 asked\).* delete finetune/.* pair/, winners_sft/ to"):
        folder.close()
        run_pipeline(run.common, replace(SMALL, finetune=replace(SMALL.finetune, steps=6)), run.dir.root, QUIET)


def test_it_stands_beside_a_run_that_has_its_pairs_and_goes_stale_with_them(run: Run) -> None:
    run_baseline(run, "winners_sft", EACH["winners_sft"])
    inputs = json.loads(run.dir.manifest("winners_sft").read_text().splitlines()[0])["inputs"]
    assert list(inputs) == ["prepare", "finetune", "prompts", "distill", "sample", "score", "pair"]
    Journal(run.dir, "optimize")
    run.dir.publish("optimize", [])
    run.dir.refuse_stale()  # what comes after the pairs is nothing to a baseline
    run.dir.publish("pair", [])
    run.dir.publish("optimize", [])
    with pytest.raises(DataError, match=r"winners_sft was made from another pair; delete winners_sft/ and run again\.$"):
        run.dir.refuse_stale()
    run.dir.manifest("pair").unlink()
    with pytest.raises(UsageError, match="'pair' is not finished"):
        run_baseline(run, "magic_me", EACH["magic_me"])
