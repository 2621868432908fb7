"""Killed at any point, a run that is started again ends with the bytes of one that was left alone."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from magicid.core.run_dir import RunDir
from magicid.training import checkpoint
from magicid.training.log import Log
from magicid.training.loop import LoopSettings, train
from tests.faults.attempts import FORKS
from tests.faults.conftest import Bench
from tests.faults.guards import Guard

KILLED = -signal.SIGKILL
slow = partial(pytest.param, marks=pytest.mark.slow)
GUARDS = {
    1: Guard("training/clips.py", "if video is not None and run.file(video.file).exists():", "if False:"),
    2: Guard("core/files.py", "temporary = temporary_name(path)", "temporary = path"),
    3: Guard("core/run_dir.py", "if torn:", "if False:"),
    4: Guard("core/run_dir.py", "return self.manifest(name).exists()", "return self.begun(name)"),
    5: Guard("training/loop.py", 'optimizer.load_state(found.groups["optimizer"])', "pass"),
    6: Guard("training/checkpoint.py", '(*folder.glob(f"{TEMPORARY}*"), final)', 'folder.glob("*")'),
    7: Guard("training/loop.py", "return found.step", "return found.step + 1"),
    8: Guard("training/checkpoint.py", "in _superfluous(folder, final):", 'in set(folder.glob("step-*")):'),
    24: Guard("training/loop.py", 'optimizer.load_state(found.groups["optimizer"])', "pass"),
    32: Guard("training/checkpoint.py", '"step-*"), reverse=True)', '"step-*"), key=lambda path: -path.stat().st_mtime)'),
}


def killed(bench: Bench, fault: str) -> None:
    code, said = bench.attempt(MAGICID_FAULT=f"{fault}:kill")
    assert code == KILLED, said


def ends_alike(bench: Bench, whole: Bench) -> None:
    code, said = bench.attempt()
    assert code == 0, said
    assert bench.contents() == whole.contents() and not list(bench.run.rglob(".tmp*"))


def test_row_01_only_the_video_in_flight_is_redone(bench: Bench, whole: Bench) -> None:
    killed(bench, "sample:finetuned-001-0:entered")
    kept = {path: path.stat().st_mtime_ns for path in (bench.run / "sample").glob("finetuned-000-*")}
    ends_alike(bench, whole)
    assert kept and kept == {path: path.stat().st_mtime_ns for path in kept}


@pytest.mark.parametrize("file", ["finetuned-000-0.mp4", slow("finetuned-000-0.safetensors")])
def test_row_02_nothing_partial_stands_under_a_final_name(bench: Bench, whole: Bench, file: str) -> None:
    killed(bench, f"sample:{file}:written")
    assert not (bench.run / "sample" / file).exists() and list((bench.run / "sample").glob(".tmp-*"))
    ends_alike(bench, whole)


def test_row_03_no_score_is_missing_or_there_twice(bench: Bench, whole: Bench) -> None:
    killed(bench, "score:finetuned-001-0:journal")
    with (bench.run / "score" / "journal.jsonl").open("a") as journal:
        journal.write('{"id": "finetuned-001-0", "raw": {"iden')
    killed(bench, "score:finetuned-002-0:entered")
    ends_alike(bench, whole)
    ids = [line.split('"video": "')[1].split('"')[0] for line in RunDir(bench.run).manifest("score").read_text().splitlines()[1:]]
    assert len(ids) == len(set(ids)) == 15


@pytest.mark.parametrize("point", ["pair:manifest.jsonl:written", slow("pair:*:item"), slow("pair:manifest.jsonl:published")])
def test_row_04_the_pairs_are_the_same(bench: Bench, whole: Bench, point: str) -> None:
    killed(bench, point)
    ends_alike(bench, whole)


@pytest.mark.parametrize(
    "point", ["finetune:3:step", "distill:3:step", "optimize:4.0:micro", slow("finetune:4.0:micro"), slow("optimize:3:step")]
)
def test_row_05_training_goes_on_to_the_same_bytes(bench: Bench, whole: Bench, point: str) -> None:
    killed(bench, point)
    ends_alike(bench, whole)


FILES = ["model.safetensors:written", "optimizer.safetensors:written", "manifest.json:written"]
SAVING = [FILES[1], "step-00000004:checkpoint", slow("step-00000004:saved"), slow(FILES[0]), slow(FILES[2])]


@pytest.mark.parametrize("point", SAVING)
def test_row_06_killed_inside_a_save_the_previous_checkpoint_loads(begun: Bench, whole: Bench, point: str) -> None:
    if point in FILES:  # these names are those of every save; the second is killed
        killed(begun, "optimize:2:step")
    killed(begun, f"optimize:{point}")
    found = checkpoint.latest(begun.run / "optimize" / "checkpoints")
    assert found and found.step == (4 if "saved" in point else 2)
    ends_alike(begun, whole)


def accumulate(folder: str, fault: str) -> None:
    """A training with two micro-batches a step."""
    os.environ["MAGICID_FAULT"] = fault
    weights = {"w": nn.Parameter(torch.ones(3))}
    settings = LoopSettings(6, learning_rate=0.1, micro_batches=2, save_every_steps=2)
    train(
        weights,
        lambda step, micro: (((weights["w"] - step - micro) ** 2).sum(), {}),
        settings,
        Path(folder) / "checkpoints",
        Log(Path(folder) / "log.jsonl"),
    )


def test_row_07_killed_between_micro_batches_the_step_is_done_again(tmp_path: Path) -> None:
    for name, faults in {"whole": [""], "killed": ["*:3.1:micro:kill", ""]}.items():
        for fault in faults:
            process = FORKS.Process(target=accumulate, args=(str(tmp_path / name), fault))
            process.start()
            process.join(60)
            assert process.exitcode == (KILLED if fault else 0)
    for file in ("log.jsonl", "checkpoints/step-00000006/model.safetensors", "checkpoints/step-00000006/optimizer.safetensors"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_row_08_killed_while_pruning_a_valid_one_is_left(begun: Bench, whole: Bench) -> None:
    killed(begun, "optimize:step-00000002:prune")
    found = checkpoint.latest(begun.run / "optimize" / "checkpoints")
    assert found and found.step == 6
    ends_alike(begun, whole)


def test_row_24_killed_by_the_host(begun: Bench, whole: Bench) -> None:
    attempt, log = begun.start(), begun.run / "optimize" / "log.jsonl"
    while not log.exists() or log.read_text().count("\n") < 3:
        time.sleep(0.01)
    attempt.process.kill()
    assert attempt.wait() == KILLED
    ends_alike(begun, whole)


def test_row_32_checkpoints_are_told_by_step_not_by_time(begun: Bench, whole: Bench) -> None:
    killed(begun, "optimize:4:step")
    folder = begun.run / "optimize" / "checkpoints"
    for step in (2, 4):
        os.utime(folder / f"step-{step:08d}", (10**9 / step, 10**9 / step))
    found = checkpoint.latest(folder)
    assert found and found.step == 4
    ends_alike(begun, whole)
