"""How HPO fails: every loss is trained with every seed, and what counts as a collapse is counted as one."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from magicid.core.errors import UsageError
from magicid.core.run_dir import RunDir
from magicid.experiments import hpo_failure_modes
from magicid.experiments.hpo_failure_modes import FIGURES, HpoFailureModes, _figures, collapse_of, losses
from magicid.pipeline import PRESETS
from magicid.stages.optimize import Optimize

NEVER = 1e39  # a beta at which every loss is no number
FEW = {"people": 1, "prompts": 1, "seeds": 1, "training_seeds": 2}
GOOD = {"motion": 0.2, "face_p10": 0.5, "prompt": 0.8}


def line(win_drift: float = -0.1, margin: float = 0.1, norm_ratio: float = 1.0) -> dict[str, Any]:
    return {"win_drift": win_drift, "margin": margin, "norm_ratio": norm_ratio}


@pytest.fixture(scope="module")
def result(world: None, work: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hpo_failure_modes, "BETAS", (100.0, NEVER))
        found: dict[str, Any] = HpoFailureModes(**FEW, work=work).run(quiet=True)
    return found


def test_the_plain_losses_differ_in_beta_alone_and_have_no_guard() -> None:
    preset = Optimize(steps=7, beta=20.0, winner_guard=1.0, winner_anchor=10.0, loser_safeguard=0.5, logit_clamp=3.0, loss="ipo")
    found = losses(preset)
    assert list(found) == ["beta_100", "beta_500", "beta_5000", "preset"] and found["preset"] == preset
    assert [found[f"beta_{beta}"] for beta in (100, 500, 5000)] == [Optimize(steps=7, beta=b) for b in (100.0, 500.0, 5000.0)]


def test_every_loss_is_trained_with_every_seed_and_the_presets_first_is_the_runs_own(result: dict[str, Any], work: Path) -> None:
    modes = ["beta_100", "beta_1e+39", "preset"]
    assert [(one["mode"], one["seed"]) for one in result["trainings"][1:]] == [(mode, seed) for mode in modes for seed in (0, 1)]
    assert [row["method"] for row in result["rows"]] == ["start", *modes]
    assert [row["trainings"] for row in result["rows"]] == [0, 2, 2, 2]
    folder = work / "quick-1x1-0"
    made = {path.name for path in folder.glob("person-9-hpo_*")}
    assert made == {"person-9-hpo_preset-1", *(f"person-9-hpo_{mode}-{seed}" for mode in modes[:2] for seed in (0, 1))}
    for path in folder.glob("person-9-hpo_*"):
        own, theirs = RunDir.read_settings(folder / "person-9"), RunDir.read_settings(path)
        assert {key.split(".")[0] for key in theirs if theirs[key] != own[key]} == {"optimize"}, path
        assert (path / "pair" / "manifest.jsonl").read_bytes() == (folder / "person-9" / "pair" / "manifest.jsonl").read_bytes()
    identities = [one["figures"]["face_p10"] for one in result["trainings"] if not one["collapse"]]
    assert len(set(identities)) == len(identities)  # no two trainings are the same
    json.dumps(result, allow_nan=False)


def test_a_training_that_is_no_number_is_a_collapse_and_the_others_go_on(result: dict[str, Any]) -> None:
    rows = {row["method"]: row for row in result["rows"]}
    assert (rows["beta_1e+39"]["collapses"], rows["beta_1e+39"]["why"]) == (2, {"stopped": 2})
    assert rows["beta_1e+39"]["face_p10"] is None
    assert rows["beta_100"]["collapses"] == rows["preset"]["collapses"] == 0
    for row in (rows["beta_100"], rows["preset"]):
        assert set(row["intervals"]) == set(FIGURES) and 0 <= row["loser_dominates"] <= row["winner_above"] <= 1


def test_shares_are_of_steps_and_motion_is_the_base_models() -> None:
    log = [line(), line(win_drift=0.1), line(win_drift=0.1, margin=-0.1), line()]
    figures = _figures(GOOD, {"motion": 0.8}, log)
    assert (figures["winner_above"], figures["loser_dominates"], figures["motion_ratio"]) == pytest.approx((0.5, 0.25, 0.25))
    assert math.isnan(_figures({}, {"motion": 0.8}, log)["motion_ratio"])
    assert math.isnan(_figures(GOOD, {"motion": 0.0}, log)["motion_ratio"])


@pytest.mark.parametrize(
    ("means", "log", "why"),
    [
        (GOOD, [line(), line(norm_ratio=1.9)], ""),
        ({}, [line()], "stopped"),
        (GOOD, [line(), line(norm_ratio=2.1), line()], "norm"),
        (GOOD, [line(norm_ratio=0.4)], "norm"),
        (GOOD, [line(norm_ratio=math.nan)], "norm"),
        (GOOD | {"prompt": 0.39}, [line()], "prompt"),
        (GOOD | {"prompt": 0.41}, [line()], ""),
    ],
)
def test_a_collapse_is_what_it_is_said_to_be(means: dict[str, float], log: list[dict[str, Any]], why: str) -> None:
    assert collapse_of(means, GOOD, log) == why


def test_without_any_training_there_is_nothing_to_say(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="training_seeds 0: must be at least 1"):
        HpoFailureModes(training_seeds=0, work=tmp_path).run(quiet=True)


def test_equal_losses_are_trained_once_and_nothing_twice(
    result: dict[str, Any], work: Path, unchanged: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hpo_failure_modes, "BETAS", (100.0, PRESETS["quick"].optimize.beta))
    asked, again = HpoFailureModes(**FEW, work=work), []  # type: ignore[var-annotated]
    unchanged(work, lambda: again.append(asked.run(quiet=True)))
    rows = {row["method"]: row for row in again[0]["rows"]}
    own = f"beta_{PRESETS['quick'].optimize.beta:g}"
    assert {**rows[own], "method": "preset"} == rows["preset"] == {row["method"]: row for row in result["rows"]}["preset"]


def test_the_table_is_printed(result: dict[str, Any], work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replace(HpoFailureModes(**FEW), work=work, training_seeds=1).run()
    said = capsys.readouterr().out
    assert "| trainings | collapses | winner above | loser dominates |" in said and "\n| preset | 1 | 0 |" in said
