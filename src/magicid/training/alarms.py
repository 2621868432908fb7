"""What a training's last steps say that a person should know: a loss that leaps, winners that are being unlearnt.

Nothing is changed by an alarm: the snapshots on the way and the last state are kept, and `best` says which to go back to.
"""

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

LEAST = 20  # steps that are needed to judge by
SPIKE = 5.0  # times the median of the steps before
UNLEARNT = 0.1  # rise of the winners' error, as a share of the reference's; a late alarm: a small model was over-trained at .07


def alarm(recent: Sequence[dict[str, Any]]) -> str | None:
    """One line about the last of the steps, or None; `recent` is the log's end, oldest first."""
    recent = [line for line in recent if math.isfinite(line["loss"])]
    if len(recent) <= LEAST:
        return None
    *before, last = recent
    if "margin" in last:
        risen = fmean(line["win_drift"] for line in recent) / fmean(line["reference_win"] for line in recent)
        said = f"the winners' error is {risen:.0%} above the reference's over the last {len(recent)} steps"
        return f"{said}: over-trained; take fewer steps, or a winner_anchor." if risen > UNLEARNT else None
    usual = median(line["loss"] for line in before)
    if last["loss"] > SPIKE * usual:
        return f"loss {last['loss']:.3g} at step {last['step']}, {last['loss'] / usual:.0f} times the usual {usual:.3g}."
    return None


def best(lines: Sequence[dict[str, Any]], steps: Sequence[int]) -> int | None:
    """Of the steps at which a snapshot was kept, that whose preceding stretch has the lowest mean loss.

    Of preference training the winners' error is looked at: the loss also falls where it rises, if the losers' rises more.
    """
    means = {}
    done = max((line["step"] + 1 for line in lines), default=0)
    past = sorted(step for step in steps if step <= done)
    for start, end in zip([0, *past], past, strict=False):
        stretch = [line.get("win_drift", line["loss"]) for line in lines if start <= line["step"] < end]
        if finite := [number for number in stretch if math.isfinite(number)]:
            means[end] = fmean(finite)
    return min(means, key=lambda step: means[step]) if means else None
