"""MagicID: personalise a text-to-video model to one person from a few photos, so that the face stays and the motion stays."""

from typing import TYPE_CHECKING, Any

from magicid._version import __version__
from magicid.core.errors import DataError, Interrupted, MagicIDError, ResourceError, UsageError

if TYPE_CHECKING:
    from magicid.core.run import Common
    from magicid.core.run_dir import RunDir
    from magicid.pipeline import Pipeline, generate_clip, run_pipeline


__all__ = [
    "Common",
    "DataError",
    "Interrupted",
    "MagicIDError",
    "Pipeline",
    "ResourceError",
    "RunDir",
    "UsageError",
    "__version__",
    "generate_clip",
    "run_pipeline",
]
_LAZY = {
    "Common": "magicid.core.run",
    "Pipeline": "magicid.pipeline",
    "RunDir": "magicid.core.run_dir",
    "generate_clip": "magicid.pipeline",
    "run_pipeline": "magicid.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module 'magicid' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
