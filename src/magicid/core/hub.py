"""Base models by their hub id ("owner/name"): only the files that are needed, resumed where a download broke off.

The client is huggingface_hub: `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` are its own. What is asked of the device and the
disk is known from the list of files, before the first of them is fetched. Pickles, pictures and variants of the same
weights stay where they are.
"""

import json
import re
import shutil
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from magicid.core.errors import DataError, Interrupted, ResourceError
from magicid.core.files import nearest
from magicid.core.pulse import waiting
from magicid.core.weights import PICKLES

KEPT = (".json", ".txt", ".model", ".jinja", ".safetensors")  # configurations, tokenizers and their templates, weights
VARIANT = re.compile(r"\.(fp16|bf16|fp32|non_ema)[.-]")  # the same weights once more


def is_id(name: str) -> bool:
    """Whether a name is a hub id rather than a folder."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and not Path(name).exists()


@lru_cache
def fetch(name: str, weights: bool = True, commit: str = "") -> Path:
    """The folder of a model of the hub, whole on this machine (without `weights`, its configurations and tokenizers).

    It is named by its commit; "" asks for the newest.
    `DataError` where it cannot be had; `ResourceError` where the disk has no room for what is missing.
    """
    import huggingface_hub as hub

    try:
        info = hub.HfApi().model_info(name, revision=commit or None, files_metadata=True)
    except Exception as error:
        return _offline(name, weights, commit, _known(error, name, commit))
    try:
        # without a commit by the branch, whose name then stands in the cache
        index = Path(hub.hf_hub_download(name, "model_index.json", revision=commit or None))
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        files = needed(list(sizes), _parts(index), weights)
        missing = [file for file in files if not isinstance(hub.try_to_load_from_cache(name, file, revision=info.sha), str)]
        if missing:
            _preflight(name, sum(sizes[file] for file in missing), Path(hub.constants.HF_HUB_CACHE), info)
        return Path(waiting(lambda: hub.snapshot_download(name, revision=info.sha, allow_patterns=files), "model"))
    except (ResourceError, Interrupted):
        raise
    except Exception as error:
        raise _known(error, name) from error


def read_of(folder: Path) -> list[str]:
    """The files of a fetched model that are read; other programs put theirs into the same folder."""
    there = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return needed(there, _parts(folder / "model_index.json"))


def needed(files: Sequence[str], parts: Sequence[str], weights: bool = True) -> list[str]:
    """Of a repository's files, those that a pipeline of these parts reads; `DataError` for a part that has pickles alone."""
    found = [file for file in files if file in ("model_index.json", "geometry.json")]
    for part in parts:
        own = [file for file in files if file.startswith(f"{part}/") and file.count("/") == 1]
        if any(file.endswith(PICKLES) for file in own) and not any(file.endswith(".safetensors") for file in own):
            raise DataError(f"{part}: its weights are pickles, which can run code; choose a repository with .safetensors.")
        kept = [file for file in own if file.endswith(KEPT) and not VARIANT.search(file)]
        found += [file for file in kept if weights or not file.endswith(".safetensors")]
    return found


def _parts(index: Path) -> list[str]:
    """The folders that a pipeline is made of."""
    try:
        named = dict(json.loads(index.read_text()))
    except (ValueError, TypeError) as error:
        raise DataError(f"{index}: not a model index ({error}); choose a repository in the diffusers layout.") from error
    return [name for name, kind in named.items() if isinstance(kind, list) and kind[0] is not None]


def _preflight(name: str, size: int, cache: Path, info: Any) -> None:
    """Before a download: the device, the disk, and what the model may be used for."""
    from magicid.core.device import check_device

    if said := check_device(size):
        _say(said)
    free = shutil.disk_usage(nearest(cache)).free
    if free < size:
        raise ResourceError(
            f"{name}: {size / 1e9:.1f} GB to download, the disk of {cache} has {free / 1e9:.1f} left; free some space, or set "
            "HF_HOME to a larger one."
        )
    card = info.card_data or {}
    licence = card.get("license_name") or card.get("license") or "not said"
    where = card.get("license_link") or f"https://huggingface.co/{name}"
    _say(f"{name}: {size / 1e9:.1f} GB to download. Licence: {licence} ({where}).")


def _offline(name: str, weights: bool, commit: str, error: DataError) -> Path:
    """What was fetched earlier, where the hub does not answer."""
    import huggingface_hub as hub

    try:
        index = Path(hub.hf_hub_download(name, "model_index.json", revision=commit or None, local_files_only=True))
        folder = index.parent
        there = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        whole = all((folder / part).is_dir() for part in _parts(index))
    except Exception:
        raise error from None
    if not whole or (weights and not any(file.endswith(".safetensors") for file in there)):
        raise DataError(f"{name}: only a part of it is in {folder}; go online once, and run the same command again.") from error
    return folder


def _known(error: Exception, name: str, commit: str = "") -> DataError:
    """What went wrong, in one line; the client's classes are known by name."""
    if isinstance(error, DataError):
        return DataError(f"{name}: {error}")
    kind, said = type(error).__name__, " ".join(str(error).split())[:160]
    no_index = "it has no model_index.json; choose a repository in the diffusers layout"
    remedies = {
        "GatedRepoError": f"its owner asks for a licence to be accepted; do so at https://huggingface.co/{name}, set HF_TOKEN",
        "RepositoryNotFoundError": "there is no such model on the hub, or it is private; check the name, or set HF_TOKEN",
        "RevisionNotFoundError": f"commit {commit}, on which the run was begun, is gone; make the run again in another --out",
        "EntryNotFoundError": no_index,
        "RemoteEntryNotFoundError": no_index,
        "OfflineModeIsEnabled": "it is not on this machine, and HF_HUB_OFFLINE is set; unset it, or name a folder",
    }
    return DataError(f"{name}: {remedies.get(kind, f'the hub does not answer ({kind}: {said}); go online, or name a folder')}.")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
