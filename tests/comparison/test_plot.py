"""The figure is a picture with every method in its legend."""

import math
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from magicid.comparison.plot import curves_figure, front_figure
from magicid.media.photo import read_photo


def test_it_shows_every_method_and_what_it_adds_to_the_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []
    original = Axes.legend

    def noted(self: Axes, *arguments: object, **named: object) -> object:
        labels.extend(self.get_legend_handles_labels()[1])
        return original(self, *arguments, **named)

    monkeypatch.setattr(Axes, "legend", noted)
    points = {"base": (0.0, 1.0), "half": (0.5, 0.5), "whole": (0.8, 0.2), "magicid": (0.8, 0.5), "magic_me": (0.2, 0.2)}
    lines = {"strength front": ["base", "half", "whole"], "steps": ["base", "whole"]}
    methods = {name: ((x, x - 0.1, x + 0.2), (y, y, y)) for name, (x, y) in points.items() if name not in ("half", "whole")}
    front_figure(points, lines, methods, tmp_path / "front.png")
    front, *rest = labels
    assert front == "strength front (all lines: area 0.480)"
    assert rest == ["steps", "base (on it)", "magicid (+0.120)", "magic me (+0.000)"]
    assert read_photo(tmp_path / "front.png").shape[1] > 600


def test_curves_have_a_panel_each_and_a_line_with_a_band_for_every_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, list[float], list[float]]] = []
    bands: list[int] = []
    original, filled = Axes.plot, Axes.fill_between

    def noted(self: Axes, x: list[float], y: list[float], **named: object) -> object:
        shown.append((str(named["label"]), list(x), list(y)))
        return original(self, x, y, **named)

    def band(self: Axes, x: list[float], low: list[float], high: list[float], **named: object) -> object:
        bands.append(len(x))
        return filled(self, x, low, high, **named)

    monkeypatch.setattr(Axes, "plot", noted)
    monkeypatch.setattr(Axes, "fill_between", band)
    rise, gap = [(0, (0.1, 0.0, 0.2)), (5, (0.3, 0.2, 0.4))], [(0, (math.nan,) * 3), (1, (0.5, 0.4, 0.6))]
    curves_figure({"motion": {"magicid": rise, "magic_me": gap}, "identity": {"magicid": rise}}, "steps", tmp_path / "steps.png")
    assert [label for label, _, _ in shown] == ["magicid", "magic me", "magicid"]
    assert shown[0][1:] == ([0, 5], [0.1, 0.3]) and bands == [2, 2, 2]
    assert read_photo(tmp_path / "steps.png").shape[1] > 1200
