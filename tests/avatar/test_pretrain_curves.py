"""What was logged is drawn, whichever parts were trained."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from magicid.avatar.pretrain_curves import draw_curves
from magicid.core.errors import UsageError
from magicid.training.log import Log


def test_every_log_has_its_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("autoencoder", "feedback", "judges/detector"):
        for step in range(3):
            Log(tmp_path / part / "log.jsonl").write(step, {"loss": 1.0 + step, "psnr": 20.0 + step})
    drawn: dict[str, list[float]] = {}

    def saved(figure: Figure, path: Path, **_how: float) -> None:
        drawn.update({axis.get_title(): list(axis.lines[0].get_ydata()) for axis in figure.axes if axis.lines})

    monkeypatch.setattr(Figure, "savefig", saved)
    draw_curves(tmp_path, tmp_path / "curves.png")
    losses = {"feedback: loss": [1.0, 2.0, 3.0], "detector: loss": [1.0, 2.0, 3.0]}
    assert drawn == {"autoencoder: psnr": [20.0, 21.0, 22.0]} | losses


def test_without_a_log_nothing_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no log of a training; curves are drawn of these"):
        draw_curves(tmp_path, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())
