"""A training log as small plots: smoothed curves with the raw ones faint, whatever the log holds.

Numbers that belong together share a plot (`PANELS`), those told by noise level get one plot a number, the rest one each.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from magicid.metrics.svg import BLUE, GREEN, GREY, INK, ORANGE, PINK, PURPLE, embed, page_figure

Line = Mapping[str, Any]
POINTS = 100  # of a smoothed curve
WINDOW = 0.08  # of the steps, that a smoothed point looks at
_BIN = re.compile(r"(.+)_q(\d+)")  # win_drift_q3: at the third quarter of noise, from clean


@dataclass(frozen=True)
class Panel:
    """One plot."""

    title: str
    names: tuple[str, ...]  # of the log's numbers
    note: str = ""
    level: float | None = None  # a line to compare with
    logarithmic: bool = False


PANELS = (
    Panel("Loss", ("loss",)),
    Panel(
        "Error less the reference's", ("win_drift", "lose_drift"), "Below 0 the policy predicts better than the reference.", 0.0
    ),
    Panel("Margin", ("margin",), "How much more the loser's error has risen than the winner's.", 0.0),
    Panel("Pairs in order", ("accuracy", "loser_dominance"), "Dominance: in order only since the loser's error rises faster."),
    Panel(
        "Gradient factor",
        ("gradient_factor",),
        "What is left of the gradient: 0.5 at the start, 0 on satisfied pairs.",
        None,
        True,
    ),
    Panel("Prediction's size by the reference's", ("norm_ratio",), "Far from 1 the model collapses.", 1.0),
    Panel("Errors", ("win", "lose", "reference_win", "reference_lose")),
    Panel("Gradient norm", ("grad_norm",), "", None, True),
)
_COLOURS = {
    "win": GREEN,
    "lose": ORANGE,
    "accuracy": BLUE,
    "loser_dominance": PINK,
    "reference_win": GREY,
    "reference_lose": PURPLE,
}


def dashboard(lines: Sequence[Line], key: str) -> Iterator[tuple[str, Markup, str]]:
    """(title, plot, note) of all that changes in the lines; `key` keeps the plots of two logs apart."""
    for number, panel in enumerate(_panels(lines)):
        with page_figure(3.6, 2.2) as figure:
            axes = figure.subplots()
            if panel.level is not None:
                axes.axhline(panel.level, color=INK, lw=0.6, alpha=0.4)
            for i, name in enumerate(panel.names):
                _curve(axes, _points(lines, name), _short(name), _colour(panel, i), panel.logarithmic)
            axes.set(xlabel="step")
            if panel.logarithmic:
                axes.set_yscale("log")
                low, high = axes.get_ylim()
                if high > 10 * low:
                    axes.yaxis.set_minor_formatter(NullFormatter())
            else:
                axes.locator_params(axis="y", nbins=5)
            axes.locator_params(axis="x", nbins=5)
            if len(panel.names) > 1:
                figure.legend(loc="outside upper left", ncols=4, fontsize=8, columnspacing=1)
            yield panel.title, embed(figure, f"{key}{number}"), panel.note


def constants(lines: Sequence[Line]) -> str:
    """The numbers that never change, in a sentence; "" where all do. Of one noise level alone a number has its curve."""
    found = {name: _points(lines, name) for name in _names(lines) if not _BIN.fullmatch(name)}
    same = [f"{_label(name)} {points[0, 1]:g}" for name, points in found.items() if _constant(points)]
    return f"Constant throughout: {', '.join(same)}." if same else ""


def verdict(lines: Sequence[Line]) -> str:
    """What the drifts say of a preference training, in a sentence; "" where the log has none."""
    win, lose = _points(lines, "win_drift"), _points(lines, "lose_drift")
    if not len(win) or not len(lose):
        return ""
    last = max(1, len(win) // 10)
    above, end = float((win[:, 1] > 0).mean()), (float(win[-last:, 1].mean()), float(lose[-last:, 1].mean()))
    here = "; this one did." if 0 < end[0] < end[1] else "."
    return (
        f"The winner's error was above the reference's in {above:.0%} of the steps. Over the last tenth it is {end[0]:+.3f} from "
        f"the reference's, the loser's {end[1]:+.3f}. A sound run lowers the winner's; "
        f"a failing one raises both, the loser's faster{here}"
    )


def _panels(lines: Sequence[Line]) -> list[Panel]:
    names = [name for name in _names(lines) if _BIN.fullmatch(name) or not _constant(_points(lines, name))]
    binned: dict[str, list[str]] = {}
    for name in names:
        if found := _BIN.fullmatch(name):
            binned.setdefault(found[1], []).append(name)
    panels = [replace(panel, names=tuple(n for n in panel.names if n in names)) for panel in PANELS]
    for stem, own in binned.items():
        like = next((panel for panel in PANELS if stem in panel.names), Panel("", ()))
        title, note = f"{_label(stem).capitalize()} by noise", "From clean (light) to noise (dark)."
        panels.append(replace(like, title=title, names=tuple(sorted(own)), note=note))
    told = {name for panel in panels for name in panel.names}
    panels += [Panel(_label(name).capitalize(), (name,)) for name in names if name not in told]
    return [panel for panel in panels if panel.names]


def _constant(points: NDArray[np.float64]) -> bool:
    """Whether a number never changes; of one step alone nothing is known."""
    return len(points) > 1 and np.ptp(points[:, 1]) == 0


def _names(lines: Sequence[Line]) -> list[str]:
    """Of all numbers with a finite value, in the order they come."""
    return [n for n in dict.fromkeys(n for line in lines for n in line) if n != "step" and len(_points(lines, n))]


def _points(lines: Sequence[Line], name: str) -> NDArray[np.float64]:
    """(N, 2) step and value, where there is a finite one."""
    found = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), int | float)]
    return np.array([point for point in found if math.isfinite(point[1])], np.float64).reshape(-1, 2)


def _curve(axes: Axes, points: NDArray[np.float64], label: str, colour: str, logarithmic: bool) -> None:
    if logarithmic:
        points = points[points[:, 1] > 0]
    if not len(points):
        return
    x, y = points.T
    axes.plot(*_outline(points).T, color=colour, lw=0.6, alpha=0.28)
    at = np.linspace(x[0], x[-1], min(POINTS, len(x)))
    smooth = smoothed(x, np.log(y) if logarithmic else y, at)
    axes.plot(
        at, np.exp(smooth) if logarithmic else smooth, lw=1.5, marker="o" if len(at) == 1 else "", color=colour, label=label
    )


def smoothed(x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian means of y (N,) around the places `at` (M,); a constant stays itself, up to both ends."""
    width = max(WINDOW * (x[-1] - x[0]) / 2, 1e-9)
    weights = np.exp(-0.5 * ((at[:, None] - x) / width) ** 2)
    return np.asarray(weights @ y / weights.sum(1))


def _outline(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most twice `POINTS` of the points: of each stretch the least and the greatest, in order."""
    if len(points) <= 2 * POINTS:
        return points
    kept = []
    for part in np.array_split(points, POINTS):
        kept += [part[i] for i in sorted({int(part[:, 1].argmin()), int(part[:, 1].argmax())})]
    return np.array(kept)


def _label(name: str) -> str:
    return name.replace("_", " ")


def _short(name: str) -> str:
    """In a legend: of a number by noise level, the level alone."""
    return name.rsplit("_", 1)[1] if _BIN.fullmatch(name) else _label(name)


def _colour(panel: Panel, index: int) -> str:
    name = panel.names[index]
    if _BIN.fullmatch(name):
        return to_hex(colormaps["viridis_r"](0.1 + 0.9 * index / max(1, len(panel.names) - 1)))
    return _COLOURS.get(name.removesuffix("_drift"), BLUE)
