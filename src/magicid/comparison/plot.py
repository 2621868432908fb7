"""Identity against motion: every method as a point, the strength front as a line."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from magicid.core.files import publish
from magicid.metrics.hypervolume import Point, beyond, hypervolume


def front_figure(points: Mapping[str, Point], lines: Mapping[str, Sequence[str]], methods: Sequence[str], path: Path) -> None:
    """Publish a PNG; both axes are shares of the ceiling, areas are counted from the origin.

    `lines` name the points that trace the front; the legend says what area they span, and what each method adds to it.
    """
    on_it = {name for line in lines.values() for name in line}
    front = [points[name] for name in on_it]
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots()
    for i, (name, line) in enumerate(lines.items()):
        label = f"{name} (all lines: area {hypervolume(front):.3f})" if i == 0 else name
        axes.plot(
            *zip(*(points[place] for place in line)),
            marker=".",
            color="0.55",
            ls=("-", "--", ":")[i % 3],
            lw=1.2,
            label=label,
            zorder=1,
        )
    for i, name in enumerate(methods):
        label = f"{name.replace('_', ' ')} ({'on it' if name in on_it else f'{beyond(points[name], front):+.3f}'})"
        axes.scatter(*points[name], s=48, marker="osD^vP*X"[i % 8], color=f"C{i % 10}", label=label, zorder=2)
    axes.axhline(0, color="0.85", lw=0.6, zorder=0)
    axes.axvline(0, color="0.85", lw=0.6, zorder=0)
    axes.set_xlabel("identity, share of the ceiling (p10 over frames x coverage)")
    axes.set_ylabel("subject motion, share of the ceiling")
    axes.legend(title="area beyond the strength front", fontsize=8, title_fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    publish(path, lambda target: figure.savefig(target, dpi=120))
