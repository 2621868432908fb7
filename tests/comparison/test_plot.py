"""The figure is a picture with every method in its legend."""

from pathlib import Path

import pytest
from matplotlib.axes import Axes

from magicid.comparison.plot import front_figure
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
    front_figure(points, lines, ["base", "magic_me", "magicid"], tmp_path / "front.png")
    front, *rest = labels
    assert front == "strength front (all lines: area 0.310)"
    assert rest == ["steps", "base (on it)", "magic me (+0.000)", "magicid (+0.090)"]
    assert read_photo(tmp_path / "front.png").shape[1] > 600
