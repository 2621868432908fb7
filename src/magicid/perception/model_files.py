"""The networks of real faces as files: which are known, where they are looked for, and that they are what they claim.

A file counts by its sha256, whatever its name. Looked at are, in this order: the path that the user gave; the folders in
MAGICID_MODELS; folders `models` and `weights` beside the photos and up to two levels above them; the Hugging Face cache
and hub (`HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` are respected). Each sha256 is that of the Git LFS pointer in the
repository that publishes the file. Left out: archives and files behind a login.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import cv2

from magicid.core import tables
from magicid.core.errors import DataError, Interrupted, UsageError, out_of_memory
from magicid.core.files import sha256
from magicid.core.pulse import pulse, waiting

T = TypeVar("T")
FOLDERS = ("models", "weights")  # beside the photos, or up to two levels above them
_LARGEST = 300_000_000  # bytes of a file whose hash is worth knowing: the largest network here has 261 MB


@dataclass(frozen=True)
class ModelFile:
    """One published file; `hub` is the repository that holds it, "" where it is on no hub."""

    file: str
    sha256: str
    licence: str
    hub: str = ""
    limits: str = ""  # what the licence forbids, said once


MODELS: dict[str, tuple[ModelFile, ...]] = {  # the first file of each is the one that is fetched
    "yunet": (
        ModelFile(
            "face_detection_yunet_2023mar.onnx",
            "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            "MIT",
            hub="opencv/face_detection_yunet",
        ),
        ModelFile(
            "yunet_n_dynamic.onnx",  # of libfacedetection.train
            "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
            "Apache-2.0",
        ),
    ),
    "rfb": (
        ModelFile(
            "version-RFB-640.onnx",
            "8f4c659275977e7a3bfbfa339a9c769ad793df50f9c0baa8c14b11baa1646430",
            "MIT",
            hub="onnxmodelzoo/version-RFB-640",
        ),
    ),
    "sface": (
        ModelFile(
            "face_recognition_sface_2021dec.onnx",
            "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
            "Apache-2.0",
            hub="opencv/face_recognition_sface",
        ),
    ),
    "auraface": (
        ModelFile(
            "glintr100.onnx",
            "a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60",
            "Apache-2.0",
            hub="fal/AuraFace-v1",
        ),
    ),
    "insightface": (
        ModelFile(
            "models/buffalo_l/w600k_r50.onnx",
            "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
            "InsightFace's own",
            hub="public-data/insightface",
            limits="for non-commercial research only",
        ),
    ),
    "mobileface": (
        ModelFile(
            "mobileface_id_v2.onnx",  # made from MobileFace_Identification_V2-0000.params of becauseofAI/MobileFace
            "fe05b2e8108b44efa3f98dd927fad921b3817d4b255c0e5351034a4628dd165a",
            "MIT",
        ),
    ),
}


def model_name(asked: str) -> str:
    """The model that "sface", "sface:PATH" or the path of a known file stands for; `UsageError` for what is none of them."""
    name = asked.partition(":")[0]
    if name in MODELS or not Path(asked).is_file():
        tables.check(MODELS, "model", name)
        return name
    found = model_hash(Path(asked))
    for known, files in MODELS.items():
        if found in {file.sha256 for file in files}:
            return known
    raise UsageError(f"{asked}: no file that is known here; say which network it is, NAME:{asked} of {', '.join(MODELS)}.")


def find_model(asked: str, near: Path | None = None) -> Path:
    """The file of a model by its name, "NAME:PATH" or path; fetched where it is nowhere on this machine.

    `near` is the folder of the photos. `DataError` where there is none, or what came is not the file that was meant.
    """
    name = model_name(asked)
    given = asked.removeprefix(f"{name}:") if asked != name else ""
    if given and not Path(given).is_file():
        raise DataError(f"{given}: no such file; {name} is an onnx file. Name the one that holds it.")
    path = Path(given) if given else local_model(name, near) or _fetched(name, near)
    _say_limits(name)
    return path


def local_model(name: str, near: Path | None = None) -> Path | None:
    """The file of a model where it is on this machine already."""
    known = {file.sha256: file for file in MODELS[name]}
    around = (path for folder in _folders(near) for path in _files(folder) if model_hash(path) in known)
    cached = (path for file in known.values() if (path := _cached(file)) and model_hash(path) == file.sha256)
    return next(around, None) or next(cached, None)


def model_hash(path: Path) -> str:
    """The sha256 of a file, worked out once while it stays as it is; `DataError` where it cannot be read."""
    try:
        state = path.stat()
        return _hash(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; a network is read from it. Allow reading it, or name another.") from error


def known_hash(asked: str, near: Path | None = None) -> str:
    """The sha256 of a model's file, as `find_model` takes it; where it is not here, that of the one which is fetched."""
    name = model_name(asked)
    path = find_model(asked, near) if asked != name else local_model(name, near)
    return model_hash(path) if path else MODELS[name][0].sha256


def choose_model(names: Sequence[str], near: Path | None = None) -> str:
    """The first of them that is on this machine; where none is, the first, which is then fetched."""
    return next((name for name in names if local_model(name, near)), names[0])


def open_network(path: Path, what: str, read: Callable[[], T]) -> T:
    """What `read`, of OpenCV or onnxruntime, makes of a network's file; `DataError` where it is none."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; {what} is an onnx file. Name the one that holds it.")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # its warnings are about targets that nobody chose
    try:
        return read()
    except Exception as error:  # onnxruntime's classes have no common one
        if out_of_memory(error):
            raise
        raise DataError(f"{path}: not a network that can be read; {what} is an onnx file. Fetch it again.") from error
    finally:
        cv2.utils.logging.setLogLevel(level)


def _folders(near: Path | None) -> Iterator[Path]:
    """Those that exist, of MAGICID_MODELS and around the photos."""
    named = [Path(part) for part in os.environ.get("MAGICID_MODELS", "").split(os.pathsep) if part]
    levels = [near.resolve(), *near.resolve().parents[:2]] if near else []
    around = [level / name for level in levels for name in FOLDERS]
    yield from (folder for folder in [*named, *around] if os.access(folder, os.X_OK) and folder.is_dir())


def _files(folder: Path) -> list[Path]:
    """The files of a folder that may be networks; none where it cannot be read."""
    try:
        found = [path for path in sorted(folder.iterdir()) if path.is_file() and os.access(path, os.R_OK)]
    except OSError:
        return []
    return [path for path in found if path.stat().st_size <= _LARGEST]


@cache
def _hash(path: Path, size: int, changed_ns: int) -> str:
    pulse("digest", path.name)
    return sha256(path)


def _cached(file: ModelFile) -> Path | None:
    """The file in the Hugging Face cache, without asking the hub."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.hub, file.file) if file.hub else None
    return Path(found) if isinstance(found, str) else None


def _fetched(name: str, near: Path | None) -> Path:
    """The file from the hub, if its sha256 is the one that was pinned."""
    from huggingface_hub import hf_hub_download, logging

    file = next((file for file in MODELS[name] if file.hub), None)
    looked = f"not in {folders}" if (folders := ", ".join(map(str, _folders(near)))) else "not on this machine"
    remedy = f"Put {' or '.join(f.file for f in MODELS[name])} into a folder that MAGICID_MODELS names, or give {name}:PATH."
    if file is None:
        raise DataError(f"{name}: {looked}, and on no hub; it is known by its sha256. {remedy}")
    logging.set_verbosity_error()  # of each try; what comes of them is said in one line
    try:
        path = Path(waiting(partial(hf_hub_download, file.hub, file.file), "model"))
    except Interrupted:
        raise
    except Exception as error:  # the hub's client raises those of its HTTP library too
        why = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(f"{name}: {looked}, and {file.hub} cannot be read ({why}). {remedy}") from error
    if (found := model_hash(path)) != file.sha256:
        raise DataError(f"{path}: sha256 {found[:12]}, {name} has {file.sha256[:12]}; it must be the pinned file. {remedy}")
    return path


@cache
def _say_limits(name: str) -> None:
    """A licence that limits the use is said once."""
    for file in MODELS[name]:
        if file.limits:
            print(f"{name}: {file.limits} ({file.hub}, licence: {file.licence}).", file=sys.stderr)
