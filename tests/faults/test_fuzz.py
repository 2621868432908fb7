"""Ten seconds of `scripts/fuzz` for each target; more by hand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.fuzz_targets import TARGETS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_broken_files_end_in_an_error_of_ours(name: str) -> None:
    pytest.importorskip("atheris", reason="atheris, which finds the broken files, is not installed here")
    words = [sys.executable, "-m", "tests.faults.fuzz", "--seconds", "4", name]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = re.fullmatch(rf"{name}: (\d+) runs, \d+ seconds, 0 failures", done.stdout.splitlines()[-1])
    assert runs and int(runs[1]) > 20


def test_a_target_that_is_unknown_is_refused() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.faults.fuzz", "none"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "'none' is no target; there are " in done.stderr
