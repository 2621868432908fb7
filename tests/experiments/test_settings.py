"""Settings are tried on people of their own, and each variant differs from the run in what was said alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from magicid.core.errors import UsageError
from magicid.core.run_dir import RunDir
from magicid.experiments.settings import Settings, changed
from magicid.pipeline import PRESETS
from tests.comparison.conftest import TINY

HPO, BEFORE = "optimize.learning-rate 1e-3, optimize.beta 7", "finetune.steps 2"


@pytest.fixture(scope="module")
def result(world: None, work: Path) -> dict[str, Any]:
    return Settings(people=1, prompts=1, seeds=1, work=work, variants=(HPO, BEFORE)).run(quiet=True)


def test_rows_are_what_hpo_begins_with_and_what_it_makes_of_it(result: dict[str, Any]) -> None:
    names = [row["method"] for row in result["rows"]]
    assert names == ["base", "start", "magicid", "variant_1", "variant_2_start", "variant_2", "ceiling"]
    assert result["variants"] == {"variant_1": HPO, "variant_2": BEFORE} and result["people"] == [101]
    assert {row["method"] for row in result["rows"] if row["seconds"] > 0} == set(names) - {"base", "ceiling"}
    json.dumps(result, allow_nan=False)


def test_a_variant_differs_in_what_was_said_alone(result: dict[str, Any], work: Path) -> None:
    own = RunDir.read_settings(work / "quick-1x1-0" / "person-101")
    found = sorted((work / "quick-1x1-0").glob("person-101-settings_*"))
    differing = [{key: value for key, value in RunDir.read_settings(one).items() if value != own[key]} for one in found]
    asked = [{"optimize.learning_rate": 1e-3, "optimize.beta": 7.0}, {"finetune.steps": 2}]
    assert sorted(map(str, differing)) == sorted(map(str, asked))


def test_values_are_numbers_words_and_lists() -> None:
    made = changed(PRESETS["paper"], "optimize.loss ipo, sample.strengths 1.0 0.5, finetune.single-frame")
    assert made.optimize.loss == "ipo" and made.sample.strengths == (1.0, 0.5) and made.finetune.single_frame is True
    assert changed(TINY, "") == TINY


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("optimize.betta 3", "betta"),
        ("optimize.beta", "beta"),
        ("generate.steps 24", "drawn and judged alike"),
        ("finetune.mirrored false", "false"),
        ("optimize.steps 1e2", "1e2"),
        ("optimize.steps 0", r"optimize\.steps 0"),
    ],
)
def test_what_no_run_could_do_is_refused_before_any(said: str, answer: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=answer):
        Settings(work=tmp_path, variants=(said,)).run(quiet=True)
    assert not list(tmp_path.iterdir())
