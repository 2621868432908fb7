"""What a training's last steps say that a person should know: a loss that leaps, winners that are being unlearnt.

Nothing is changed by an alarm: the snapshots on the way and the last state are kept, and `best` says which to go back to.
"""

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

LEAST = 20  # steps that are needed to judge by
SPIKE = 5.0  # times the median of the steps before
UNLEARNT = 0.1  # of the reference's error, by which the winners' has risen; .07 was over-trained on a small model


def alarm(recent: Sequence[dict[str, Any]]) -> str | None:
    """One line about the last of the steps, or None; `recent` is the log's end, oldest first."""
    if len(recent) <= LEAST:
        return None
    *before, last = recent
    if "margin" in last:
        risen = fmean(line["win_drift"] for line in recent) / fmean(line["reference_win"] for line in recent)
        said = f"the winners' error is {risen:.0%} above the reference's over the last {len(recent)} steps"
        return f"{said}: over-trained; take fewer steps, or a winner_anchor." if risen > UNLEARNT else None
    usual = median(line["loss"] for line in before)
    if math.isfinite(last["loss"]) and last["loss"] > SPIKE * usual:
        return f"loss {last['loss']:.3g} at step {last['step']}, {last['loss'] / usual:.0f} times the usual {usual:.3g}."
    return None


def best(lines: Sequence[dict[str, Any]], steps: Sequence[int]) -> int | None:
    """Of the steps at which a snapshot was kept, that whose preceding stretch has the lowest mean loss."""
    means = {}
    for start, end in zip([0, *steps], steps, strict=False):
        losses = [line["loss"] for line in lines if start <= line["step"] < end and math.isfinite(line["loss"])]
        if losses:
            means[end] = fmean(losses)
    return min(means, key=lambda step: means[step]) if means else None
