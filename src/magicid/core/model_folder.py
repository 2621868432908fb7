"""What every family does to open a checkpoint in the diffusers layout: its stock pipeline, and the settings beside it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from magicid.core.errors import DataError
from magicid.core.interfaces import Geometry

P = TypeVar("P")


def open_pipeline(kind: type[P], path: str | Path, dtype: torch.dtype, model: str) -> P:
    """The stock pipeline of a folder, its weights in `dtype`; `DataError` where there is no checkpoint of `model`."""
    try:
        pipeline: P = kind.from_pretrained(str(path), dtype=dtype, use_safetensors=True)  # type: ignore[attr-defined]
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{path}: no {model} checkpoint in the diffusers layout ({reason}). Fetch it again.") from error
    return pipeline


def read_geometry(path: str | Path, default: Geometry, own: Sequence[str] = ()) -> tuple[Geometry, dict[str, Any]]:
    """The clip size in `geometry.json` beside `model_index.json`, else the family's; and the family's `own` fields there."""
    beside = Path(path) / "geometry.json"
    try:
        settings = json.loads(beside.read_text()) if beside.exists() else {}
        found = {key: settings.pop(key) for key in own if key in settings}
        return (Geometry(**settings) if settings else default), found
    except (OSError, ValueError, TypeError, AttributeError) as error:
        names = ", ".join(("a geometry's fields (frames, height, width, fps, guidance, guidance_until, guidance_after)", *own))
        raise DataError(f"{beside}: {error}; it holds {names}. Mend it, or delete it for the family's own.") from error
