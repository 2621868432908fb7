"""The doctor's predictions are near what is measured, and what does not fit is refused with what would."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from magicid import doctor, forecast, machine
from magicid.cli import main
from magicid.core.errors import DataError, ResourceError, UsageError
from magicid.core.run import Common
from magicid.forecast import Forecast, Machine, changed, refuse_too_large
from magicid.media.photo import write_png
from magicid.pipeline import PRESETS
from magicid.training.checkpoint import KEPT
from tests.doubles import RED, picture
from tests.families.tiny import tiny_family

LARGE = Machine("a card", "cuda", 2**40, 1e12)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_family("wan", folder)
    return folder


@pytest.fixture(scope="module")
def whole(tiny: Path) -> Forecast:
    return Forecast(tiny, Common(Path(), str(tiny), "wan"), PRESETS["quick"], LARGE)


def test_the_prediction_for_the_embedded_model_is_within_a_fifth_of_the_measured_peak() -> None:
    words = [sys.executable, "-m", "magicid", "doctor", "--json", "--finetune.batch", "2", "--optimize.batch", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    for stage in ("finetune", "optimize"):
        assert found["steps"][stage]["peak"] == pytest.approx(found["stages"][stage]["memory"], rel=0.2), stage
        assert found["stages"][stage]["hours"] > 0
    assert "free memory" in done.stderr and "driver" in done.stderr and "embedded models" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is that of the whole process")
def test_each_step_has_a_peak_of_its_own(whole: Forecast, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(family: object, size: object) -> float:
        return float(torch.ones(2**26).sum())  # 256 MiB

    monkeypatch.setattr(doctor.trial, "finetune_step", hungry)
    monkeypatch.setattr(doctor.trial, "pair_step", lambda family, size: 1.0)
    here = replace(whole, machine=replace(LARGE, type="cpu"), _made={}, _seen={})
    steps = doctor.real_steps(here)
    assert steps["finetune"]["peak"] - steps["optimize"]["peak"] > 2**27


def test_what_does_not_fit_is_refused_with_settings_that_do(whole: Forecast) -> None:
    rows = whole.rows()
    refuse_too_large(whole, rows)
    ours = max(row.memory for row in rows)
    less = max(row.memory for row in changed(whole, forecast.LESS[0]).rows())
    assert less < ours
    card = replace(LARGE, memory=(less + ours) // 2)
    with pytest.raises(
        ResourceError, match=r"needs about .* GiB, a card has .*; a run fits with: --finetune\.batch 1 --distill\.batch 1"
    ):
        refuse_too_large(replace(whole, machine=card), rows)


def test_no_size_is_proposed_that_the_base_does_not_make(whole: Forecast, monkeypatch: pytest.MonkeyPatch) -> None:
    family = whole.rehearsal.family
    made = type(family).latents_shape

    def latents_shape(frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        if frames != family.geometry.frames:
            raise DataError(f"{frames}x{height}x{width}: frames must be {family.geometry.frames}.")
        return made(family, frames, height, width)

    whole.rows()  # stage one's single frames are asked for, and known, while the base still makes them
    monkeypatch.setattr(family, "latents_shape", latents_shape)
    card = replace(whole, machine=replace(LARGE, memory=1000))
    with pytest.raises(ResourceError, match=r"no smaller setting fits"):
        refuse_too_large(card, card.rows())


def test_the_clips_of_strangers_are_counted(whole: Forecast) -> None:
    with_them, without = ({r.stage: r for r in changed(whole, {"generate.strangers": n}).rows()}["generate"] for n in (2, 0))
    ours = whole.stages
    clips = ours.prompts.evaluation * ours.generate.seeds * 3
    more = 1 + 2 * ours.generate.seeds * 2 / clips
    assert with_them.flops / without.flops == pytest.approx(more) and with_them.disk / without.disk == pytest.approx(more)


def test_the_clips_of_rounds_and_of_validation_are_counted_and_a_step_stays_a_step(whole: Forecast) -> None:
    plain, more = whole, changed(whole, {"optimize.rounds": 3, "optimize.round_clips": 2, "optimize.validate": 4})
    before, after = ({row.stage: row for row in one.rows()} for one in (plain, more))
    prompts, drawn = whole.stages.prompts.repository, whole.stages.sample
    clips = prompts * (drawn.finetuned_per_prompt + drawn.base_per_prompt)
    share = (2 * 2 * prompts + 4 * 6) / clips  # of stage one and five snapshots
    for number in ("flops", "disk"):
        found = getattr(after["optimize"], number) - getattr(before["optimize"], number)
        assert found == pytest.approx(share * getattr(before["sample"], number))
    assert after["optimize"].memory >= before["optimize"].memory
    assert more.step("optimize") == plain.step("optimize") == before["optimize"].flops / whole.stages.optimize.steps


def test_a_single_frame_costs_stage_one_less_and_no_other_stage(whole: Forecast) -> None:
    before, after = ({row.stage: row for row in one.rows()} for one in (changed(whole, {"finetune.single_frame": False}), whole))
    assert after["finetune"].flops < before["finetune"].flops / 2 and after["finetune"].memory < before["finetune"].memory
    assert all(after[name] == before[name] for name in before if name != "finetune")


def test_distillation_draws_each_clip_twice_the_second_time_in_two_passes(whole: Forecast) -> None:
    one, two, none = (changed(whole, {"distill.per_prompt": n, "distill.steps": s}) for n, s in ((1, 60), (2, 60), (1, 0)))
    first, second = ({row.stage: row for row in each.rows()}["distill"] for each in (one, two))
    drawn, ours = {row.stage: row for row in whole.rows()}["sample"], whole.stages
    assert ours.distill.sample_steps == ours.sample.steps
    once = drawn.flops / (ours.sample.finetuned_per_prompt + ours.sample.base_per_prompt)
    assert 2 * once < second.flops - first.flops < 3 * once  # decoded twice, predicted three times
    assert first.flops > second.flops - first.flops and "distill" not in {row.stage for row in none.rows()}


def test_a_running_average_is_one_more_copy_of_the_adapter_in_memory_and_in_each_checkpoint(whole: Forecast) -> None:
    adapter = 4 * whole.adapter
    for stage, change, nothing, copies in (
        ("distill", {"distill.average_decay": 0.9}, {"distill.average_decay": 0.0}, 1),
        ("optimize", {"optimize.reference": "ema"}, {"optimize.reference": "start"}, 0),  # the reference itself
    ):
        least = {"distill.sample_batch": 1, "distill.batch": 8}  # training takes more memory than drawing
        after, before = ({row.stage: row for row in changed(whole, least | ask).rows()}[stage] for ask in (change, nothing))
        assert after.disk - before.disk == (KEPT + 1) * adapter > 0
        assert after.memory - before.memory == copies * adapter


def test_a_card_too_small_for_anything_is_refused_without_advice(whole: Forecast) -> None:
    card = replace(whole, machine=replace(LARGE, memory=1000))
    with pytest.raises(ResourceError, match=r"no smaller setting fits\. Use a larger device, or a smaller base\.$"):
        refuse_too_large(card, card.rows())


def test_smaller_settings_need_less(whole: Forecast) -> None:
    def peak(**change: str | int) -> int:
        names = {name.replace("__", "."): value for name, value in change.items()}
        return max(row.memory for row in changed(whole, names).rows())

    assert peak(frames=9) > peak()
    assert (
        peak(finetune__batch=1, distill__batch=1, distill__sample_batch=1, optimize__chunk=1, sample__batch=1, generate__batch=1)
        < peak()
    )
    assert peak(offload="model") < peak()


def test_the_evaluations_clips_may_have_another_size(whole: Forecast) -> None:
    larger = changed(whole, {"generate.frames": 9})
    before, after = ({row.stage: row for row in one.rows()} for one in (whole, larger))
    assert after["generate"].memory > before["generate"].memory and after["generate"].disk > before["generate"].disk
    assert after["sample"] == before["sample"]


def test_configurations_alone_will_do_and_photos_are_counted(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(tiny, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    write_png(tmp_path / "photos" / "a.png", picture((60, 30, RED)))
    (tmp_path / "photos" / "b.png").write_text("no picture")
    assert main(["doctor", "--model", str(bare), "--photos", str(tmp_path / "photos")]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 can be read" in said and "No step was run, since there are no weights in" in said


def test_a_size_or_a_gpu_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--size", "480"]) == 2
    assert "size '480': must be HEIGHTxWIDTH in pixels; set --size 480x832." in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"^gpu 'voodoo' is unknown; choose one of: h200"):
        machine.known("voodoo")
    assert machine.known("h100").memory < 80e9


def test_the_rate_of_matrix_products_is_measured() -> None:
    assert machine.matrix_rate(torch.device("cpu")) > 1e8 and machine.free_memory() > 2**20
