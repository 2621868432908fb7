"""Raw rewards become 1..10 and keep their order."""

import math

import numpy as np
import pytest

from magicid.rewards.calibration import calibrate


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("seed", range(10))
def test_the_least_is_1_the_greatest_10_and_the_order_stays(seed: int, scale: float) -> None:
    raw = {str(i): float(v) for i, v in enumerate(np.random.default_rng(seed).normal(size=20) * scale)}
    scaled = calibrate(raw)
    assert min(scaled.values()) == 1 and max(scaled.values()) == pytest.approx(10)
    assert sorted(raw, key=lambda k: raw[k]) == sorted(scaled, key=lambda k: scaled[k])


def test_a_unit_of_measure_does_not_matter() -> None:
    raw = {"a": 0.1, "b": 0.4, "c": 0.2}
    assert calibrate({k: 100 * v - 7 for k, v in raw.items()}) == pytest.approx(calibrate(raw))


def test_beyond_the_cap_more_is_not_better() -> None:
    assert calibrate({"still": 0.0, "walks": 1.0, "runs": 2.0, "flies": 9.0}, cap=2.0) == {
        "still": 1,
        "walks": 5.5,
        "runs": 10,
        "flies": 10,
    }


def test_what_is_not_finite_is_left_out_and_moves_nothing() -> None:
    rest = {"a": 1.0, "b": 2.0}
    assert calibrate(rest | {"x": math.nan, "y": math.inf, "z": -math.inf}, cap=5.0) == calibrate(rest, cap=5.0)
    assert calibrate({"x": math.nan}) == {} == calibrate({})


def test_equal_values_tell_nothing_apart() -> None:
    assert calibrate({"a": 0.3, "b": 0.3}) == {"a": 1.0, "b": 1.0}
    assert calibrate({"a": 3.0, "b": 4.0}, cap=2.0) == {"a": 1.0, "b": 1.0}
