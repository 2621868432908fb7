"""The benchmark of the preference step takes every way on a small model, and all leave peers' gradient."""

import json

import pytest

from benchmarks.hpo_step import HpoStep, main


def test_every_way_has_the_gradient_of_peers_and_the_last_line_its_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    main(HpoStep(rounds=1, rounds_of_ideas=1, width=64, layers=2, side=8, only="larger", json=True))
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    ways = found["models"]["larger"]
    assert found["gradient_error"] < 1e-5 and all(row["gradient_error"] < 1e-5 for row in ways.values())
    assert found["speedup"] == pytest.approx(ways["ours"]["rates"][0] / ways["peers"]["rates"][0])
    assert found["memory_ratio"] == ways["ours"]["memory_ratio"] < 1 and ways["peers"]["peak_ratio"] == 1
    assert ways["ours"]["forwards"] < ways["the quick preset"]["forwards"] == 4 == ways["peers"]["forwards"] - 2
