"""The drill itself, at the size that a suite can bear; and a journal that a kill left behind a finished stage."""

import json
import subprocess
from pathlib import Path

from tests.faults.conftest import Bench

ROOT = Path(__file__).parent.parent.parent


def test_twenty_kills_change_nothing() -> None:
    done = subprocess.run([ROOT / "scripts" / "drill", "--kills", "20", "--json"], capture_output=True, text=True, cwd=ROOT)
    found = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and found["kills"] == 20 and found["differences"] == found["unrecoverable"] == 0, done.stderr


def test_killed_between_a_manifest_and_the_end_of_its_journal(bench: Bench, whole: Bench) -> None:
    assert bench.attempt(MAGICID_FAULT="evaluate:manifest.jsonl:published:kill")[0] == -9
    assert (bench.run / "evaluate" / "journal.jsonl").exists()
    code, said = bench.attempt()
    assert code == 0 and bench.contents() == whole.contents(), said
