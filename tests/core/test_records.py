"""Records survive the way to disk and back."""

import json
import math

import pytest

from magicid.core import records
from magicid.export.recipe import Recipe

ALL = [
    records.Photo("p", 'Ünï\ncode "x".jpg', "prepare/p.png", "prepare/p.safetensors", "00", False),
    records.Prompt("a", "sks person nods", "repository"),
    records.Video("v", "finetuned", "nods", 2**63 - 1, 0.1 + 0.2, "sample/v.mp4", "sample/v.safetensors", "00"),
    records.Score("v", {"motion": 1 / 3}, {"motion": 10.0}, {"motion": "measured"}, {"motion": {"valid": 0.5}}),
    records.Pair("i", "identity", "v", "w", "nods", 1.5, -0.25),
    records.FrameLikeness("magicid", "003-0", (0.5, -0.25, 1 / 3)),
    records.Metric("base", "identity", 0.5, 0.4, 0.6, 20),
    records.Adapter("finetune/adapter.safetensors", "00"),
    records.ClipFigures("base", "003-0", {"face": 1 / 3}, (0.1, -2.5e-8)),
    records.Value("v", {"identity": 1e-300}),
    Recipe(
        "1",
        "wan",
        "base",
        "00",
        "7f",
        "sks",
        "a.safetensors",
        "00",
        "",
        1.0,
        "nods",
        2**63 - 1,
        (1, 4, 3, 8, 8),
        5,
        32,
        32,
        8.0,
        50,
        None,
        None,
        3.0,
        0.5,
        1.0,
        {"guidance_scale": 3.0},
    ),
]


@pytest.mark.parametrize("record", ALL, ids=lambda record: type(record).__name__)
def test_every_record_comes_back_equal(record: records.Record) -> None:
    line = json.dumps(record.to_json())
    assert "\n" not in line and type(record).from_json(json.loads(line)) == record


def test_every_record_is_tried_here() -> None:
    assert {type(record) for record in ALL} == set(records.Record.__subclasses__())


def test_a_number_that_is_not_finite_stays_so() -> None:
    score = records.Score("v", {"motion": math.nan}, {}, {"motion": "unmeasurable"})
    assert math.isnan(records.Score.from_json(json.loads(json.dumps(score.to_json()))).raw["motion"])


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert records.Adapter.from_json({"file": "f", "sha256": "00", "id": "x", "later": 1}) == records.Adapter("f", "00")
