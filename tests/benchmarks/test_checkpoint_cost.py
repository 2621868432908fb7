"""What the benchmark of checkpoints prints is a share that can be recomputed from the times it prints."""

import json
import sys

import pytest

from benchmarks import checkpoint


def test_overhead_is_a_save_over_the_steps_between_two(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["checkpoint", "--rounds", "3", "--json"])
    checkpoint.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["every"] == 50 and 0 < found["save_s"] < 50 * found["step_s"]
    assert found["overhead"] == pytest.approx(found["save_s"] / (50 * found["step_s"]))
