"""Matplotlib figures as SVG inside a page: the page's own ink and fonts, no outer addresses, short numbers."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

INK = "#010203"  # becomes currentColor, so that plots follow the page into the dark
BLUE, ORANGE, GREEN, PURPLE, PINK, GREY = "#4a86d8", "#d98a2b", "#3fa27b", "#8a63c9", "#c2508f", "#9a9fb0"

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "magicid", "font.size": 9, "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "axes.labelpad": 6,
    "legend.frameon": False, "legend.handlelength": 1.4,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
}  # fmt: skip


@contextmanager
def page_figure(width: float, height: float) -> Iterator[Figure]:
    """A figure of this size in inches, drawn in the page's style inside the block."""
    with rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def embed(figure: Figure, key: str) -> Markup:
    """The plot to put into a page; its ids start with `key`. Call inside `page_figure`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = '<svg role="img"' + buffer.getvalue().partition("<svg")[2]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| (width|height)="[\d.]+pt"| id="\w+_\d+"', "", text)
    text = text.replace("xlink:href", "href").replace(INK, "currentColor")
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{key}-", text)
    text = re.sub(r'="[^"]*"', lambda value: re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", value[0]), text)
    return Markup(re.sub(r"\s*\n\s*", "\n", text))  # matplotlib escapes its labels
