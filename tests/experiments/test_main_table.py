"""The main table, whole and small: every row is there, nothing is done twice, everyone is asked the same."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from magicid.avatar.identity import Identity
from magicid.avatar.prompts import parse
from magicid.avatar.renderer import render_clip
from magicid.cli import main
from magicid.comparison import clips, controls
from magicid.comparison.clips import Method, drawn, generated, places
from magicid.comparison.figures import FIGURES
from magicid.comparison.markdown import COLUMNS
from magicid.comparison.people import common_of, person_run
from magicid.comparison.study import steps_before
from magicid.core.errors import UsageError
from magicid.core.records import Adapter
from magicid.core.run import Run
from magicid.experiments.main_table import NOT_YET, MainTable, front_methods, paper_recipe
from magicid.media.photo import read_photo
from magicid.media.video import to_frames, to_tensor
from magicid.pipeline import PRESETS
from tests.comparison.test_people import QUIET

ROWS = ["base", "static", "impostor", "finetuned", "start", "dreambooth_lora", "dreambooth_lora_early", "magic_me", "winners_sft",
        "magicid_paper", "magicid", "ceiling"]  # fmt: skip
ASKED = MainTable(people=2, prompts=1, seeds=1)


@pytest.fixture(scope="module")
def result(world: None, work: Path) -> dict[str, Any]:
    found: dict[str, Any] = replace(ASKED, work=work, figure=work / "front.png").run(quiet=True)
    return found


@pytest.fixture
def run(result: dict[str, Any], work: Path) -> Iterator[Run]:
    """The first person's run, finished."""
    pipeline = replace(ASKED, work=work).pipeline()
    with person_run(common_of(work, 9, 0), pipeline, work / "quick-1x1-0" / "person-9", QUIET) as opened:
        yield opened


def test_every_row_has_every_figure_and_its_interval(result: dict[str, Any], work: Path) -> None:
    assert [row["method"] for row in result["rows"]] == ROWS and result["not_yet"] == list(NOT_YET)
    for row in result["rows"]:
        assert set(COLUMNS) <= set(row) and set(row["intervals"]) == set(COLUMNS), row["method"]
        assert row["measured"].keys() == set(FIGURES) and all(0 <= count <= 2 for count in row["measured"].values())
        alone = [one["prompt"] for one in row["by_person"].values()]
        assert list(row["by_person"]) == [9, 7] and row["prompt"] == pytest.approx(sum(alone) / 2)
    trained = [row["method"] for row in result["rows"] if row["seconds"] > 0]
    assert trained == [name for name in ROWS if name not in ("base", "static", "impostor", "ceiling")]
    assert {row["method"] for row in result["rows"] if row["beyond_front"] is None} == {
        "base", "finetuned", "dreambooth_lora", "dreambooth_lora_early"
    }  # fmt: skip
    assert (work / "front.png").stat().st_size > 0
    json.dumps(result, allow_nan=False)


def test_the_same_command_does_nothing_twice_and_prints_one_object(
    result: dict[str, Any], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [path for path in work.rglob("*") if path.is_file() and path.name not in (".lock", "front.png")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    words = ["experiment", "main_table", "--people", "2", "--prompts", "1", "--seeds", "1", "--work", str(work), "--json"]
    assert main(words) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last) == json.loads(json.dumps(result))
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert not {path for path in work.rglob("*") if path.is_file()} - {*kept, work / "front.png"} - set(work.rglob(".lock"))


def test_without_json_it_prints_the_table(result: dict[str, Any], work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(ASKED, work=work).run()
    said = capsys.readouterr().out
    assert all(f"\n| {name} |" in said for name in (*ROWS, *NOT_YET)) and "not yet" in said


def test_the_controls_are_what_they_are_called(run: Run) -> None:
    shown = {clip.method: clip for clip in controls.controls(run, 9, 7) if clip.place == next(iter(places(run)))}
    still, stranger, person, real = (shown[name].frames() for name in ("static", "impostor", "ceiling", "real"))
    photo = read_photo(run.file(run.photos()[0].image))
    held = to_tensor(np.repeat(photo[None], len(still), 0)[None])
    assert (abs(still.astype(int) - to_frames(run.family.decode(run.family.encode(held)))[0]) <= 1).all()
    assert stranger.shape == person.shape == real.shape and (stranger != person).any() and (real != person).any()
    asked, size = places(run)[shown["ceiling"].place], run.family.geometry
    for number, frames in ((9, person), (7, stranger)):  # of that person, and none else
        real = render_clip(Identity.random(number), parse(asked.prompt), asked.seed % 2**31, size.frames, size.height, size.fps)
        assert (to_frames(run.family.decode(run.family.encode(to_tensor(real.frames[None]))))[0] == frames).all()


def test_every_method_gets_the_prompts_and_seeds_of_the_base_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[tuple[str, int]]] = []
    original = clips.make_clips

    def noted(run: Run, stage: str, wanted: list[Any], *how: Any) -> list[Any]:
        asked.append([(clip.prompt, clip.seed) for clip in wanted])
        return original(run, stage, wanted, *how)

    monkeypatch.setattr(clips, "make_clips", noted)
    base = [(video.prompt, video.seed) for video in places(run).values()]
    front = front_methods(run, run.dir.read("dreambooth_lora", Adapter)[0])
    weaker = ("0_2", "0_4", "0_6", "0_8")
    assert [method.name for method in front][:8] == [f"{name}_{s}" for name in ("strength", "longer_strength") for s in weaker]
    assert front[0].adapter != front[4].adapter and all(method.name.startswith("snapshot_") for method in front[8:])
    shown = drawn(run, front[0])
    assert asked == [base] and [clip.prompt for clip in shown] == [prompt for prompt, _ in base]
    magic_me = Method("magic_me", run, run.dir.read("magic_me", Adapter)[0], words=True)
    shown = drawn(run, magic_me)
    assert all("<new4> person" in prompt and "sks" not in prompt.lower() for prompt, _ in asked[1])
    assert [seed for _, seed in asked[1]] == [seed for _, seed in base] and all("sks" in c.prompt.lower() for c in shown)


def test_methods_with_one_adapter_share_their_clips_and_each_strength_has_its_own(run: Run) -> None:
    stage_one = run.dir.read("finetune", Adapter)[0]
    keys = [
        [clip.key for clip in drawn(run, Method(name, run, stage_one, strength))]
        for name, strength in (("one", 0.2), ("two", 0.2), ("three", 0.4))
    ]
    assert keys[0] == keys[1] and not set(keys[0]) & set(keys[2])
    assert not set(keys[0]) & {clip.key for clip in generated(run, {"finetuned": "finetuned"})}


def test_the_papers_recipe_has_the_same_counts_and_none_of_ours() -> None:
    ours = PRESETS["quick"]
    paper = paper_recipe(ours)
    assert (paper.sample.strengths, paper.pair.rule, paper.optimize.beta) == ((1.0,), "paper", 500.0)
    assert paper.optimize.winner_guard == 0 and paper.optimize.loss == "sigmoid"
    assert paper.distill.steps == 0 < ours.distill.steps
    assert steps_before(paper) + paper.optimize.steps == steps_before(ours) + ours.optimize.steps
    assert (paper.prepare, paper.finetune, paper.prompts, paper.generate) == (
        ours.prepare, ours.finetune, ours.prompts, ours.generate
    )  # fmt: skip


def test_nobody_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 people, 10 prompts, 2 seeds: at least 1 of each is needed"):
        MainTable(people=0, work=tmp_path).run(quiet=True)
