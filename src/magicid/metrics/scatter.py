"""The preference repository as a picture: clips by identity and motion, their fronts, the chosen pairs, the thresholds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from magicid.core.pareto import fronts
from magicid.core.records import Pair, Score, Video
from magicid.metrics.svg import GREEN, GREY, INK, ORANGE, PINK, PURPLE, embed, page_figure

KINDS = {"identity": PURPLE, "dynamic": GREEN}
MARGIN = 0.1  # of a reward, between an arrow's head and the middle of its winner
TOP = 10.0  # the scale's end; above it stand the thresholds


@dataclass(frozen=True)
class Group:
    """Clips that are drawn alike."""

    label: str
    colour: str
    marker: str
    videos: list[str]


def repository_plot(
    photos: Sequence[str], videos: Sequence[Video], scores: Sequence[Score], pairs: Sequence[Pair], settings: Mapping[str, Any]
) -> Markup | None:
    """Every clip with finite rewards; None where there is none. `photos` are the ids of the static videos."""
    spots = _spots(scores)
    groups = [Group("photo, standing still", ORANGE, "s", [photo for photo in photos if photo in spots]), *_groups(videos, spots)]
    groups = [group for group in groups if group.videos]
    if not groups:
        return None
    weak = _weak(scores, groups, settings)
    with page_figure(8.2, 5.6) as figure:
        axes = figure.subplots()
        _draw_fronts(axes, [spots[v.id] for v in videos if v.id in spots])
        for kind in dict.fromkeys(pair.kind for pair in pairs):
            own = [p for p in pairs if p.kind == kind and p.winner in spots and p.loser in spots]
            _draw_pairs(axes, [(spots[p.loser], spots[p.winner]) for p in own], f"{kind} pair ({len(own)})", KINDS.get(kind, INK))
        for group in groups:
            solid = [spots[v] for v in group.videos if v not in weak]
            hollow = [spots[v] for v in group.videos if v in weak]
            style: dict[str, Any] = {"marker": group.marker, "ls": "", "ms": 5, "mew": 0.9, "color": group.colour, "zorder": 3}
            axes.plot(*_columns(solid), label=f"{group.label} ({len(group.videos)})", **style)
            axes.plot(*_columns(hollow), mfc="none", **style)
        if weak:
            axes.plot(
                [],
                [],
                "o",
                mfc="none",
                mec=GREY,
                ms=5,
                mew=0.9,
                label="hollow: below the floor of the\nprompt reward, cannot win",
            )
        _draw_thresholds(axes, settings)
        axes.set(xlabel="motion reward", ylabel="identity reward", xticks=range(1, 11), yticks=range(1, 11))
        axes.set(xlim=(0.7, TOP + 0.3), ylim=(0.7, TOP + 1.9))
        for spine, (low, high) in {"left": (0.7, TOP), "bottom": (0.7, TOP)}.items():
            axes.spines[spine].set_bounds(low, high)
        figure.legend(loc="outside right center", labelspacing=0.8)
        return embed(figure, "repository")


def _spots(scores: Sequence[Score]) -> dict[str, tuple[float, float]]:
    """(motion, identity) of each clip that was not left out."""
    return {s.video: (s.scaled["motion"], s.scaled["identity"]) for s in scores if s.scaled}


def _groups(videos: Sequence[Video], spots: Mapping[str, tuple[float, float]]) -> list[Group]:
    """By origin, those of an adapter also by its strength: the stronger, the darker."""
    settings = sorted({(v.origin, v.strength) for v in videos}, key=lambda s: (s[0] == "base", s[0], -s[1]))
    maps = {"finetuned": colormaps["Blues"], "base": None}
    strengths = sorted({v.strength for v in videos if v.origin != "base"})
    groups = []
    for origin, strength in settings:
        shade = 0.3 + 0.7 * (strengths.index(strength) + 1) / len(strengths) if strength in strengths else 0.7
        cmap = maps.get(origin, colormaps["RdPu"])
        colour = GREY if cmap is None else to_hex(cmap(shade))
        label = "base model" if origin == "base" else f"{origin.replace('finetuned', 'customised')}, strength {strength:g}"
        groups.append(
            Group(label, colour, "o", [v.id for v in videos if (v.origin, v.strength) == (origin, strength) and v.id in spots])
        )
    return groups


def _weak(scores: Sequence[Score], groups: Sequence[Group], settings: Mapping[str, Any]) -> set[str]:
    """Clips that follow their prompt too badly to win."""
    floor = settings.get("pair.least_prompt", -math.inf) if "prompt" in settings.get("pair.rewards", ()) else -math.inf
    still = {v for group in groups if group.marker == "s" for v in group.videos}
    found = {s.video: s.scaled["prompt"] for s in scores if "prompt" in s.scaled and s.video not in still}
    floor = min(floor, max(found.values(), default=-math.inf))
    return {video for video, value in found.items() if value < floor}


def _draw_fronts(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """The first front bold; the last of the upper half dashed, within which the paper's losers lie; the others faint."""
    layers = fronts(np.array(points).reshape(-1, 2))
    half = (len(layers) + 1) // 2 - 1
    for i, layer in enumerate(layers):
        x, y = zip(*sorted((points[j] for j in layer), key=lambda p: (p[0], -p[1])))
        edge: dict[str, Any] = {"color": PINK, "drawstyle": "steps-pre", "zorder": 2}  # all that lies left and below is beaten
        if i == 0:
            axes.plot([0, *x, x[-1]], [y[0], *y, 0], lw=1.6, label="first front", **edge)
        elif i == half:
            label = f"front {i + 1} of {len(layers)}: last of\nthe upper half"
            axes.plot([0, *x, x[-1]], [y[0], *y, 0], lw=1.1, ls="--", label=label, **edge)
        else:
            axes.plot(x, y, color=GREY, lw=0.5, alpha=0.5, zorder=1)


def _draw_pairs(axes: Axes, ends: Sequence[tuple[tuple[float, float], tuple[float, float]]], label: str, colour: str) -> None:
    """Arrows from losers to winners."""
    if ends:
        start, end = np.array(ends).swapaxes(0, 1)
        way = end - start
        way *= 1 - MARGIN / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 2 * MARGIN)
        axes.quiver(
            *start.T, *way.T, angles="xy", scale_units="xy", scale=1, width=0.0018, headwidth=8, headlength=9,
            headaxislength=8, color=colour, alpha=0.55, zorder=2.5,
        )  # fmt: skip
        axes.plot([], [], color=colour, lw=1.4, label=f"{label}: loser → winner")


def _draw_thresholds(axes: Axes, settings: Mapping[str, Any]) -> None:
    """To scale, above the clips: how far apart in motion an identity pair may be, how far up and right a dynamic pair must go."""
    rewards, height = settings.get("pair.rewards", ("identity", "motion")), TOP + 1.2
    wide = settings.get("pair.identity_most_motion_gap")
    text: dict[str, Any] = {"fontsize": 7.5, "va": "center", "linespacing": 1.3}
    if wide is not None and "motion" in rewards:
        axes.plot([1, 1 + wide], [height] * 2, color=PURPLE, lw=1.1, marker="|", ms=7, clip_on=False)
        axes.text(1, height + 0.5, f"identity pairs: at most {wide:g} apart in motion", color=PURPLE, **text)
    up, right = settings.get("pair.dynamic_least_identity_gap"), settings.get("pair.dynamic_least_motion_gap")
    if up is not None and right is not None and "motion" in rewards and settings.get("pair.rule") == "dominance":
        corner = (6.0, TOP + 0.55)
        axes.add_patch(Rectangle(corner, right, up, fill=False, ec=GREEN, lw=0.8, ls=":"))
        axes.annotate("", (corner[0] + right, corner[1] + up), corner, arrowprops={"arrowstyle": "->", "color": GREEN, "lw": 1.1})
        axes.text(
            corner[0] + right + 0.2,
            corner[1] + up / 2,
            f"dynamic pairs: at least {up:g} up\nand {right:g} to the right",
            color=GREEN,
            **text,
        )


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
