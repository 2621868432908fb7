"""Models of the hub or of a folder through transformers' `from_pretrained`: safetensors only, no code of theirs is run.

HF_HOME, HF_TOKEN and HF_HUB_OFFLINE are respected, since the library reads them.
"""

from functools import partial
from pathlib import Path
from typing import Any

from magicid.core.errors import DataError, UsageError, out_of_memory
from magicid.core.pulse import waiting
from magicid.core.weights import check_folder


def load_pretrained(kind: Any, name: str, role: str, **options: Any) -> Any:
    """`kind.from_pretrained` of a hub id or folder; what goes wrong is one line that begins with `role`.

    `DataError` where there is no such model, `UsageError` where a package that it needs is not installed.
    """
    if Path(name).is_dir():
        check_folder(Path(name))
    try:
        return waiting(partial(kind.from_pretrained, name, trust_remote_code=False, **options), "model")
    except ImportError as error:
        raise UsageError(f"{role} {name!r}: needs a package more ({_first(error)}); pip install 'magicid[vlm]'.") from error
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RuntimeError) as error:
        if out_of_memory(error):
            raise
        where = "cannot be read" if Path(name).exists() else "not a folder here, and the hub did not give it"
        remedy = "Name a folder that holds it, or a hub id while online; later runs find it in HF_HOME"
        raise DataError(f"{role} {name!r}: {where} ({_first(error)}). {remedy}.") from error


def described(name: str, role: str) -> Any:
    """A model's configuration, which says at once whether the model is there; `DataError` also for a folder without weights.

    Of a model of the hub nothing more is fetched yet.
    """
    from transformers import AutoConfig

    found = load_pretrained(AutoConfig, name, role)
    if Path(name).is_dir() and not any(Path(name).glob("*.safetensors")):
        raise DataError(f"{role} {name!r}: a configuration without weights; put the model's .safetensors beside its config.json.")
    return found


def _first(error: BaseException) -> str:
    """What an error says first, shortened."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")[:160]
