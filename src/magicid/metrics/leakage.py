"""Leakage: whether strangers turn into the subject once the adapter is on.

The same prompts and noise about somebody else, from the base model and with the adapter; what their likeness to the subject
rose by, as a share of what the subject's own did.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from magicid.core.records import STRANGERS, Metric, Video
from magicid.metrics.bootstrap import interval, mean

ROW = "strangers"  # the `method` of these metrics, which is none: tables of methods leave it out
MOST = 0.5  # of the subject's gain; above it the sentence warns, unless the run's settings say another share
NAMES = ("identity_before", "identity_after", "leakage")


def leakage(videos: Sequence[Video], identity: Mapping[str, float]) -> list[Metric]:
    """The strangers' identity before and after, and the leakage; `identity` by video, to the subject.

    Nothing where there are no strangers; a clip that cannot be judged (nan) is left out. The leakage is nan where the subject
    gained nothing, and may be below 0.
    """
    by_origin = {origin: [v for v in videos if v.origin == origin] for origin in (*STRANGERS, *STRANGERS.values())}
    if not all(by_origin.values()):
        return []
    own = {method: mean(identity[v.id] for v in by_origin[method]) for method in STRANGERS}
    before, after = ([identity[v.id] for v in by_origin[STRANGERS[method]]] for method in ("base", "magicid"))
    gained = own["magicid"] - own["base"]
    shares = [(b - a) / gained if gained > 0 else math.nan for a, b in zip(before, after, strict=True)]
    clusters = [v.prompt for v in by_origin[STRANGERS["base"]]]
    found = zip(NAMES, (before, after, shares), strict=True)
    return [Metric(ROW, name, *interval(values, clusters), sum(map(math.isfinite, values))) for name, values in found]


def sentence(metrics: Sequence[Metric], settings: Mapping[str, Any]) -> str:
    """What was found in a sentence, with a warning where it is more than `evaluate.most_leakage`; "" where nothing was."""
    most = settings.get("evaluate.most_leakage", MOST)
    found = {m.name: m for m in metrics if m.method == ROW}
    if found.keys() != set(NAMES):
        return ""
    before, after, share = (found[name].value for name in NAMES)
    own = {m.method: m.value for m in metrics if m.name == "identity"}
    said = f"Strangers' identity to the subject: {before:.3f} before, {after:.3f} after"
    if own["magicid"] <= own["base"]:
        return f"{said}; the subject gained none, so there is no share of it."
    if not math.isfinite(share):
        return "Strangers' identity to the subject: not measurable, since too few clips show a face that can be judged."
    said += f", {share:.0%} of what the subject gained"
    if share <= most:
        return f"{said}."
    remedy = "load the adapter only for clips that show nobody else"
    return f"{said}. Warning: more than {most:.0%}, so strangers turn into the subject; {remedy}."
