"""Killed anywhere and resumed is the same as never killed; what is not finite changes nothing."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from magicid.core.errors import DataError, Interrupted, NotFinite
from magicid.core.seeds import noise
from magicid.training.log import Log
from magicid.training.loop import LoopSettings, Loss, train

STEPS = 8
SETTINGS = LoopSettings(
    STEPS, learning_rate=0.05, micro_batches=2, warmup_steps=2, cosine=True, ema_decay=0.9, save_every_steps=3
)


class Model:
    """y = W x, fitted to sums."""

    def __init__(self) -> None:
        self.parameters = {"w": nn.Parameter(noise((3, 4), 0, "w")), "unused": nn.Parameter(torch.ones(2))}

    def loss(self, step: int, micro: int) -> tuple[Tensor, dict[str, float]]:
        x = noise((4, 5), 0, step, micro)
        error = (self.parameters["w"] @ x - x.sum(0)).square().mean()
        return error, {"x": float(x.mean())}


def run(
    folder: Path, loss_of: Callable[[Model], Loss] = lambda m: m.loss, settings: LoopSettings = SETTINGS
) -> tuple[Model, dict[str, Tensor]]:
    model = Model()
    average = train(model.parameters, loss_of(model), settings, folder / "checkpoints", Log(folder / "log.jsonl"))
    return model, average


def everything(folder: Path) -> dict[str, bytes]:
    """The log and the last checkpoint: parameters, moments, average."""
    last = max((folder / "checkpoints").glob("step-*"))
    return {"log": (folder / "log.jsonl").read_bytes()} | {path.name: path.read_bytes() for path in last.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return everything(folder)


@pytest.mark.parametrize("micro", range(2))
@pytest.mark.parametrize("step", range(STEPS))
def test_a_run_that_dies_in_any_step_ends_as_if_it_had_not(
    tmp_path: Path, whole: dict[str, bytes], step: int, micro: int
) -> None:
    def dying(model: Model) -> Loss:
        def loss(s: int, m: int) -> tuple[Tensor, dict[str, float]]:
            if (s, m) == (step, micro):
                raise RuntimeError("killed")
            return model.loss(s, m)

        return loss

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, dying)
    run(tmp_path)
    assert everything(tmp_path) == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
@pytest.mark.parametrize("step", [0, 2, 4])
def test_a_signal_saves_at_the_end_of_the_step_and_the_run_goes_on(
    tmp_path: Path, whole: dict[str, bytes], step: int, number: int, code: int
) -> None:
    def signalled(model: Model) -> Loss:
        def loss(s: int, m: int) -> tuple[Tensor, dict[str, float]]:
            if s == step and m == 0:
                os.kill(os.getpid(), number)
            return model.loss(s, m)

        return loss

    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"stopped at step {step + 1} of {STEPS}; run the same command") as error:
        run(tmp_path, signalled)
    assert error.value.exit_code == code and signal.getsignal(number) == before
    assert (tmp_path / "checkpoints" / f"step-{step + 1:08d}").exists()
    run(tmp_path)
    assert everything(tmp_path) == whole


def test_a_second_ctrl_c_stops_at_once_and_what_was_saved_stays_good(tmp_path: Path, whole: dict[str, bytes]) -> None:
    def impatient(model: Model) -> Loss:
        def loss(s: int, m: int) -> tuple[Tensor, dict[str, float]]:
            if s == 4:
                os.kill(os.getpid(), signal.SIGINT)
            return model.loss(s, m)

        return loss

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, impatient)
    run(tmp_path)
    assert everything(tmp_path) == whole


def test_a_torn_log_and_a_step_logged_but_not_saved_do_not_show_after_resuming(tmp_path: Path, whole: dict[str, bytes]) -> None:
    run(tmp_path)
    for path in sorted((tmp_path / "checkpoints").glob("step-*"))[1:]:
        (path / "manifest.json").unlink()
    log = tmp_path / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-5])
    run(tmp_path)
    assert everything(tmp_path) == whole


def test_where_the_log_was_damaged_and_deleted_the_training_goes_on_to_the_same_weights(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    run(tmp_path)
    for path in sorted((tmp_path / "checkpoints").glob("step-*"))[1:]:
        (path / "manifest.json").unlink()
    (tmp_path / "log.jsonl").unlink()
    run(tmp_path)
    found = everything(tmp_path)
    assert whole["log"].endswith(found.pop("log")) and found == {name: data for name, data in whole.items() if name != "log"}


def test_a_finished_run_is_loaded_and_not_trained_again(tmp_path: Path) -> None:
    model, average = run(tmp_path)
    again, same = run(tmp_path, lambda m: lambda step, micro: pytest.fail("a step was taken"))  # type: ignore[return-value,misc]
    assert all(torch.equal(again.parameters[n], p) for n, p in model.parameters.items())
    assert all(torch.equal(same[n], a) for n, a in average.items())


def bad(model: Model, steps: set[int], how: str) -> Loss:
    def loss(s: int, m: int) -> tuple[Tensor, dict[str, float]]:
        value, numbers = model.loss(s, m)
        if s in steps:
            w = model.parameters["w"]
            value = value * float("nan") if how == "loss" else value + 0 * (w - w.detach()).abs().sqrt().sum()
        return value, numbers

    return loss


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing(tmp_path: Path, how: str) -> None:
    _, good_average = run(tmp_path / "good", settings=replace(SETTINGS, steps=3, cosine=False))
    model, average = run(tmp_path / "bad", lambda m: bad(m, {3, 4}, how), replace(SETTINGS, steps=5, cosine=False))
    good = load_file(tmp_path / "good" / "checkpoints" / "step-00000003" / "model.safetensors")
    moments = [
        folder / "optimizer.safetensors"
        for folder in (tmp_path / "good/checkpoints/step-00000003", tmp_path / "bad/checkpoints/step-00000005")
    ]
    assert torch.equal(model.parameters["w"], good["w"])
    assert moments[0].read_bytes() == moments[1].read_bytes()
    assert torch.equal(average["w"], good_average["w"])


def test_training_stops_after_so_many_bad_steps_in_a_row_and_not_before(tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match=r"step 6 .*: .* not finite 3 times in a row; lower the learning rate"):
        run(tmp_path, lambda m: bad(m, {1, 2, 4, 5, 6}, "loss"))
    assert len(Log(tmp_path / "log.jsonl").read()) == 7


def test_bad_steps_at_the_very_start_can_be_saved_and_resumed(tmp_path: Path) -> None:
    settings = replace(SETTINGS, save_every_steps=1)
    with pytest.raises(DataError):
        run(tmp_path, lambda m: bad(m, {0, 1, 2}, "loss"), settings)
    run(tmp_path, settings=settings)


def test_other_parameters_than_the_checkpoint_holds_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(DataError, match="other parameters"):
        train({"v": nn.Parameter(torch.ones(1))}, Model().loss, SETTINGS, tmp_path / "checkpoints", Log(tmp_path / "log.jsonl"))


def test_micro_batches_are_averaged(tmp_path: Path) -> None:
    def joined(model: Model) -> Loss:
        def loss(s: int, m: int) -> tuple[Tensor, dict[str, float]]:
            (a, x), (b, y) = model.loss(s, 0), model.loss(s, 1)
            return (a + b) / 2, {"x": (x["x"] + y["x"]) / 2}

        return loss

    two, _ = run(tmp_path / "two")
    one, _ = run(tmp_path / "one", joined, replace(SETTINGS, micro_batches=1))
    torch.testing.assert_close(two.parameters["w"], one.parameters["w"])


def test_training_lowers_the_loss_and_the_log_says_so(tmp_path: Path) -> None:
    run(tmp_path, settings=LoopSettings(60, learning_rate=0.1))
    lines = Log(tmp_path / "log.jsonl").read()
    assert [line["step"] for line in lines] == list(range(60))
    assert lines[-1]["loss"] < 0.1 * lines[0]["loss"] and {"x", "grad_norm", "learning_rate"} <= lines[0].keys()


def test_the_rate_rises_linearly_and_falls_by_a_half_cosine() -> None:
    settings = LoopSettings(100, learning_rate=1.0, warmup_steps=10, cosine=True)
    assert [LoopSettings(100, learning_rate=1.0, warmup_steps=10).rate(s) for s in (0, 4, 9, 50, 99)] == [0.1, 0.5, 1, 1, 1]
    assert settings.rate(50) == pytest.approx(0.5) and settings.rate(100) == pytest.approx(0)
    after = [settings.rate(s) for s in range(9, 101)]
    assert after == sorted(after, reverse=True)
