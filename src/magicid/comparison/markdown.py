"""Tables as text, in Markdown, to be read in a terminal and pasted into a page."""

from collections.abc import Sequence

from magicid.comparison.figures import FIGURES
from magicid.comparison.table import Interval, Row

COLUMNS = (*FIGURES, "frechet", "seconds", "peak_memory_mb")
SHORT = ("face", "face_p10", "motion", "motion_top5", "prompt", "prompt_accuracy")
TITLES = {"face_p10": "face p10", "motion_top5": "motion top 5%", "prompt_accuracy": "prompt right",
          "image_similarity": "image", "frechet": "Frechet", "peak_memory_mb": "MiB"}  # fmt: skip


def markdown(rows: Sequence[Row], not_yet: Sequence[str] = (), columns: Sequence[str] = COLUMNS, ours: str = "MagicID") -> str:
    """Two tables: every figure with its interval and share of the ceiling; then `ours` minus each method."""
    titles = [TITLES.get(name, name) for name in columns]
    lines = [[row.method, *(_cell(name, row.figures[name], row.shares.get(name)) for name in columns)] for row in rows]
    lines += [[name, *["not yet"] * len(columns)] for name in not_yet]
    paired = [name for name in columns if name in FIGURES]
    beyond = any(row.beyond_front for row in rows)
    below = []
    for row in rows:
        differences = [signed(row.magicid_minus[name]) if row.magicid_minus else "" for name in paired]
        gain = [signed(row.beyond_front) if row.beyond_front else "on it"] if beyond else []
        below.append([row.method, *differences, *gain])
    area = ["the row's area beyond the strength front"] if beyond else []
    return f"{grid(['', *titles], lines)}\n\n{grid([f'{ours} minus', *titles[: len(paired)], *area], below)}"


def grid(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """One table."""
    return "\n".join([_line(titles), "|" + "---|" * len(titles), *map(_line, lines)])


def plain(figure: Interval, digits: int = 3) -> str:
    """A figure and its interval."""
    value, low, high = (f"{number:.{digits}f}" for number in figure)
    return f"{value} [{low}, {high}]"


def signed(figure: Interval, digits: int = 3) -> str:
    """The same of a difference."""
    value, low, high = (f"{number:+.{digits}f}" for number in figure)
    return f"{value} [{low}, {high}]"


def _cell(name: str, figure: Interval, share: float | None) -> str:
    return plain(figure, 0 if name in ("seconds", "peak_memory_mb") else 3) + ("" if share is None else f" {share:.0%}")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
