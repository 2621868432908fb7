"""What goes wrong in a training: numbers that are not finite, nothing learnt, losses that leap, adapters of others."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn

from magicid.core.errors import DataError
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.stages.optimize import Optimize
from magicid.training import checkpoint, loop, lora, reconstruction
from magicid.training.alarms import alarm, best
from magicid.training.log import Log
from magicid.training.loop import LoopSettings
from magicid.training.reconstruction import learn, snapshots
from tests.faults.conftest import Bench, stage_two
from tests.faults.guards import Guard

GUARDS = {
    18: Guard("training/loop.py", "if bad >= settings.max_bad_steps:", "if False:"),
    19: Guard("training/loop.py", "if math.isfinite(norm) and ", "if "),
    20: Guard("training/reconstruction.py", "and zeros and not any(p.any() for p in zeros):", "and False:"),
    21: Guard("core/weights.py", "if not tensor.isfinite().all()", "if False"),
    22: Guard("training/reconstruction.py", "(said := alarm(log.recent))", "(said := None)"),
    57: Guard("stages/optimize.py", 'and abs(numbers["margin"]) > 0:', "and False:"),
    58: Guard("training/loop.py", "if before is not None:", "if False:"),
}


def lines(bench: Bench, stage: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (bench.run / stage / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("row", "point"), [(18, "loss"), (19, "gradient")], ids=["row_18_loss", "row_19_gradient"])
def test_not_finite(begun: Bench, row: int, point: str) -> None:
    code, said = begun.attempt(MAGICID_FAULT=f"optimize:2:{point}:nan", command="optimize")
    log = lines(begun, "optimize")
    assert code == 0 and len(log) == 6, said
    assert log[2]["batch"] and all(str(name).split("-")[0] in ("identity", "dynamic") for name in log[2]["batch"])  # type: ignore[attr-defined]
    assert [line["step"] for line in log if "batch" in line] == [2] and all(math.isfinite(float(x["win"])) for x in log)  # type: ignore[arg-type]


@pytest.mark.parametrize("point", ["row_18_loss", "row_19_gradient"])
def test_too_often(begun: Bench, point: str) -> None:
    code, said = begun.attempt(MAGICID_FAULT=f"optimize:*:{point[7:]}:nan")
    assert code == 3 and "not finite 3 times in a row; lower the learning rate" in said
    assert [line["step"] for line in lines(begun, "optimize")] == [0, 1, 2]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with nothing in it, whose console is kept."""
    return Run(RunDir(tmp_path / "run"), Common(tmp_path), Console(record=True, width=500, file=(tmp_path / "said").open("w")))


def parameters() -> dict[str, nn.Parameter]:
    return {"x.lora_A.weight": nn.Parameter(torch.ones(2, 3)), "x.lora_B.weight": nn.Parameter(torch.zeros(3, 2))}


def test_row_20_an_adapter_that_stays_zero_stops_the_training(run: Run) -> None:
    own = parameters()
    with pytest.raises(DataError, match="nothing is learning, every lora_B is zero after 20 steps") as error:
        learn(run, "finetune", own, lambda s, m: (own["x.lora_A.weight"].square().mean(), {}), LoopSettings(60))
    assert error.value.exit_code == 3


def test_row_21_what_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, checkpoint.Checkpoint(1, {"model": {"w": torch.ones(2)}}))
    for number in (math.nan, math.inf):
        with pytest.raises(DataError, match=r"step-00000002/model\.safetensors: w is not finite, so it is not saved"):
            checkpoint.save(tmp_path, checkpoint.Checkpoint(2, {"model": {"w": torch.tensor([1.0, number])}}))
    found = checkpoint.latest(tmp_path)
    assert found and found.step == 1 and [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def learnt(run: Run, loss: Callable[[Tensor, int], Tensor], numbers: Callable[[int], dict[str, float]] = lambda step: {}) -> str:
    own = parameters()
    settings = LoopSettings(60, 1e-3)
    learn(run, "finetune", own, lambda s, m: (loss(own["x.lora_B.weight"], s), numbers(s)), settings)
    return run.console.export_text()


def test_row_22_a_loss_that_leaps_is_warned_of_and_the_best_is_kept(run: Run) -> None:
    said = learnt(run, lambda b, step: (b - 1).square().mean() * (30 if step == 40 else 1))
    assert "finetune: loss" in said and "at step 40, " in said and "times the usual" in said
    assert f"Best so far: {run.file('finetune/snapshots/step-00000036.safetensors')}" in said
    assert sorted(snapshots(run, "finetune")) == [12, 24, 36, 48, 60]


def test_row_22_the_best_is_one_that_is_there_and_no_winner_that_is_unlearnt_is_called_so() -> None:
    falling = [{"step": step, "loss": 1 / (step + 1)} for step in range(41)]
    assert best(falling, [12, 24, 36, 48, 60]) == 36
    preferred = [line | {"win_drift": line["step"] / 100} for line in falling]
    assert best(preferred, [12, 24, 36]) == 12


def test_row_22_one_step_that_is_no_number_silences_no_alarm() -> None:
    lines = [{"step": step, "loss": 1.0} for step in range(30)]
    lines[10]["loss"] = math.nan
    assert "50 times the usual" in str(alarm([*lines, {"step": 30, "loss": 50.0}]))


def test_row_22_winners_that_are_unlearnt_are_warned_of(run: Run) -> None:
    def numbers(step: int) -> dict[str, float]:
        return {"margin": 0.1, "win_drift": 0.004 * step, "reference_win": 0.5}

    said = learnt(run, lambda b, step: (b - 1).square().mean(), numbers)
    assert said.count("over-trained; take fewer steps") == 1 and "above the reference's" in said


STAGE = Optimize(steps=2, batch=2, learning_rate=1e-2)


def test_row_57_a_policy_that_is_not_the_reference_at_first_is_refused(begun: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run, add = stage_two(begun, monkeypatch), lora.load_weights

    def other(family: object, name: str, tensors: dict[str, Tensor]) -> None:
        add(family, name, {k: v + 0.1 if name == "policy" else v for k, v in tensors.items()})  # type: ignore[arg-type]

    monkeypatch.setattr(lora, "load_weights", other)
    with pytest.raises(DataError, match="before the first step, must be 0: policy and reference differ"):
        STAGE.run(run)


def test_row_57_the_reference_is_what_it_was_to_the_bit(begun: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run, train = stage_two(begun, monkeypatch), reconstruction.train
    STAGE.run(run)
    assert Log(run.log_path("optimize")).read()[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)

    def moves(*arguments: object, **more: object) -> object:
        done = train(*arguments, **more)  # type: ignore[arg-type]
        with torch.no_grad():
            next(iter(lora.parameters(run.family, "reference").values())).add_(1e-6)
        return done

    monkeypatch.setattr(reconstruction, "train", moves)
    with pytest.raises(DataError, match="1 of the reference's tensors changed"):
        Optimize(steps=3, batch=2, learning_rate=1e-2).run(run)


def test_row_58_the_first_resumed_loss_is_that_which_was_logged(begun: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    begun.attempt(MAGICID_FAULT="optimize:4:step:kill")
    run, latest = stage_two(begun, monkeypatch), loop.checkpoint.latest

    def fresh(folder: Path, *say: object) -> object:
        found = latest(folder)
        assert found
        for name, tensor in found.groups["model"].items():
            tensor.copy_(torch.zeros_like(tensor) if "lora_B" in name else torch.randn_like(tensor))
        return found

    monkeypatch.setattr(loop.checkpoint, "latest", fresh)
    for _ in range(2):  # the evidence stays
        with pytest.raises(DataError, match=r"step 4: loss \S+ after resuming, \S+ was logged before"):
            Optimize(steps=6, batch=2, learning_rate=1e-2).run(Run(run.dir, run.common, run.console))
    assert load_file(max((begun.run / "optimize" / "checkpoints").glob("step-*")) / "model.safetensors")
