"""Leakage is what strangers gained of what the subject gained, and is said with a warning where it is too much."""

import math
from collections.abc import Sequence

import pytest

from magicid.core.records import STRANGERS, Metric, Video
from magicid.metrics.leakage import ROW, leakage, sentence


def measured(base: float, magicid: float, before: float, after: float, unclear: Sequence[str] = ()) -> list[Metric]:
    """Metrics of two clips of each kind with these identities, the first one of an `unclear` kind not judged."""
    values = {"base": base, "magicid": magicid, STRANGERS["base"]: before, STRANGERS["magicid"]: after, "finetuned": 0.9}
    videos = [Video(f"{origin}-{i}", origin, f"p{i}", i, 1.0, "", "", "") for origin in values for i in range(2)]
    identity = {video.id: values[video.origin] for video in videos} | {f"{origin}-0": math.nan for origin in unclear}
    return [*leakage(videos, identity), *(Metric(method, "identity", values[method], 0, 1, 2) for method in STRANGERS)]


def test_a_half_turned_stranger_leaks_a_half() -> None:
    before, after, share = measured(0.1, 0.7, 0.1, 0.4)[:3]
    assert [(m.method, m.name, m.count) for m in (before, after, share)] == [
        (ROW, "identity_before", 2), (ROW, "identity_after", 2), (ROW, "leakage", 2),
    ]  # fmt: skip
    assert (before.value, after.value) == pytest.approx((0.1, 0.4)) and share.value == pytest.approx(0.5)
    assert measured(0.1, 0.7, 0.1, 0.1)[2].value == 0 and measured(0.1, 0.7, 0.1, 0.7)[2].value == pytest.approx(1)


def test_only_too_much_of_it_is_warned_of() -> None:
    little, much = (sentence(measured(0.1, 0.7, 0.1, after), {"evaluate.most_leakage": 0.4}) for after in (0.25, 0.4))
    assert little == "Strangers' identity to the subject: 0.100 before, 0.250 after, 25% of what the subject gained."
    assert "50% of what the subject gained. Warning: more than 40%, so strangers turn into the subject; load" in much
    assert much.endswith("; load the adapter only for clips that show nobody else.")
    assert "Warning" not in sentence(measured(0.1, 0.7, 0.1, 0.39), {})


def test_where_the_subject_gained_nothing_there_is_no_share() -> None:
    metrics = measured(0.5, 0.4, 0.1, 0.4)
    assert math.isnan(metrics[2].value) and [m.count for m in metrics[:3]] == [2, 2, 0]
    assert sentence(metrics, {}).endswith("0.400 after; the subject gained none, so there is no share of it.")


def test_clips_that_cannot_be_judged_are_left_out() -> None:
    before, after, share = measured(0.1, 0.7, 0.1, 0.4, ("magicid", STRANGERS["magicid"]))[:3]
    assert (after.value, share.value) == pytest.approx((0.4, 0.5)) and [m.count for m in (before, after, share)] == [2, 1, 1]
    for none in (measured(0.1, math.nan, 0.1, 0.4), measured(0.1, 0.7, 0.1, math.nan)):
        assert sentence(none, {}).startswith("Strangers' identity to the subject: not measurable, since")


def test_without_strangers_there_is_nothing_to_say() -> None:
    assert leakage([Video("base-0", "base", "p", 0, 0.0, "", "", "")], {"base-0": 0.1}) == []
    assert sentence([Metric("base", "identity", 0.1, 0, 1, 2)], {}) == ""
