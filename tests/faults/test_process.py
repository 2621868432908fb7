"""What the machine and other processes do to a run: full disks, no memory, hangs, signals, two at once."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from magicid.core import device
from magicid.core.errors import Interrupted, ResourceError
from magicid.core.files import append_line, publish_folder
from magicid.core.pulse import listening, waiting
from magicid.core.run import Common
from magicid.core.tables import STAGES
from magicid.core.weights import write_weights
from magicid.pipeline import Pipeline, run_pipeline
from magicid.training import checkpoint
from magicid.training.log import Log
from tests.faults.attempts import attempt
from tests.faults.conftest import Bench
from tests.faults.guards import Guard

GUARDS = {
    9: Guard("core/files.py", "if free < needed:", "if False:"),
    10: Guard("core/files.py", "error.errno in (errno.ENOSPC, errno.EDQUOT)", "False"),
    11: Guard("core/run_dir.py", 'UsageError(f"{root}: {error.strerror}', 'OSError(f"{root}: {error.strerror}'),
    23: Guard("pipeline.py", "if out_of_memory(error):", "if False:"),
    25: Guard("pipeline.py", "if said := check_device(weights):", "if said := '':"),
    26: Guard("core/pulse.py", "if time.monotonic() - _beat > seconds:", "if False:"),
    27: Guard("core/pulse.py", "    reach(point, item)\n    if asked():", "    reach(point, item)\n    if False:"),
    28: Guard("core/pulse.py", "if number == signal.SIGINT and _asked:", "if False:"),
    30: Guard("core/run_dir.py", "fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB"),
    31: Guard("core/run_dir.py", "self._lock.truncate(0)", 'self._lock.seek(0)\n        assert not self._lock.read(), "in use"'),
}


def ends_alike(bench: Bench, whole: Bench) -> None:
    code, said = bench.attempt()
    assert code == 0, said
    assert bench.contents() == whole.contents()


WRITES = dict.fromkeys(STAGES, "manifest.jsonl:written") | {
    "prepare": "photo-001.safetensors:written",
    "finetune": "optimizer.safetensors:written",
    "distill": "joined-001-0.mp4:written",
    "sample": "finetuned-001-0.mp4:written",
    "optimize": "model.safetensors:written",
    "generate": "base-003-0.safetensors:written",
}


def test_row_09_a_full_disk_in_any_stage_is_exit_code_4_and_nothing_is_lost(bench: Bench, whole: Bench) -> None:
    for stage in STAGES:
        code, said = bench.attempt(MAGICID_FAULT=f"{stage}:{WRITES[stage]}:enospc")
        assert code == 4 and "the disk is full, " in said and "run the same command again" in said, (stage, said)
    ends_alike(bench, whole)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_row_09_on_a_disk_that_is_nearly_full_the_need_is_said_before(begun: Bench, whole: Bench, disk: Path) -> None:
    small = replace(begun, folder=disk)
    begun.run.rename(begun.folder / "apart")
    subprocess.run(["cp", "-r", begun.folder / "apart", small.run], check=True)
    left = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, left.f_bavail * left.f_frsize - 40_000)))
    code, said = small.attempt()
    assert code == 4 and "optimize's checkpoints and snapshots need about " in said and " bytes, the disk has " in said
    (disk / "filler").unlink()
    ends_alike(small, whole)


def test_row_09_what_goes_on_needs_no_room_for_what_it_has_kept(begun: Bench, whole: Bench, disk: Path) -> None:
    small = replace(begun, folder=disk)
    begun.attempt(MAGICID_FAULT="optimize:5:step:kill")
    begun.run.rename(begun.folder / "apart")
    subprocess.run(["cp", "-r", begun.folder / "apart", small.run], check=True)
    needed = sum(path.stat().st_size for path in (whole.run / "optimize").rglob("*.safetensors"))
    left = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, left.f_bavail * left.f_frsize - 2 * needed)))
    code, said = small.attempt(command="optimize")
    assert code == 0, said


def test_row_09_the_file_is_named_whoever_found_the_disk_full() -> None:
    full = Path("/dev/full")
    for write in (lambda: append_line(full, "line"), lambda: Log(full).write(0, {"loss": 0.1})):
        with pytest.raises(ResourceError, match=r"^/dev/full: the disk is full, .* left; free some space"):
            write()


def test_row_09_a_folder_that_is_copied_to_a_full_disk_is_named_too(tmp_path_factory: pytest.TempPathFactory, disk: Path) -> None:
    folder = tmp_path_factory.mktemp("copied")
    (folder / "large").write_bytes(bytes(16_000_000))
    with pytest.raises(ResourceError, match=r"copy: the disk is full, .* left; free some space"):
        publish_folder(disk / "copy", lambda target: shutil.copytree(folder, target, dirs_exist_ok=True))
    assert not list(disk.iterdir())


def test_row_09_weights_on_a_full_disk_are_named_too(disk: Path) -> None:
    with pytest.raises(ResourceError, match=r"adapter\.safetensors: the disk is full, .* left; free some space"):
        write_weights(disk / "adapter.safetensors", {"w": torch.zeros(4_000_000)})
    assert not list(disk.iterdir())


def test_row_10_a_full_disk_under_the_log_stops_cleanly(begun: Bench, whole: Bench) -> None:
    code, said = begun.attempt(MAGICID_FAULT="optimize:3:log:enospc")
    assert code == 4 and "the disk is full" in said
    found = checkpoint.latest(begun.run / "optimize" / "checkpoints")
    assert found and found.step == 2
    ends_alike(begun, whole)


def test_row_11_a_folder_that_cannot_be_written_is_refused_at_once(bench: Bench, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    start = time.monotonic()
    code, said = attempt(replace(bench, folder=disk).words(), bench.folder / "said.txt")
    assert code == 2 and "Read-only file system; name a folder that can be written" in said
    assert time.monotonic() - start < 5 and "prepare" not in said


def test_row_11_a_file_in_the_way_is_refused_too(bench: Bench) -> None:
    (bench.folder / "file").write_text("")
    code, said = attempt(replace(bench, folder=bench.folder / "file").words(), bench.folder / "said.txt")
    assert code == 2 and "Not a directory; name a folder that can be written" in said


def test_row_23_out_of_memory_says_use_limit_and_a_smaller_setting(bench: Bench) -> None:
    code, said = bench.attempt(MAGICID_FAULT="sample:*:denoise:memory")
    assert code == 4 and "sample: out of memory, " in said and "--sample.batch 1" in said
    found = re.search(r"out of memory, ([\d,]+) MiB used of ([\d,]+);", said)
    assert found and 100 < int(found[1].replace(",", "")) < int(found[2].replace(",", ""))
    assert "sample.batch: 2" in (bench.run / "settings.yaml").read_text()


def test_row_25_a_machine_without_a_gpu_or_with_an_old_one_is_told_before_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.check_device(10**6) == "" and "no GPU: 26 GB of weights on the CPU take days" in device.check_device(26 * 10**9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla P100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 0))
    with pytest.raises(ResourceError, match=r"Tesla P100: compute capability 6\.0, need 7\.0 or newer; use another GPU") as error:
        device.check_device(10**6)
    assert error.value.exit_code == 4


def test_row_25_a_run_is_refused_before_its_folder_is_made(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla P100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 0))
    with pytest.raises(ResourceError, match="Tesla P100"):
        run_pipeline(Common(bench.photos, base=str(bench.base)), Pipeline(), bench.run)
    assert not bench.run.exists()


def test_row_26_a_hang_ends_with_the_stacks_and_75(bench: Bench, whole: Bench) -> None:
    code, said = bench.attempt(MAGICID_FAULT="sample:*:denoise:hang", MAGICID_WATCHDOG_SECONDS="5")
    assert code == 75 and "nothing moved for 5 s" in said and "sampling.py" in said and "Thread 0x" in said
    ends_alike(bench, whole)


POINTS = dict.fromkeys(STAGES, "*:item") | dict.fromkeys(["finetune", "distill", "optimize"], "3.0:micro")
POINTS |= dict.fromkeys(["sample", "generate"], "*:denoise")


def test_row_27_sigterm_in_each_stage_is_75_within_30_seconds(bench: Bench, whole: Bench) -> None:
    for stage in STAGES:
        start = time.monotonic()
        code, said = bench.attempt(MAGICID_FAULT=f"{stage}:{POINTS[stage]}:term")
        assert code == 75 and "run the same command again" in said, (stage, said)
        assert time.monotonic() - start < 30
    ends_alike(bench, whole)


def test_row_28_sigint_saves_and_is_130(begun: Bench, whole: Bench) -> None:
    code, said = begun.attempt(MAGICID_FAULT="optimize:3.0:micro:int")
    assert code == 130 and "stopped at step 4 of 6" in said
    ends_alike(begun, whole)


def test_row_28_a_second_sigint_ends_it_now(begun: Bench, whole: Bench) -> None:
    tried, log = begun.start(MAGICID_FAULT="optimize:3.0:micro:hang"), begun.run / "optimize" / "log.jsonl"
    while not log.exists() or log.read_text().count("\n") < 3:
        time.sleep(0.05)
    for _ in range(2):
        os.kill(tried.process.pid or 0, signal.SIGINT)
        time.sleep(0.5)
    assert tried.wait(20) == 130 and "interrupted" in tried.said
    ends_alike(begun, whole)


@pytest.mark.parametrize("where", ["lane", "between"])
def test_row_28_a_second_sigint_does_not_wait_for_clips_that_are_drawn_side_by_side(where: str) -> None:
    code = """
import os, signal, sys, threading, time
import torch
from magicid import cli
from magicid.core import lanes
torch.set_num_threads(2)
lanes.os.cpu_count = lambda: 2
def twice():
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
def work(item):
    if item == 1 and sys.argv[1] == "lane":
        twice()
    time.sleep(20 if item else 0)
def draw(words):
    for item in lanes.side_by_side(work, [0, 1, 2]):
        twice()
cli.COMMANDS["draw"] = draw
sys.exit(cli.main(["draw"]))
"""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, where], capture_output=True, text=True)
    assert done.returncode == 130 and "stopping once" in done.stderr and "interrupted" in done.stderr, done.stderr
    assert time.monotonic() - start < 18


def test_row_27_what_has_no_turns_of_its_own_is_not_waited_for() -> None:
    start = time.monotonic()
    with listening(), pytest.raises(Interrupted):
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        waiting(lambda: time.sleep(30), "endpoint")
    assert time.monotonic() - start < 15
    assert waiting(lambda: 7, "endpoint") == 7
    with pytest.raises(OSError, match="gone"):
        waiting(lambda: (_ for _ in ()).throw(OSError("gone")), "endpoint")


def test_row_28_where_nobody_reads_what_is_said_it_stops_all_the_same() -> None:
    code = """
import os, signal, sys
from magicid import cli
from magicid.core.pulse import pulse
def draw(words):
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        pulse("item")
cli.COMMANDS["draw"] = draw
os._exit(cli.main(["draw"]))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stderr
        process.stderr.close()
        process.stdin.close()
        assert process.wait() == 130


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    words = [sys.executable, "-m", "magicid", "run", "--help"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()


def test_row_30_a_second_process_is_refused_with_pid_and_host(begun: Bench) -> None:
    first, log = begun.start(MAGICID_FAULT="optimize:3.0:micro:hang"), begun.run / "optimize" / "log.jsonl"
    while not log.exists() or log.read_text().count("\n") < 3:
        time.sleep(0.05)
    code, said = attempt(begun.words(), begun.folder / "second.txt")
    first.process.kill()
    assert code == 2 and f"in use by process {first.process.pid} on {os.uname().nodename}" in said


def test_row_31_a_lock_frees_itself_and_no_pid_is_trusted(begun: Bench, whole: Bench) -> None:
    assert begun.attempt(MAGICID_FAULT="optimize:3:step:kill")[0] == -signal.SIGKILL
    (begun.run / ".lock").write_text(f"process {os.getpid()} on {os.uname().nodename}")  # alive, and not at work here
    ends_alike(begun, whole)
