"""Figures of a comparison: methods as points with the strength front as a line, or one figure along steps or frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from magicid.comparison.table import Interval
from magicid.core.files import publish
from magicid.metrics.hypervolume import Point, beyond, hypervolume

Line = Sequence[tuple[float, Interval]]  # where, and how much
Span = tuple[Interval, Interval]  # of both axes


def front_figure(
    points: Mapping[str, Point], lines: Mapping[str, Sequence[str]], methods: Mapping[str, Span], path: Path
) -> None:
    """Publish a PNG; both axes are shares of the ceiling, areas are counted from the origin.

    `lines` name the `points` that trace the front; the legend says what area they span, and what each of `methods`, which
    are drawn with their intervals, adds to it.
    """
    on_it = {name for line in lines.values() for name in line}
    front = [points[name] for name in on_it]
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for i, (name, line) in enumerate(lines.items()):
        label = f"{name} (all lines: area {hypervolume(front):.3f})" if i == 0 else name
        places = zip(*(points[place] for place in line))
        axes.plot(
            *places, marker=".", ls=("-", "--", "-.", ":")[i % 4], lw=1.2, color=("0.35", "0.6")[i % 2], label=label, zorder=1
        )
    for i, (name, spans) in enumerate(methods.items()):
        label = f"{name.replace('_', ' ')} ({'on it' if name in on_it else f'{beyond(points[name], front):+.3f}'})"
        x, y = ([[max(0, value - low)], [max(0, high - value)]] for value, low, high in spans)
        colour = "black" if name == "magicid" else colormaps["tab20"](2 * i % 20 + i // 10 % 2)
        axes.errorbar(*points[name], y, x, fmt="osD^vP*X"[i % 8], ms=7, color=colour, elinewidth=0.8, label=label, zorder=2)
    axes.axvline(0, color="0.85", lw=0.6, zorder=0)
    _finish(axes, "identity, share of the ceiling (p10 over frames x coverage)", "subject motion, share of the ceiling")
    axes.legend(
        title="in brackets: area beyond the front,\nwhich strength and early stops give for free", fontsize=8, title_fontsize=8,
        loc="center left", bbox_to_anchor=(1, 0.5),
    )  # fmt: skip
    _publish(figure, path)


def curves_figure(panels: Mapping[str, Mapping[str, Line]], along: str, path: Path) -> None:
    """Publish a PNG: a panel for each figure that is named, in it a line for each method with its interval as a band."""
    figure = Figure(figsize=(5.5 * len(panels), 4.2), layout="constrained")
    colours = {name: f"C{i % 10}" for i, name in enumerate(dict.fromkeys(n for lines in panels.values() for n in lines))}
    for axes, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, line in lines.items():
            where = [place for place, _ in line]
            value, low, high = zip(*(interval for _, interval in line))
            axes.plot(where, value, marker=".", lw=1.2, color=colours[name], label=name.replace("_", " "), zorder=2)
            axes.fill_between(where, low, high, color=colours[name], alpha=0.15, lw=0, zorder=1)
        _finish(axes, along, title)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _publish(figure, path)


def _finish(axes: Axes, across: str, up: str) -> None:
    axes.axhline(0, color="0.85", lw=0.6, zorder=0)
    axes.set_xlabel(across)
    axes.set_ylabel(up)


def _publish(figure: Figure, path: Path) -> None:
    publish(path, lambda target: figure.savefig(target, format="png", dpi=120))
