"""Every stage refuses settings that cannot work, in one line with the value, the rule and the remedy."""

import math
from typing import Any

import pytest

from magicid.core import tables
from magicid.core.errors import UsageError
from magicid.pipeline import PRESETS

REFUSED: dict[str, dict[str, list[Any]]] = {
    "prepare": {"least_photos": [0, 1]},
    "finetune": {"steps": [0], "batch": [0], "rank": [0], "learning_rate": [0.0], "alpha": [0.0], "weight_decay": [-1.0]},
    "prompts": {"repository": [0], "evaluation": [0], "source": ["web"]},
    "distill": {
        "steps": [-1],
        "batch": [0],
        "per_prompt": [0],
        "sample_steps": [0],
        "guidance": [0.0],
        "learning_rate": [0.0],
        "recompute": ["some"],
    },
    "sample": {"steps": [0], "batch": [0], "finetuned_per_prompt": [-1], "base_per_prompt": [-1], "strengths": [()]},
    "score": {"most_unusable": [-0.1, 1.1], "motion_cap_percentile": [101.0], "flow": ["farneback"]},
    "pair": {"identity": [-1], "dynamic": [-1], "least": [-1], "most_uses": [0], "identity_most_static": [-1], "rule": ["best"]},
    "optimize": {
        "steps": [0],
        "batch": [0],
        "beta": [-1.0],
        "chunk": [-1],
        "draws": [-1],
        "loss": ["l2"],
        "times": ["late"],
        "rounds": [0, 5001],
        "round_clips": [0],
        "validate": [-1],
        "least_identity": [-0.1],
    },
    "generate": {"seeds": [0], "steps": [0], "batch": [0], "strangers": [-1]},
    "evaluate": {"most_leakage": [-0.1]},
}
CASES = [(name, field, value) for name, fields in REFUSED.items() for field, values in fields.items() for value in values]


def stage(name: str, **settings: Any) -> Any:
    return tables.load(tables.STAGES, "stage", name)(**settings)


@pytest.mark.parametrize(("name", "field", "value"), CASES)
def test_a_value_that_cannot_work_is_named_with_its_rule(name: str, field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"^{name}\.{field} .+[:;] .+\.$") as error:
        stage(name, **{field: value}).check()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_presets_of_every_stage_pass(preset: str) -> None:
    assert set(REFUSED) == set(tables.STAGES)
    for name in tables.STAGES:
        getattr(PRESETS[preset], name).check()


def test_the_line_says_the_value_the_rule_and_what_to_type() -> None:
    for made, said in (
        (
            stage("prepare", least_photos=1),
            "prepare.least_photos 1: must be at least 2; set --prepare.least-photos to 2 or more.",
        ),
        (
            stage("score", most_unusable=2.0),
            "score.most_unusable 2.0: must be 0 to 1; set --score.most-unusable to such a number.",
        ),
        (stage("prompts", source="web"), "prompts.source 'web' is unknown; choose auto, grammar, list, endpoint or local."),
    ):
        with pytest.raises(UsageError) as error:
            made.check()
        assert str(error.value) == said


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e-5, 0.0])
@pytest.mark.parametrize("name", ["finetune", "optimize"])
def test_a_learning_rate_is_finite_and_more_than_0(name: str, value: float) -> None:
    with pytest.raises(
        UsageError, match=rf"^{name}\.learning_rate {value}: must be finite and more than 0; set --{name}\.learning-rate"
    ):
        stage(name, learning_rate=value).check()


def test_nan_is_in_no_range() -> None:
    for made in (stage("optimize", beta=math.nan), stage("score", most_unusable=math.nan)):
        with pytest.raises(UsageError, match="nan: must be"):
            made.check()


def test_something_must_be_drawn_and_something_chosen() -> None:
    with pytest.raises(
        UsageError, match=r"^sample\.finetuned_per_prompt 0, sample\.base_per_prompt 0: clips are needed; set one"
    ):
        stage("sample", finetuned_per_prompt=0, base_per_prompt=0).check()
    with pytest.raises(UsageError, match=r"^pair\.identity 0, pair\.dynamic 0: pairs of one kind are needed; set one"):
        stage("pair", identity=0, dynamic=0).check()
    stage("sample", base_per_prompt=0).check()
    stage("pair", dynamic=0).check()
