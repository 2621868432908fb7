"""Settings from words, as a command line has them: tyro's reading, its box of errors made one line."""

import io
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from typing import Any, TypeVar

from magicid.core.errors import UsageError

T = TypeVar("T")


def parsed(
    kind: Callable[..., T], arguments: Sequence[str], prog: str, description: str | None = None, default: T | None = None
) -> T:
    """What tyro makes of the arguments of a command; `UsageError` where it cannot."""
    import tyro

    said = io.StringIO()
    try:
        with redirect_stderr(said):
            given: dict[str, Any] = {} if default is None else {"default": default}
            result: T = tyro.cli(kind, args=list(arguments), prog=prog, description=description, **given)
            return result
    except SystemExit as stop:
        if stop.code != 2:
            raise
        parts = re.split("[─-]{5,}", re.sub("[│╭╮╰╯]", " ", said.getvalue()))
        shown = [" ".join(part.split()) for part in parts[1:] if "full helptext" not in part and "Argument helptext" not in part]
        raise UsageError(f"{'; '.join(filter(None, shown)).rstrip('.')}; see {prog} --help.") from None
