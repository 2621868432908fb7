"""The step that is taken keeps the face and moves most, on clips that no report sees."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import StringIO
from itertools import starmap
from pathlib import Path

import pytest
from rich.console import Console

from magicid.core import tables
from magicid.core.records import Adapter, Video
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.rewards import validation
from magicid.rewards.validation import Point, largest_area, most_motion
from magicid.stages.optimize import Optimize
from magicid.training.reconstruction import snapshots

STAGE = Optimize(steps=5, batch=2, learning_rate=1e-2, validate=2)
FRONT = {
    0: Point(0.5, 0.1),
    1: Point(0.48, 0.3),
    2: Point(0.46, 0.6),
    3: Point(0.4, 0.9),
    4: Point(0.6, 0.2),
    5: Point(0.46, 0.6),
}


@pytest.mark.parametrize(("share", "step"), [(0.0, 3), (0.8, 3), (0.9, 2), (0.95, 1), (1.0, 4), (1.3, 4)])
def test_of_the_steps_that_keep_the_identity_the_first_with_the_most_motion_is_taken(share: float, step: int) -> None:
    assert most_motion(FRONT, share) == step
    assert most_motion(dict(reversed(FRONT.items())), share) == step


def test_the_largest_area_is_in_no_units() -> None:
    assert largest_area(FRONT) == 3 == largest_area({step: Point(p.identity, 50 * p.motion) for step, p in FRONT.items()})


@pytest.fixture
def run(common: Common, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run with its pairs, open."""
    monkeypatch.setitem(tables.JUDGES, "centred", "tests.doubles:centred_judges")
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("optimize", "generate", "evaluate"))
    opened = Run(RunDir(tmp_path / "run"), common, Console(file=StringIO(), record=True, width=80))
    yield opened
    opened.dir.close()


@pytest.mark.parametrize("share", [0.9, 1.0])
def test_the_adapter_of_the_step_that_is_taken_stands_in_the_place_of_the_last(
    run: Run, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    points, asked = starmap(Point, [(0.5, 0.3), (0.48, 0.2), (0.46, 0.6), (0.4, 0.9), (0.3, 0.9), (0.4, 0.1)]), []

    def found(run: Run, videos: Sequence[Video]) -> Point:
        asked.append(videos)
        return next(points)

    monkeypatch.setattr(validation, "mean_rewards", found)
    adapter = replace(STAGE, least_identity=share).run(run)[0]
    best = {0.9: 2, 1.0: 0}[share]
    assert adapter.file == "optimize/adapter.safetensors"
    assert adapter.sha256 == ({0: run.dir.read("distill", Adapter)[0]} | snapshots(run, "optimize"))[best].sha256
    told = json.loads((run.dir.root / "optimize" / "validation.json").read_text())
    assert told["best"] == best and told["steps"]["2"] == {"identity": 0.46, "motion": 0.6} and len(told["steps"]) == 6
    lines = [line for line in run.console.export_text().splitlines() if "is taken" in line]
    assert len(lines) == 1 and lines[0].startswith(f"optimize: step {best} of 5 is taken, by clips of 2 prompts: identity 0.")
    texts = [prompt.text for prompt in run.prompts()][:2]
    assert all([video.prompt for video in videos] == texts for videos in asked)
    assert len({videos[0].seed for videos in asked}) == 1 and len({videos[0].sha256 for videos in asked}) == 6
    assert not {video.seed for video in run.dir.read("sample", Video)} & {video.seed for video in asked[0]}


def test_the_reports_judges_are_not_asked_and_what_was_drawn_is_not_drawn_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.judges = replace(run.judges, face_report=None, text_report=None)  # type: ignore[arg-type]
    adapter = STAGE.run(run)[0]
    clips = {path: path.stat().st_mtime_ns for path in (run.dir.root / "optimize" / "validation").iterdir()}
    told = (run.dir.root / "optimize" / "validation.json").read_bytes()
    assert len(clips) == 2 * 2 * 6
    assert STAGE.run(run) == [adapter]
    assert clips == {path: path.stat().st_mtime_ns for path in clips}
    assert (run.dir.root / "optimize" / "validation.json").read_bytes() == told


def test_without_validation_the_last_step_is_taken(run: Run) -> None:
    adapter = replace(STAGE, validate=0).run(run)[0]
    assert adapter.sha256 == snapshots(run, "optimize")[5].sha256
    assert not (run.dir.root / "optimize" / "validation.json").exists()


def test_motion_beyond_the_repositorys_cap_does_not_count(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = run.dir.read("sample", Video)[:3]
    free = validation.mean_rewards(run, videos)
    monkeypatch.setattr(validation, "motion_cap", lambda *_: free.motion / 1000)
    capped = validation.mean_rewards(run, videos)
    assert 0 < capped.motion <= free.motion / 1000 and capped.identity == free.identity
