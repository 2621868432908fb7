"""Rows say what the clips' figures say: means, shares, paired differences, and what lies beyond the front."""

import json
import math

import numpy as np
import pytest

from magicid.comparison.figures import FIGURES
from magicid.comparison.markdown import COLUMNS, markdown
from magicid.comparison.table import PersonFigures, point, rows, spans
from magicid.core.cost import Cost
from magicid.core.finite import finite
from magicid.core.records import ClipFigures

LEVELS = {"base": (0.1, 1.0), "finetuned": (0.6, 0.4), "weaker": (0.3, 0.8), "magicid": (0.7, 0.9), "ceiling": (1.0, 1.0)}
METHODS = ("base", "magicid", "ceiling")
FRONT = ("base", "weaker", "finetuned")


def person(number: int, clips: int = 3, motion: float = 1.0) -> PersonFigures:
    """Identity and motion are the method's level, a little higher for each person; all else is 0.5."""
    found = []
    for method, (identity, moved) in LEVELS.items() | {("real", (1.0, 1.0))}:
        for i in range(clips):
            values = dict.fromkeys(FIGURES, 0.5) | {"face_p10": identity + 0.01 * number, "motion": moved * motion}
            features = np.random.default_rng([number, i, method != "ceiling" and method != "real"]).normal(size=4)
            found.append(ClipFigures(method, f"{i:03d}-0", values, tuple(features.tolist())))
    return PersonFigures(number, found, {"magicid": Cost(10.0 * (number + 1), 100.0 + number)})


def test_means_shares_and_costs() -> None:
    base, ours, ceiling = rows([person(0), person(1)], METHODS, FRONT)
    value, low, high = ours.figures["face_p10"]
    assert value == pytest.approx(0.705) and low == pytest.approx(0.70) and high == pytest.approx(0.71)
    assert ours.shares["face_p10"] == pytest.approx(0.705 / 1.005) and ceiling.shares["motion"] == 1
    assert ours.figures["seconds"] == pytest.approx((15.0, 10.0, 20.0)) and ours.figures["peak_memory_mb"][0] == 100.5
    assert base.figures["seconds"] == (0.0, 0.0, 0.0)


def test_differences_are_paired_and_of_ours_against_each() -> None:
    base, ours, _ = rows([person(0), person(5)], METHODS, FRONT)
    assert base.magicid_minus["face_p10"] == pytest.approx((0.6, 0.6, 0.6))  # people differ, the difference does not
    assert base.magicid_minus["motion"][0] == pytest.approx(-0.1) and not ours.magicid_minus


def test_what_has_the_features_of_real_clips_is_no_distance_away() -> None:
    base, _, ceiling = rows([person(0), person(1), person(2)], METHODS, FRONT)
    assert ceiling.figures["frechet"][0] == pytest.approx(0, abs=1e-6) and base.figures["frechet"][0] > 1
    value, low, high = base.figures["frechet"]
    assert low < value < high


def test_only_what_lies_beyond_the_front_has_an_area_there() -> None:
    base, ours, _ = rows([person(0), person(1)], METHODS, FRONT)
    assert base.beyond_front is None and ours.beyond_front is not None
    assert ours.beyond_front[0] > 0.1 and ours.beyond_front[1] > 0
    assert point([person(0)], "weaker") == pytest.approx((0.3, 0.8))


def test_spans_are_intervals_as_shares_of_the_ceilings_value() -> None:
    table = rows([person(0), person(2)], METHODS, FRONT)
    identity, motion = spans(table)["magicid"]
    assert identity == pytest.approx((0.71 / 1.01, 0.70 / 1.01, 0.72 / 1.01)) and motion == pytest.approx((0.9, 0.9, 0.9))


def test_clips_that_cannot_be_measured_are_left_out_and_null_in_json() -> None:
    lost = person(0, motion=math.nan)
    some, none = rows([lost, person(1)], METHODS, FRONT)[1], rows([lost], METHODS, FRONT)[1]
    assert some.figures["motion"][0] == pytest.approx(0.9)
    plain = none.to_json()
    assert plain["motion"] is None and plain["intervals"]["motion"] == [None, None]
    assert set(COLUMNS) <= set(plain) and set(plain["intervals"]) == set(COLUMNS)
    json.dumps(plain, allow_nan=False)


def test_one_clip_has_no_spread_to_compare() -> None:
    assert rows([person(0, clips=1)], METHODS, FRONT)[0].to_json()["frechet"] is None


def test_only_numbers_that_are_not_finite_become_null() -> None:
    assert finite({"a": [1.0, math.nan, "nan"], "b": (math.inf, None, 2)}) == {"a": [1.0, None, "nan"], "b": [None, None, 2]}


def test_the_text_has_every_row_and_column_and_invents_nothing() -> None:
    text = markdown(rows([person(0), person(1)], METHODS, FRONT), ["consisid"])
    above, below = (part.splitlines() for part in text.split("\n\n"))
    assert len(above) == 2 + len(METHODS) + 1 and len(below) == 2 + len(METHODS)
    assert len({line.count("|") for line in above}) == 1 and len({line.count("|") for line in below}) == 1
    assert above[-1].startswith("| consisid | not yet |") and not any(digit in above[-1] for digit in "0123456789")
    assert "0.705 [0.700, 0.710] 70%" in above[3] and "on it" in below[2]
