"""report.html: one page that opens with no server and no network, made of whatever stages of a run are finished."""

import base64
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from magicid.core.files import publish_text
from magicid.core.records import Metric, Pair, Photo, Record, Score, Video
from magicid.core.run_dir import RunDir

R = TypeVar("R", bound=Record)

LABELS = {"base": "Base model", "finetuned": "Fine-tuned", "magicid": "MagicID", "ceiling": "Ceiling"}  # in this order
METHODS = ("base", "finetuned", "magicid")
PHRASES = {"magicid": "with MagicID", "finetuned": "after fine-tuning alone", "base": "from the base model"}
LOWER_IS_BETTER = ("frechet", "fid", "fvd")
PACKAGES = ("magicid", "torch", "diffusers", "transformers", "numpy", "av")
COLOURS = {
    "static": "#d98a2b", "finetuned": "#4a86d8", "base": "#9a9fb0", "magicid": "#c2508f",
    "identity": "#8a63c9", "dynamic": "#3fa27b",
}  # fmt: skip
INK = "#010203"  # becomes currentColor, so that plots follow the page into the dark
POINTS = 100  # of a curve; more steps are averaged

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "magicid", "font.size": 9, "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "axes.labelpad": 6,
    "legend.frameon": False,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One figure of the table."""

    metric: Metric
    best: bool  # of the methods, the ceiling not counted
    share: float | None  # of the ceiling


def write_report(run_dir: RunDir) -> Path:
    """Publish `report.html` and return its path."""
    settings = run_dir.settings()
    columns, rows = result_table(_records(run_dir, "evaluate", Metric))
    photos = [photo for photo in _records(run_dir, "prepare", Photo) if not photo.held_out]
    folder = Path(__file__).parent
    page = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")  # fmt: skip
    text = page.render(
        name=run_dir.root.resolve().name,
        sentence=summary(columns, rows, len(photos)),
        labels=LABELS, methods=METHODS, columns=columns, rows=rows,
        photos=[(p.source, _embedded(run_dir.root / p.image, "image/png")) for p in photos],
        clips=list(_clips(run_dir)),
        pixelated=_small(run_dir, photos),
        repository=_repository(run_dir, photos),
        curves=list(_curves(run_dir)),
        settings={key: value for key, value in settings.items() if not key.startswith("versions.")},
        versions=_versions(settings),
    )  # fmt: skip
    publish_text(run_dir.root / "report.html", text)
    return run_dir.root / "report.html"


def result_table(metrics: Sequence[Metric]) -> tuple[list[str], dict[str, list[Cell | None]]]:
    """Columns in the order they were measured; rows by method, the ceiling last."""
    found = {(m.method, m.name): m for m in metrics}
    columns = list(dict.fromkeys(m.name for m in metrics))
    order = [*METHODS, *(m.method for m in metrics if m.method != "ceiling"), "ceiling"]
    rows = [method for method in dict.fromkeys(order) if any(m.method == method for m in metrics)]

    def cell(method: str, name: str) -> Cell | None:
        metric, lower = found.get((method, name)), name.startswith(LOWER_IS_BETTER)
        if metric is None or not math.isfinite(metric.value):
            return None
        rivals = [m.value for m in metrics if m.name == name and m.method != "ceiling" and math.isfinite(m.value)]
        best = method != "ceiling" and len(rivals) > 1 and metric.value == (min if lower else max)(rivals)
        top = found.get(("ceiling", name))
        share = metric.value / top.value if top and top.value > 0 and method != "ceiling" and not lower else None
        return Cell(metric, best, share)

    return columns, {method: [cell(method, name) for name in columns] for method in rows}


def summary(columns: Sequence[str], rows: dict[str, list[Cell | None]], photos: int) -> str:
    """What came out, in one sentence."""
    parts = []
    for name in [name for name in ("identity", "motion", "prompt") if name in columns]:
        cells = {method: rows[method][columns.index(name)] for method in PHRASES if method in rows}
        values = [
            f"{cell.metric.value:.2f} {PHRASES[method]}"
            + (f" ({cell.share:.0%} of the ceiling)" if cell.share is not None and method == "magicid" else "")
            for method, cell in cells.items()
            if cell
        ]
        if values:
            parts.append(f"{name} is {', '.join(values)}")
    start = f"One person from {photos} photo{'' if photos == 1 else 's'}"
    return f"{start}: {'; '.join(parts)}." if parts else f"{start}; not evaluated yet."


def _records(run_dir: RunDir, stage: str, kind: type[R]) -> list[R]:
    return run_dir.read(stage, kind) if run_dir.finished(stage) else []


def _embedded(path: Path, kind: str) -> str:
    """A file as a data address, "" when it is gone."""
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}" if path.is_file() else ""


def _small(run_dir: RunDir, photos: Sequence[Photo]) -> bool:
    """Whether the model's pictures are so small that smoothing would blur them."""
    for path in (run_dir.root / photo.image for photo in photos):
        if path.is_file():
            with Image.open(path) as image:
                return min(image.size) < 256
    return False


def _clips(run_dir: RunDir) -> Iterator[tuple[str, int, dict[str, str]]]:
    """(prompt, seed, {method: data address}) of each evaluation prompt."""
    groups: dict[tuple[str, int], dict[str, str]] = {}
    for video in _records(run_dir, "generate", Video):
        if video.origin in METHODS:
            group = groups.setdefault((video.prompt, video.seed), {})
            group[video.origin] = _embedded(run_dir.root / video.file, "video/mp4")
    return ((prompt, seed, clips) for (prompt, seed), clips in groups.items())


def _repository(run_dir: RunDir, photos: Sequence[Photo]) -> Markup | None:
    """Motion and identity of every scored clip, and a line from each winner to its loser."""
    origins = {photo.id: "static" for photo in photos}
    origins |= {video.id: video.origin for video in _records(run_dir, "sample", Video)}
    spots: dict[str, tuple[float, float]] = {}
    for score in _records(run_dir, "score", Score):
        values = score.scaled or score.raw
        x, y = values.get("motion", math.nan), values.get("identity", math.nan)
        if math.isfinite(x) and math.isfinite(y) and score.video in origins:
            spots[score.video] = (x, y)
    if not spots:
        return None
    with rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.subplots()
        pairs = [p for p in _records(run_dir, "pair", Pair) if p.winner in spots and p.loser in spots]
        for kind in dict.fromkeys(pair.kind for pair in pairs):
            ends = [(*spots[p.winner], *spots[p.loser]) for p in pairs if p.kind == kind]
            x0, y0, x1, y1 = np.array(ends).T
            gap = np.full_like(x0, np.nan)  # lifts the pen between two pairs
            xs, ys = np.stack([x0, x1, gap], 1).ravel(), np.stack([y0, y1, gap], 1).ravel()
            axes.plot(xs, ys, lw=0.9, alpha=0.55, color=COLOURS.get(kind, INK), label=f"{kind} pair")
        for origin in dict.fromkeys(origins[video] for video in spots):
            x, y = np.array([spot for video, spot in spots.items() if origins[video] == origin]).T
            axes.plot(x, y, "o", ms=5, mew=0, alpha=0.85, color=COLOURS.get(origin, INK), label=origin)
        axes.set(xlabel="motion", ylabel="identity")
        axes.locator_params(nbins=6)
        figure.legend(loc="outside right upper")
        return _svg(figure, "repository")


def _curves(run_dir: RunDir) -> Iterator[tuple[str, Markup]]:
    """(title, plot) of what the two training stages logged."""
    finetuned = _log(run_dir.root / "finetune" / "log.jsonl")
    optimized = _log(run_dir.root / "optimize" / "log.jsonl")
    for key, title, lines, names in (
        ("finetune-loss", "Fine-tuning: loss", finetuned, ["loss"]),
        ("optimize-loss", "Optimization: loss", optimized, ["loss"]),
        ("drift", "Optimization: error less the reference's", optimized, ["win_drift", "lose_drift"]),
        ("accuracy", "Optimization: pairs in order, and gradient factor", optimized, ["accuracy", "gradient_factor"]),
    ):
        shown = [name for name in names if any(name in line for line in lines)]
        if not shown:
            continue
        with rc_context(_STYLE):
            figure = Figure(figsize=(4.8, 2.7), layout="constrained")
            axes = figure.subplots()
            for name, colour in zip(shown, ("#4a86d8", "#d98a2b"), strict=False):
                _curve(axes, [(line["step"], line[name]) for line in lines if name in line], name, colour)
            axes.set(xlabel="step")
            axes.locator_params(nbins=5)
            if len(shown) > 1:
                figure.legend(loc="outside upper right", ncols=2)
            yield title, _svg(figure, key)


def _log(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log."""
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def _curve(axes: Axes, points: Sequence[tuple[float, float]], name: str, colour: str) -> None:
    parts = np.array_split(np.array(points, np.float64), min(len(points), POINTS))
    x, y = np.array([part.mean(0) for part in parts]).T
    axes.plot(x, y, lw=1.2, marker="o" if len(x) == 1 else "", color=colour, label=name.replace("_", " "))


def _svg(figure: Figure, key: str) -> Markup:
    """The plot to put into a page: no outer addresses, ids that start with `key`, the page's own ink, short numbers."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = '<svg role="img"' + buffer.getvalue().partition("<svg")[2]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| (width|height)="[\d.]+pt"| id="\w+_\d+"', "", text)
    text = text.replace("xlink:href", "href").replace(INK, "currentColor")
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{key}-", text)
    text = re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", text)
    return Markup(re.sub(r"\s*\n\s*", "\n", text))  # matplotlib escapes its labels


def _versions(settings: dict[str, Any]) -> dict[str, str]:
    """Those frozen with the run, else those installed now."""
    frozen = {key.removeprefix("versions."): str(v) for key, v in settings.items() if key.startswith("versions.")}
    installed = {d.name.lower(): d.version for d in metadata.distributions() if d.name} if not frozen else {}
    return frozen or {name: installed[name] for name in PACKAGES if name in installed}
