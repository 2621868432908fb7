"""What `magicid runs` and `magicid resume` say and do."""

from dataclasses import replace

import pytest

from magicid import runs
from magicid.pipeline import stored
from tests.faults.attempts import attempt, contents
from tests.faults.conftest import Bench


def test_runs_says_where_each_run_stands_and_resume_goes_on(begun: Bench, whole: Bench) -> None:
    listed = ["runs", str(begun.folder)]
    assert begun.attempt(MAGICID_FAULT="optimize:4:step:kill")[0] == -9
    assert attempt(listed, begun.folder / "runs.txt") == (0, "run  7 of 10 stages  stopped in optimize after step 4\n")
    code, said = attempt(["resume", str(begun.run)], begun.folder / "said.txt")
    assert code == 0 and begun.contents() == whole.contents(), said
    assert attempt(listed, begun.folder / "runs.txt") == (0, "run  10 of 10 stages  finished\n")


def test_runs_says_who_is_at_work(begun: Bench) -> None:
    tried, log = begun.start(MAGICID_FAULT="optimize:3.0:micro:hang"), begun.run / "optimize" / "log.jsonl"
    while not log.exists() or log.read_text().count("\n") < 3:
        assert tried.process.is_alive(), tried.said
    code, said = attempt(["runs", str(begun.folder)], begun.folder / "runs.txt")
    tried.process.kill()
    assert code == 0 and f"at work: process {tried.process.pid} on " in said


def test_a_fork_with_nothing_changed_is_the_same_run(whole: Bench, bench: Bench) -> None:
    code, said = attempt(["fork", str(whole.run), "--out", str(bench.run)], bench.folder / "said.txt")
    assert code == 0 and bench.contents() == whole.contents(), said


@pytest.mark.parametrize("name", ["fork", "\N{CYRILLIC SMALL LETTER ZHE}" * 127])
def test_a_fork_that_is_killed_or_finds_the_disk_full_goes_on(whole: Bench, bench: Bench, name: str) -> None:
    out, said_in = bench.folder / name, bench.folder / "said.txt"
    words = ["fork", str(whole.run), "--out", str(out)]
    assert attempt(words, said_in, MAGICID_FAULT="*:finetune/manifest.jsonl:copy:kill")[0] == -9  # the log stands, it not yet
    code, said = attempt(words, said_in, MAGICID_FAULT="*:finetuned-001-0.mp4:written:enospc")
    assert code == 4 and "the disk is full" in said
    assert attempt(words, said_in, MAGICID_FAULT="*:adapter.safetensors:copy:kill")[0] == -9  # the last file
    code, said = attempt(words, said_in, MAGICID_FAULT="*:*:item:kill")  # nothing is done anew
    assert code == 0 and contents(out) == whole.contents(), said


def test_a_fork_asks_for_room_for_what_it_lacks_and_knows_its_source_from_its_outcome(
    whole: Bench, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(runs, "require_room", lambda folder, needed, what: asked.append(needed))
    other = stored(whole.run)[1]
    other = replace(other, evaluate=replace(other.evaluate, most_leakage=0.9))
    for _ in range(2):
        assert runs.fork(whole.run, bench.run, other) == "evaluate"
    assert asked[0] > 0 == asked[1]
    (bench.run / "evaluate").mkdir()  # its last stage has begun
    code, said = attempt(["fork", "--out", str(bench.run), str(whole.run)], bench.folder / "said.txt")
    assert code == 2 and "was made with other settings (evaluate.most_leakage" in said


def test_an_unknown_folder_and_a_fork_that_is_there_are_refused(whole: Bench, bench: Bench) -> None:
    code, said = attempt(["runs", str(bench.folder / "nowhere")], bench.folder / "said.txt")
    assert code == 2 and "no such folder; runs are folders in one" in said
    code, said = attempt(["fork", str(whole.run), "--out", str(whole.run)], bench.folder / "said.txt")
    assert code == 2 and "a fork is a run of its own" in said
