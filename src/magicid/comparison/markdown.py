"""A table of methods as text, in Markdown, to be read in a terminal and pasted into a page."""

from collections.abc import Sequence

from magicid.comparison.figures import FIGURES
from magicid.comparison.table import Interval, Row

COLUMNS = (*FIGURES, "frechet", "seconds", "peak_memory_mb")
TITLES = {"face_p10": "face p10", "motion_top5": "motion top 5%", "prompt_accuracy": "prompt right",
          "image_similarity": "image", "frechet": "Frechet", "peak_memory_mb": "MiB"}  # fmt: skip


def markdown(rows: Sequence[Row], not_yet: Sequence[str] = ()) -> str:
    """Two tables: every figure with its interval and share of the ceiling; then MagicID minus each method."""
    titles = [TITLES.get(name, name) for name in COLUMNS]
    lines = _head(["", *titles])
    for row in rows:
        lines.append(_line([row.method, *(_cell(name, row.figures[name], row.shares.get(name)) for name in COLUMNS)]))
    lines += [_line([name, *["not yet"] * len(COLUMNS)]) for name in not_yet]
    lines += ["", *_head(["MagicID minus", *titles[: len(FIGURES)], "the row's area beyond the strength front"])]
    for row in rows:
        differences = [_signed(row.magicid_minus[name]) if row.magicid_minus else "" for name in FIGURES]
        lines.append(_line([row.method, *differences, _signed(row.beyond_front) if row.beyond_front else "on it"]))
    return "\n".join(lines)


def _cell(name: str, figure: Interval, share: float | None) -> str:
    digits = 0 if name in ("seconds", "peak_memory_mb") else 3
    value, low, high = (f"{number:.{digits}f}" for number in figure)
    return f"{value} [{low}, {high}]" + ("" if share is None else f" {share:.0%}")


def _signed(figure: Interval) -> str:
    value, low, high = (f"{number:+.3f}" for number in figure)
    return f"{value} [{low}, {high}]"


def _head(titles: Sequence[str]) -> list[str]:
    return [_line(titles), "|" + "---|" * len(titles)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
