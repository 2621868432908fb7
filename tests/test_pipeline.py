"""The whole path, from photos to report, on a small random Wan model and judges that need no weights."""

import json
import shutil
import weakref
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from rich.console import Console

from magicid import pipeline
from magicid.core import records, tables
from magicid.core.errors import DataError, UsageError
from magicid.core.records import LABELS, STRANGERS, Adapter, Metric, Video
from magicid.core.run import Common, Run
from magicid.core.run_dir import RunDir
from magicid.export import lora_file
from magicid.media.photo import write_png
from magicid.media.video import read_video
from magicid.metrics import leakage
from magicid.metrics.picture import EDGE, SIDE, STRIP, write_picture
from magicid.pipeline import _finish, generate_clip, print_result, run_pipeline
from magicid.stages.distill import Distill
from magicid.stages.generate import Generate
from tests.doubles import RED, fake_run, picture
from tests.small_run import QUIET, SMALL

pytestmark = pytest.mark.usefixtures("judges")


def test_every_stage_leaves_a_manifest_and_the_run_its_adapter(finished: Path) -> None:
    assert all((finished / stage / "manifest.jsonl").exists() for stage in tables.STAGES)
    assert (finished / "adapter.safetensors").stat().st_size > 0


def test_every_evaluated_clip_has_its_figures(finished: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    found = json.loads((finished / "evaluate" / "values.json").read_text(), parse_constant=refuse)
    folder = RunDir(finished)
    shown = {video.id for video in folder.read("generate", Video) if video.origin not in STRANGERS.values()}
    means = {metric.method: metric.value for metric in folder.read("evaluate", Metric) if metric.name == "consistency"}
    folder.close()
    assert found.keys() == shown
    of_base = [one["consistency"] for name, one in found.items() if name.startswith("base-")]
    assert np.mean(of_base) == pytest.approx(means["base"])


def test_running_again_finds_nothing_left_to_do(common: Common, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and path.name != ".lock"}
    run_pipeline(common, SMALL, finished, Console()).close()
    assert "nothing left to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_judges_models_are_let_go_after_a_stage(tmp_path: Path) -> None:
    run, seen = fake_run(tmp_path / "run", tmp_path), []

    class Looks:
        def run(self, run: Run) -> list[records.Prompt]:
            seen.append(weakref.ref(run.judges.text_reward))
            return []

    _finish(run, "prompts", Looks())
    assert seen[0]() is None
    run.dir.close()


def test_the_size_of_the_evaluations_clips_does_not_change_how_the_others_are_made(
    common: Common, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiled: list[bool] = []
    monkeypatch.setattr(pipeline, "_finish", lambda run, name, part: tiled.append(run.family.pipeline.vae.use_tiling))
    large = replace(SMALL, generate=replace(SMALL.generate, height=720, width=1280))
    run_pipeline(common, large, tmp_path / "run", QUIET).close()
    assert len(tiled) == len(tables.STAGES) and not any(tiled)


def test_other_settings_are_refused_with_the_difference(common: Common, finished: Path) -> None:
    with pytest.raises(UsageError, match=r"optimize\.beta: 500.0 there, 7.0 asked"):
        run_pipeline(common, replace(SMALL, optimize=replace(SMALL.optimize, beta=7.0)), finished, QUIET)


def test_other_photos_are_refused_and_named(common: Common, finished: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "run"
    shutil.copytree(common.photos, photos)
    shutil.copytree(finished, out)
    (out / "settings.yaml").write_text((out / "settings.yaml").read_text().replace(str(common.photos), str(photos)))
    run_pipeline(replace(common, photos=photos), SMALL, out, QUIET).close()
    write_png(photos / "1.png", picture((60, 44, RED)))
    with pytest.raises(UsageError, match=r"photos: 1\.png added, gone or changed since"):
        run_pipeline(replace(common, photos=photos), SMALL, out, QUIET)
    shutil.rmtree(photos)
    run_pipeline(replace(common, photos=photos), SMALL, out, QUIET).close()


def test_a_misspelt_folder_of_photos_leaves_nothing_behind(common: Common, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run_pipeline(replace(common, photos=tmp_path / "nobody"), SMALL, tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_who_catches_the_error_of_a_run_can_run_again(common: Common, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    for _ in range(2):  # a lock that is left would be said instead
        with pytest.raises(UsageError, match="was made with other settings") as caught:
            run_pipeline(replace(common, seed=7), SMALL, out, QUIET)
    assert caught.traceback


def test_out_of_memory_on_a_gpu_names_the_next_offload_once_a_stage_is_at_its_smallest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pipeline, "memory_mb", lambda: (900.0, 1000.0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for offload, said in (("none", "--offload model"), ("model", "--offload block"), ("block", "use a smaller base")):
        run = Run(RunDir(tmp_path / offload), Common(tmp_path, offload=offload), QUIET)
        assert said in str(pipeline._smaller(run, "generate", Generate(batch=1)))
        assert "--generate.batch 5" in str(pipeline._smaller(run, "generate", Generate(batch=10)))
        said = str(pipeline._smaller(run, "distill", Distill()))
        assert "run again with --distill.recompute blocks, or delete " in said
        assert said.endswith("--distill.batch 2 --distill.sample-batch 5.")
        run.dir.close()


def test_a_folder_may_be_named_relatively_and_with_brackets(
    common: Common, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "[bold]me[/bold]"
    shutil.copytree(finished, out)
    monkeypatch.chdir(common.photos.parent)
    run_pipeline(replace(common, photos=Path("photos")), SMALL, out, Console()).close()
    assert f"{out}: nothing left to do.\n" in capsys.readouterr().out


def test_a_stage_deleted_alone_is_refused_and_with_all_later_ones_done_again(
    common: Common, finished: Path, tmp_path: Path
) -> None:
    out, later = tmp_path / "run", list(tables.STAGES)[list(tables.STAGES).index("finetune") + 1 :]
    shutil.copytree(finished, out)
    shutil.rmtree(out / "finetune")
    named = ", ".join(f"{name}/" for name in later)
    with pytest.raises(DataError, match=rf"run: prompts was made from another finetune; delete {named} and run again\.$"):
        run_pipeline(common, SMALL, out, QUIET)
    assert not (out / "finetune").exists()
    for name in later:
        shutil.rmtree(out / name)
    run_pipeline(common, SMALL, out, QUIET, until="prompts").close()
    assert (out / "finetune" / "manifest.jsonl").exists()


def test_the_picture_moves_as_the_clips_do(finished: Path, tmp_path: Path) -> None:
    folder = RunDir(finished)
    clips = [read_video(finished / video.file) for video in folder.read("generate", Video) if video.origin in LABELS]
    path = write_picture(folder, tmp_path / "result.webp", prompts=2)
    folder.close()
    with Image.open(path) as picture:
        frames = [np.asarray(frame.convert("RGB"), int) for frame in ImageSequence.Iterator(picture)]
        assert picture.info["duration"] * len(frames) == pytest.approx(1000 * len(clips[0][0]) / clips[0][1], rel=0.02)
    assert len(frames) == len(clips[0][0]) and frames[0].shape[1] == (1 + len(LABELS)) * (SIDE + EDGE) - EDGE
    top = 2 * STRIP
    still, moving = (slice(i * (SIDE + EDGE), i * (SIDE + EDGE) + SIDE) for i in (0, 1))
    first, last = (frame[top : top + SIDE] for frame in (frames[0], frames[-1]))
    assert abs(first[:, still] - last[:, still]).mean() < 1 < abs(first[:, moving] - last[:, moving]).mean()


def test_an_export_that_is_refused_leaves_no_file(
    common: Common, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(family: object, name: str, path: Path, shown: Path) -> None:
        assert path.exists() and path != shown
        raise DataError(f"{shown}: refused")

    monkeypatch.setattr(lora_file, "verify", refuses)
    folder, target = RunDir(finished), tmp_path / "adapter.safetensors"
    with pytest.raises(DataError, match=r"adapter\.safetensors: refused"):
        lora_file.export_adapter(Run(folder, common, QUIET), folder.read("optimize", Adapter)[0], target)
    assert not list(tmp_path.iterdir())
    folder.close()


@pytest.mark.parametrize("where", ["sample", "optimize"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    common: Common, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    from magicid.training import clips, preference

    module, name, calls = (clips, "_keep", 5) if where == "sample" else (preference, "measures", 2)
    original, count = getattr(module, name), [0]

    def dies(*arguments: object, **named: object) -> object:
        count[0] += 1
        if count[0] == calls:
            raise RuntimeError("killed")
        return original(*arguments, **named)

    monkeypatch.setattr(module, name, dies)
    with pytest.raises(RuntimeError, match="killed"):
        run_pipeline(common, SMALL, tmp_path, QUIET)
    folder = run_pipeline(common, SMALL, tmp_path, QUIET)
    for file in ("adapter.safetensors", "finetune/log.jsonl", "optimize/log.jsonl", "pair/manifest.jsonl"):
        assert (tmp_path / file).read_bytes() == (finished / file).read_bytes(), file
    assert [v.sha256 for v in folder.read("generate", Video)]
    assert len(folder.read("pair", records.Pair)) >= 1
    folder.close()


def test_strangers_are_drawn_before_and_after_and_stand_in_no_table(finished: Path) -> None:
    folder, console = RunDir(finished), Console(width=200, record=True, file=StringIO())
    videos, metrics = folder.read("generate", Video), folder.read("evaluate", Metric)
    drawn = [video for video in videos if video.origin in STRANGERS.values()]
    assert [video.origin for video in drawn] == ["base_stranger"] * 2 + ["magicid_stranger"] * 2 and videos[-4:] == drawn
    assert [v.seed for v in drawn[:2]] == [v.seed for v in drawn[2:]] and not any("sks" in v.prompt.lower() for v in drawn)
    assert [m.name for m in metrics if m.method == leakage.ROW] == ["identity_before", "identity_after", "leakage"]
    print_result(folder, console)
    table, _, said = console.export_text().partition("Strangers' identity to the subject: ")
    assert said and leakage.ROW not in table
    folder.close()


def test_a_kill_among_the_strangers_changes_no_byte(
    common: Common, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from magicid.training import clips

    out, original, left = tmp_path / "run", clips._keep, [8]
    shutil.copytree(finished, out)
    for stage in ("generate", "evaluate"):
        shutil.rmtree(out / stage)

    def dies(*arguments: Any) -> Video:
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("killed")
        return original(*arguments)

    monkeypatch.setattr(clips, "_keep", dies)
    with pytest.raises(RuntimeError, match="killed"):
        run_pipeline(common, SMALL, out, QUIET)
    run_pipeline(common, SMALL, out, QUIET).close()
    for stage in ("generate", "evaluate"):
        assert (out / stage / "manifest.jsonl").read_bytes() == (finished / stage / "manifest.jsonl").read_bytes()


def test_a_class_word_that_the_trigger_denies_is_refused_before_anything_is_made(common: Common, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"set --trigger 'sks woman'"):
        asked = replace(SMALL, prompts=replace(SMALL.prompts, class_word="woman"))
        run_pipeline(common, asked, tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()


def test_prompts_that_cannot_be_written_are_refused_before_any_stage(
    common: Common, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAGICID_LLM_URL", raising=False)
    asked = replace(SMALL, prompts=replace(SMALL.prompts, source="endpoint"))
    with pytest.raises(UsageError, match=r"needs MAGICID_LLM_URL"):
        run_pipeline(common, asked, tmp_path / "run", QUIET)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    run_pipeline(common, asked, tmp_path / "run", QUIET, until="prepare").close()  # which needs no prompts


def test_an_adapter_that_is_gone_and_latents_that_changed_are_named(common: Common, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "optimize" / "adapter.safetensors").unlink()
    with pytest.raises(DataError, match=r"adapter.safetensors: gone, though its manifest names it; bring it back, or delete"):
        generate_clip(tmp_path / "run", "waves", tmp_path / "new.mp4", steps=1)
    for stage in ("optimize", "generate", "evaluate"):
        shutil.rmtree(tmp_path / "run" / stage)
    for latents in (tmp_path / "run" / "sample").glob("*.safetensors"):
        latents.write_bytes(latents.read_bytes()[:-1] + b"!")
    with pytest.raises(
        DataError, match=r"sample/.*: sha256 differs from its manifest; bring it back, or delete .*sample and run"
    ):
        run_pipeline(common, SMALL, tmp_path / "run", QUIET)
