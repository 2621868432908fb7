"""report.html: one page that opens with no server and no network, made of whatever stages of a run are finished."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from magicid.core.files import again, publish_text, read_json
from magicid.core.records import LABELS, STRANGERS, Metric, Pair, Photo, Record, Score, Video
from magicid.core.run_dir import RunDir
from magicid.core.versions import versions
from magicid.metrics import leakage
from magicid.metrics.dashboard import constants, dashboard, verdict
from magicid.metrics.page import embedded, rendered
from magicid.metrics.scatter import repository_plot
from magicid.metrics.video import MEANINGS
from magicid.training.log import Log

R = TypeVar("R", bound=Record)

UNRANKED = ("unjudged", "slope", "fall", "consistency", "top_flow", "scene_motion")  # figures of which more is not better
PHRASES = {"magicid": "with MagicID", "finetuned": "after fine-tuning alone", "base": "from the base model"}
TRAINING = {"finetune": "Fine-tuning", "distill": "Distillation", "optimize": "Preference optimisation"}


@dataclass(frozen=True)
class Cell:
    """One figure of the table."""

    metric: Metric
    best: bool  # of the methods


def write_report(run_dir: RunDir) -> Path:
    """Publish `report.html` and return its path."""
    settings = run_dir.settings()
    metrics = _records(run_dir, "evaluate", Metric)
    columns, rows = result_table([metric for metric in metrics if metric.method != leakage.ROW])
    given = _records(run_dir, "prepare", Photo)
    photos = [photo for photo in given if not photo.held_out]
    text = rendered(
        "report.html.j2",
        name=run_dir.root.resolve().name,
        sentence=summary(columns, rows, len(photos), len(given) - len(photos)),
        labels=LABELS, columns=columns, rows=rows, meanings=MEANINGS,
        made=Counter(video.origin for video in _records(run_dir, "generate", Video)),
        photos=[
            (p.source, [_embedded(run_dir.root / path, "image/png") for path in (p.image, p.crop) if path], p.intake)
            for p in photos
        ],
        clips=list(_clips(run_dir, LABELS)),
        leaked=leakage.sentence(metrics, settings),
        strangers=list(_clips(run_dir, STRANGERS.values())),
        titles=LABELS,
        stranger_titles={origin: LABELS[method] for method, origin in STRANGERS.items()},
        pixelated=_small(run_dir, photos),
        repository=repository_plot(
            [p.id for p in photos], _records(run_dir, "sample", Video), _records(run_dir, "score", Score),
            _records(run_dir, "pair", Pair), settings,
        ),
        training=[
            (title, list(dashboard(lines, stage)), f"{verdict(lines)} {constants(lines)}".strip(), _validation(run_dir, stage))
            for stage, title in TRAINING.items()
            if (lines := Log(run_dir.root / stage / "log.jsonl").read())
        ],
        settings=settings,
        versions=versions(),
    )  # fmt: skip
    publish_text(run_dir.root / "report.html", text)
    return run_dir.root / "report.html"


def result_table(metrics: Sequence[Metric]) -> tuple[list[str], dict[str, list[Cell | None]]]:
    """Columns in the order they were measured; rows by method."""
    found = {(m.method, m.name): m for m in metrics}
    columns = list(dict.fromkeys(m.name for m in metrics))
    order = dict.fromkeys([*LABELS, *(m.method for m in metrics)])
    rows = [method for method in order if any(m.method == method for m in metrics)]

    def cell(method: str, name: str) -> Cell | None:
        metric = found.get((method, name))
        if metric is None or not math.isfinite(metric.value):
            return None
        rivals = [m.value for m in metrics if m.name == name and math.isfinite(m.value)]
        return Cell(metric, len(rivals) > 1 and metric.value == max(rivals) and name not in UNRANKED)

    return columns, {method: [cell(method, name) for name in columns] for method in rows}


def summary(columns: Sequence[str], rows: dict[str, list[Cell | None]], photos: int, held_out: int) -> str:
    """What came out, in one sentence."""
    parts = []
    for name in [name for name in ("identity", "motion", "prompt") if name in columns]:
        cells = {method: rows[method][columns.index(name)] for method in PHRASES if method in rows}
        values = [f"{cell.metric.value:.3f} {PHRASES[method]}" for method, cell in cells.items() if cell]
        if values:
            parts.append(f"{name} is {', '.join(values)}")
    start = f"One person from {photos} photo{'' if photos == 1 else 's'}"
    return f"{start}: {'; '.join(parts)}; {judged_by(held_out)}." if parts else f"{start}; not evaluated yet."


def judged_by(held_out: int) -> str:
    """Which photos the identities of the report are likenesses to."""
    if held_out:
        return f"identity is judged by {held_out} held-out photo{'' if held_out == 1 else 's'}"
    return "identity is judged by the photos that were learnt, since held_out/ has none: it comes out too high"


def _validation(run_dir: RunDir, stage: str) -> dict[str, Any]:
    """The step that was taken ("best") and what was found of each that could be ("steps"); {} where none was chosen."""
    path = run_dir.root / stage / "validation.json"
    return read_json(path, again(stage)) if path.is_file() else {}


def _records(run_dir: RunDir, stage: str, kind: type[R]) -> list[R]:
    return run_dir.read(stage, kind) if run_dir.finished(stage) else []


def _embedded(path: Path, kind: str) -> str:
    """A file as a data address, "" when it is gone."""
    return embedded(path.read_bytes(), kind) if path.is_file() else ""


def _small(run_dir: RunDir, photos: Sequence[Photo]) -> bool:
    """Whether the model's pictures are so small that smoothing would blur them."""
    for path in (run_dir.root / photo.image for photo in photos):
        if path.is_file():
            with Image.open(path) as image:
                return min(image.size) < 256
    return False


def _clips(run_dir: RunDir, origins: Collection[str]) -> Iterator[tuple[str, int, dict[str, str]]]:
    """(prompt, seed, {origin: data address}) of each prompt and seed that has clips of these origins."""
    groups: dict[tuple[str, int], dict[str, str]] = {}
    for video in _records(run_dir, "generate", Video):
        if video.origin in origins:
            group = groups.setdefault((video.prompt, video.seed), {})
            group[video.origin] = _embedded(run_dir.root / video.file, "video/mp4")
    return ((prompt, seed, clips) for (prompt, seed), clips in groups.items())
