"""What every page has in common: templates filled in with care, and pictures inside the page."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def rendered(template: str, **values: Any) -> str:
    """A template of this folder filled in; what is not given is an error, and text is never markup."""
    return (
        Environment(
            loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        ).get_template(template).render(values)
    )  # fmt: skip


def embedded(content: bytes, kind: str) -> str:
    """A file's bytes as a data address; `kind` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
