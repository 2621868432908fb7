"""Clips are drawn once; what a kill left whole is kept, and the rest comes out the same."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from magicid.core.errors import NotFinite, ResourceError
from magicid.core.records import Video
from magicid.core.run import Run
from magicid.core.run_dir import Journal
from magicid.core.seeds import item_seed
from magicid.training import clips
from magicid.training.clips import Wanted, make_clips
from tests.doubles import fake_run

WANTED = [Wanted(f"base-{i}", "base", f"prompt {i}", item_seed(0, i), None, 0.0) for i in range(5)]


def make(run: Run, batch: int = 2) -> list[Video]:
    return make_clips(run, "sample", WANTED, steps=2, batch=batch)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return fake_run(tmp_path / "run", tmp_path)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The seeds of each batch that is sampled."""
    seeds: list[list[int]] = []
    original = clips.sample

    def counted(*arguments: object, **named: object) -> torch.Tensor:
        seeds.append(list(arguments[3]))  # type: ignore[call-overload]
        return original(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(clips, "sample", counted)
    return seeds


def test_records_come_in_the_order_asked_with_their_files_in_place(run: Run) -> None:
    videos = make(run)
    assert [v.id for v in videos] == [w.id for w in WANTED]
    for video in videos:
        assert run.file(video.file).stat().st_size > 0
        assert load_file(run.file(video.latents))["latents"].shape == (3, 5, 4, 4)


def test_what_is_whole_is_not_drawn_again(run: Run, drawn: list[list[int]]) -> None:
    first = make(run)
    drawn.clear()
    assert make(run) == first and not drawn


@pytest.mark.parametrize("harm", ["latents", "film"])
def test_a_clip_that_is_not_whole_is_drawn_again_in_the_same_company(run: Run, drawn: list[list[int]], harm: str) -> None:
    first = make(run)
    drawn.clear()
    if harm == "latents":
        run.file(first[3].latents).write_bytes(b"torn")
    else:
        run.file(first[3].file).unlink()
    assert make(run) == first
    assert drawn == [[WANTED[2].seed, WANTED[3].seed]]


@pytest.mark.parametrize("calls", range(1, 6))
def test_a_kill_costs_the_batches_at_work_and_changes_no_clip(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: list[list[int]], calls: int
) -> None:
    whole = make(fake_run(tmp_path / "whole", tmp_path))
    original, count = clips._keep, [0]

    def dies(*arguments: object) -> Video:
        count[0] += 1
        if count[0] >= calls:
            raise RuntimeError("killed")
        return original(*arguments)  # type: ignore[arg-type]

    journal = run.dir.root / "sample" / "journal.jsonl"
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(clips, "_keep", dies)
        make(run)
    kept = len(journal.read_text().splitlines()) if journal.exists() else 0
    drawn.clear()
    assert make(run) == whole
    batches = [[clip.seed for clip in WANTED[i : i + 2]] for i in range(kept // 2 * 2, len(WANTED), 2)]
    assert kept == calls - 1 and sorted(drawn) == sorted(batches)
    assert len(journal.read_text().splitlines()) == len(WANTED)


def test_what_lanes_enter_at_once_is_all_there(run: Run) -> None:
    journal, video = Journal(run.dir, "sample"), Video("", "base", "prompt", 0, 1.0, "a.mp4", "a.safetensors", "00")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: journal.add(replace(video, id=str(i)), str(i)), range(400)))
    again = Journal(run.dir, "sample")
    assert all(again.get(Video, str(i)) == replace(video, id=str(i)) for i in range(400))


def test_a_line_for_which_there_is_no_room_leaves_the_journal_whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, video = Journal(run.dir, "sample"), Video("0", "base", "prompt", 0, 1.0, "a.mp4", "a.safetensors", "00")

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(ResourceError, match=r"journal\.jsonl: the disk is full"):
        patch.setattr(os, "fsync", full)
        journal.add(video, "0")
    journal.add(replace(video, id="1"), "1")
    again = Journal(run.dir, "sample")
    assert again.get(Video, "0") is None and again.get(Video, "1") == replace(video, id="1")


@pytest.mark.parametrize("threads", [1, 3])
def test_clips_do_not_depend_on_how_many_are_drawn_side_by_side(run: Run, tmp_path: Path, threads: int) -> None:
    whole, before = make(fake_run(tmp_path / "whole", tmp_path)), torch.get_num_threads()
    torch.set_num_threads(threads)
    assert make(run) == whole
    torch.set_num_threads(before)


def test_latents_that_are_not_finite_are_not_kept(run: Run) -> None:
    run.family.transformer.to_q.weight.data.fill_(torch.nan)  # type: ignore[union-attr]
    with pytest.raises(NotFinite, match="base-0: the sampled latents are not finite; lower"):
        make(run)
    assert not list((run.dir.root / "sample").glob("*.mp4"))
