"""A folder of checkpoints belongs to one training: another one in it would go on from what it never did."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magicid.core.errors import UsageError
from magicid.core.files import digest, publish_text


def hold(folder: Path, settings: Mapping[str, Any], start: Path | None) -> None:
    """Write down what is trained here, and on which weights it began; `UsageError` where it was something else."""
    path = folder / "settings.json"
    text = json.dumps({**settings, "start": digest(start) if start else None}, indent=1, sort_keys=True)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UsageError(f"{folder}: has begun with other settings; give the same ones, or another --work.")
    publish_text(path, text)
