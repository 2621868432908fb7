"""Identity along the clip and motion along the training: curves of every method, at the places that they are said to be at."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magicid.comparison.controls import renders
from magicid.comparison.people import common_of, person_run
from magicid.core.errors import DataError, UsageError
from magicid.core.records import Adapter, Video
from magicid.core.run_dir import Journal
from magicid.experiments.identity_over_frames import METHODS, SHOWN, IdentityOverFrames, along
from magicid.experiments.motion_over_steps import MotionOverSteps
from magicid.media.photo import read_photo
from tests.comparison.test_people import QUIET

LEARNT, LONGER = 5, 9


@pytest.fixture(scope="module")
def frames(world: None, work: Path) -> dict[str, Any]:
    asked = IdentityOverFrames(people=2, prompts=1, seeds=1, work=work, frames=LONGER, figure=work / "frames.png")
    found: dict[str, Any] = asked.run(quiet=True)
    return found


@pytest.fixture(scope="module")
def steps(world: None, work: Path) -> dict[str, Any]:
    asked = MotionOverSteps(people=2, prompts=1, seeds=1, work=work, figure=work / "steps.png")
    found: dict[str, Any] = asked.run(quiet=True)
    return found


def test_a_falling_curve_falls_by_its_thirds_and_slopes_by_its_frames() -> None:
    said = along([0.9 - 0.1 * t for t in range(9)])
    assert (
        said["slope"] == pytest.approx(-0.1) and said["thirds_fall"] == pytest.approx(0.6) and said["mean"] == pytest.approx(0.5)
    )
    assert (said["first_third"], said["last_third"]) == pytest.approx((0.8, 0.2)) and said["seen"] == 1
    flat = along([0.4] * 33)
    assert (flat["slope"], flat["thirds_fall"]) == pytest.approx((0, 0), abs=1e-9)


def test_frames_without_the_person_count_for_the_coverage_alone() -> None:
    gaps = along([0.9, math.nan, 0.7, math.nan, 0.5, math.nan])
    assert gaps["slope"] == pytest.approx(-0.1) and gaps["thirds_fall"] == pytest.approx(0.4) and gaps["seen"] == 0.5
    left = along([0.9, 0.8, math.nan, math.nan, math.nan, math.nan])
    assert left["slope"] == pytest.approx(-0.1) and math.isnan(left["thirds_fall"])
    nobody = along([math.nan] * 6)
    assert nobody["seen"] == 0 and all(math.isnan(nobody[name]) for name in SHOWN if name != "seen")


def test_every_method_has_a_curve_as_long_as_its_clips_at_both_lengths(frames: dict[str, Any], work: Path) -> None:
    assert [one["frames"] for one in frames["lengths"]] == [LEARNT, LONGER]
    for one in frames["lengths"]:
        assert [row["method"] for row in one["rows"]] == list(METHODS)
        for row in one["rows"]:
            assert len(row["curve"]) == one["frames"] and set(row["intervals"]) == set(SHOWN)
            values = [value for value, _, _ in row["curve"]]
            assert row["mean"] == pytest.approx(np.mean(values), abs=1e-6) and row["seen"] == 1
            assert bool(row["magicid_minus"]) == (row["method"] != "magicid")
        rows = {row["method"]: row for row in one["rows"]}
        assert rows["ceiling"]["magicid_minus"]["thirds_fall"][0] == pytest.approx(
            rows["magicid"]["thirds_fall"] - rows["ceiling"]["thirds_fall"]
        )
    assert read_photo(work / "frames.png").shape[1] > 1200
    json.dumps(frames, allow_nan=False)


def test_longer_clips_are_drawn_anew_from_the_same_adapters_and_seeds(frames: dict[str, Any], work: Path) -> None:
    asked = IdentityOverFrames(people=2, prompts=1, seeds=1, work=work)
    with person_run(common_of(work, 9, 0), asked.pipeline(), work / "quick-1x1-0" / "person-9", QUIET) as run:
        base = next(video for video in run.dir.read("generate", Video) if video.origin == "base")
        place = base.id.removeprefix("base-")
        made = {path.name for path in (run.dir.root / "comparison").glob(f"{place}-*-{LONGER}f-*.safetensors")}
        assert len(made) == 3  # finetuned, dreambooth_lora, magicid
        ours = run.dir.read("optimize", Adapter)[0].sha256[:8]
        clip = Journal(run.dir, "comparison").get(Video, next(Path(name).stem for name in made if ours in name))
        assert clip is not None and (clip.seed, clip.prompt) == (base.seed, base.prompt)
        shown = next(renders(run, "ceiling", 9, LONGER))
        assert len(shown.frames()) == LONGER and shown.key != next(renders(run, "ceiling", 9)).key


def test_a_length_that_cannot_be_is_refused_at_once(world: None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="frames 5: must be more than the 5 that are learnt"):
        IdentityOverFrames(frames=5, work=tmp_path / "work").run(quiet=True)
    with pytest.raises(DataError, match="8"):
        IdentityOverFrames(frames=8, work=tmp_path / "work").run(quiet=True)
    assert not list((tmp_path / "work").rglob("finetune"))


def test_both_ways_begin_with_stage_one_and_come_to_the_same_number_of_steps(steps: dict[str, Any], work: Path) -> None:
    ways = {name: {point["step"]: point["method"] for point in way} for name, way in steps["ways"].items()}
    begun = {0: "base", 1: "snapshot_1", 2: "snapshot_2", 3: "snapshot_3", 4: "snapshot_4", 5: "finetuned"}
    assert ways["dreambooth_lora"] == begun | {6: "dreambooth_lora_6", 8: "dreambooth_lora_8", 10: "dreambooth_lora"}
    assert ways["magicid"] == {5: "finetuned", 6: "distilled_1", 7: "start", 8: "magicid_1", 9: "magicid_2", 10: "magicid"}
    rows = {row["method"]: row for row in steps["rows"]}
    assert set(rows) == {*ways["dreambooth_lora"].values(), *ways["magicid"].values(), "ceiling"}
    for name in ("dreambooth_lora", "magicid"):
        moved = rows[name]["motion"] - rows["finetuned"]["motion"]
        assert steps["since_stage_one"][name]["motion"][0] == pytest.approx(moved, abs=1e-6)
    assert read_photo(work / "steps.png").shape[1] > 1200
    json.dumps(steps, allow_nan=False)


def test_snapshots_are_not_all_alike(steps: dict[str, Any]) -> None:
    rows = {row["method"]: row for row in steps["rows"]}
    assert len({rows[name]["face"] for name in ("base", "snapshot_2", "finetuned", "dreambooth_lora", "magicid")}) == 5


def test_nothing_is_done_twice_and_tables_are_printed(
    frames: dict[str, Any], steps: dict[str, Any], work: Path, unchanged: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    few = {"people": 2, "prompts": 1, "seeds": 1, "work": work}
    again: list[dict[str, Any]] = []
    unchanged(work, lambda: again.append(replace(IdentityOverFrames(frames=LONGER), **few).run()))
    unchanged(work, lambda: again.append(replace(MotionOverSteps(), **few).run()))
    assert again == [frames, steps]
    said = capsys.readouterr().out
    assert "\n| MagicID minus | mean | thirds_fall | slope |" in said and f"| {LONGER} frames |" in said
    assert "\n| magicid | 8 |" in said and "\n| the end minus stage one |" in said
