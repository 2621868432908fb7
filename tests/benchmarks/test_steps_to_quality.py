"""Steps to quality: the first step that reaches both figures, and a benchmark that prints its ratio."""

import json
from pathlib import Path

import pytest

from benchmarks.steps_to_quality import StepsToQuality, first_to_reach, main
from tests.comparison.conftest import weights, world

__all__ = ["weights", "world"]


def point(identity: float, motion: float) -> dict[str, float]:
    return {"face_p10": identity, "motion": motion}


def test_a_step_reaches_the_goal_when_both_figures_do() -> None:
    goal = point(0.4, 0.02)
    assert first_to_reach({10: point(0.5, 0.01), 20: point(0.4, 0.02), 30: point(0.6, 0.03)}, goal) == 20
    assert first_to_reach({10: point(0.5, 0.01), 20: point(0.3, 0.05)}, goal) is None


@pytest.mark.usefixtures("world")
def test_it_ends_with_a_line_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(StepsToQuality(people=1, prompts=1, work=tmp_path, json=True))
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    ours, goal = found["points"]["magicid"], found["points"]["magicid_paper"]
    assert {"start", "magicid_1", "magicid_2", "finetuned"} < found["points"].keys()
    reached = found["steps_to_reach"]
    assert found["ratio"] == (None if reached is None else pytest.approx(reached / 5))
    assert reached is None or reached < 5 or all(ours[name] >= goal[name] for name in goal)
