"""What every family does to open a checkpoint in the diffusers layout: its stock pipeline, and the settings beside it."""

import importlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import torch

from magicid.core.errors import DataError
from magicid.core.interfaces import Geometry

P = TypeVar("P")
FRAMEWORKS = ("diffusers", "transformers")
_SHAPES_ALONE: ContextVar[bool] = ContextVar("shapes alone", default=False)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Inside the block, checkpoints are opened as their configurations describe them: tensors without data, on `meta`.

    The folder needs no weights. Families made so know every shape, and compute nothing.
    """
    token = _SHAPES_ALONE.set(True)
    try:
        yield
    finally:
        _SHAPES_ALONE.reset(token)


def open_pipeline(kind: type[P], path: str | Path, dtype: torch.dtype, model: str) -> P:
    """The stock pipeline of a folder, its weights in `dtype`; `DataError` where there is no checkpoint of `model`.

    The autoencoder stays in fp32, whatever the base: it is small, it works once a clip, and its errors are learnt.
    """
    dtypes = {"default": dtype, "vae": torch.float32}
    try:
        given = _hollow(Path(path), dtypes) if _SHAPES_ALONE.get() else {}
        pipeline: P = kind.from_pretrained(str(path), dtype=dtypes, use_safetensors=True, **given)  # type: ignore[attr-defined]
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(f"{path}: no {model} checkpoint in the diffusers layout ({reason}). Fetch it again.") from error
    return pipeline


def _hollow(path: Path, dtypes: dict[str, torch.dtype]) -> dict[str, Any]:
    """The parts of a checkpoint that have weights, without them."""
    named = json.loads((path / "model_index.json").read_text())
    found = {}
    for name, entry in named.items():
        if isinstance(entry, list) and entry[0] in FRAMEWORKS and (path / name / "config.json").exists():
            kind = getattr(importlib.import_module(entry[0]), entry[1])
            with torch.device("meta"):
                if entry[0] == "diffusers":
                    part = kind.from_config(kind.load_config(path / name))
                else:
                    part = kind(kind.config_class.from_pretrained(path / name))
            found[name] = torch.nn.Module.to(part, dtypes.get(name, dtypes["default"]))
    return found


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
