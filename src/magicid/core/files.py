"""Files are published whole: written under a temporary name in the same folder, synced, renamed, the folder synced."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from magicid.core.errors import DataError, ResourceError, UsageError
from magicid.core.faults import reach
from magicid.core.pulse import pulse

TEMPORARY = ".tmp-"  # what is not whole yet is named so, and swept away when its run is opened
LONGEST_NAME = 255  # bytes, of a file on the usual file systems


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(*texts: str) -> str:
    """Eight hex digits that tell texts apart, for names."""
    return hashlib.sha256(os.fsencode("\0".join(texts))).hexdigest()[:8]


def digest(folder: Path, only: Collection[str] | None = None) -> str:
    """Of a folder of models: every file's name, size and bytes; as fast as the disk, at most about 2 GB a second.

    `only` are the places of the files that count, where the folder is shared with others; None: all that are whole.
    """
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = path.relative_to(folder)
        if (only is not None and place.as_posix() not in only) or any(map(is_temporary, place.parts)):
            continue
        found.update(os.fsencode(f"{place.as_posix()}:{path.stat().st_size}:"))
        with path.open("rb") as file:
            while block := file.read(2**24):
                pulse("digest", path.name)
                found.update(block)
    return found.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place; nothing half-written is ever seen.

    The temporary name keeps the suffix, since encoders choose the container by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        temporary.unlink()
        write(temporary)
        temporary.chmod(mode)  # safetensors renames a file of its own into this place, which its owner alone may read
        reach("written", path.name)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except Exception as error:
        if no_room(error):
            raise disk_full(path) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    reach("published", path.name)


def publish_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary folder beside `folder`, then put it in its place; what stood there goes last.

    What a kill has left of another call is brought back or swept away.
    """
    temporary, old = (folder.with_name(f"{TEMPORARY}{kind}-{text_digest(folder.name)}") for kind in ("new", "old"))
    if old.exists() and not folder.exists():
        old.replace(folder)
    for half in (temporary, old):
        shutil.rmtree(half, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        for path in [path for path in temporary.rglob("*") if path.is_file()]:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if folder.exists():
            folder.replace(old)
        temporary.replace(folder)
    except Exception as error:
        if no_room(error):
            raise disk_full(folder) from error
        raise
    finally:
        if old.exists() and not folder.exists():
            old.replace(folder)
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def publish_text(path: Path, text: str) -> None:
    """Publish a UTF-8 text file; of names of files that are no text, the odd bytes stand as escapes."""
    publish(path, lambda temporary: temporary.write_text(text, encoding="utf-8", errors="backslashreplace"))


def is_temporary(name: str) -> bool:
    """Whether a file or folder of that name is not whole yet.

    safetensors writes under `.tmp` and six letters of its own beside the name that it is given, and then renames.
    """
    return name.startswith(TEMPORARY) or re.fullmatch(r"\.tmp[A-Za-z0-9]{6}", name) is not None


def temporary_name(path: Path) -> Path:
    """Where a file or folder is made before it gets its name, which itself may have as many bytes as are allowed."""
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{text_digest(path.name)}{path.suffix[-20:]}")


def beside(path: Path, suffix: str) -> Path:
    """`path` with another suffix; a name that is too long for it is shortened, and told apart by its digest."""
    other = path.with_suffix(suffix)
    fits = len(os.fsencode(other.name)) <= LONGEST_NAME
    return other if fits else path.with_name(f"{path.stem[:40]}-{text_digest(path.name)}{suffix}")


def append_line(path: Path, line: str, sync: bool = False) -> None:
    """Add a line to a file, whole or not at all; `sync`: it is on the disk then.

    A kill may tear it: readers drop what has no newline.
    """
    data = (line + "\n").encode(errors="backslashreplace")
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            while data:
                data = data[file.write(data) :]
            if sync:
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):
                file.truncate(before)
            if no_room(error):
                raise disk_full(path) from error
            raise


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The object in a file; `DataError` with the remedy where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found
    except (OSError, ValueError) as error:
        raise damaged(path, error, remedy) from error


def again(stage: str) -> str:
    """What to do where a file of a stage, or of a part of one, is damaged: no part is done again alone."""
    return f"bring it back, or delete {stage.split('/')[0]}/ and rerun"


def damaged(path: Path, error: Exception, remedy: str) -> DataError:
    """What to say of a file that is not what was written."""
    return DataError(f"{path}: damaged ({' '.join(str(error).split())[:80]}); {remedy}.")


def nearest(path: Path) -> Path:
    """A path if it exists, else the nearest on the way to it that does."""
    return next(there for there in (path.absolute(), *path.absolute().parents) if there.exists())


def refuse_unwritable(folder: Path) -> None:
    """`UsageError` where a folder cannot be made, or nothing written into it."""
    there = nearest(folder)
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise UsageError(f"{folder}: {there} cannot be written; choose another --out.")


def refuse_picture(path: Path | None) -> None:
    """`UsageError` where a picture that is asked for cannot be written."""
    if path and (path.suffix != ".png" or not writable(path)):
        raise UsageError(f"{path}: a picture is written as a .png file, in a folder that can be written; choose another.")


def writable(path: Path) -> bool:
    """Whether a file can be put there; folders on the way to it may be missing."""
    there = nearest(path.parent)
    return not path.is_dir() and there.is_dir() and os.access(there, os.W_OK)


def no_room(error: BaseException) -> bool:
    """Whether a write failed since the disk, or a quota, is full.

    safetensors' own class is known by name; shutil's, of a copied folder, says all that failed.
    """
    codes, said = (errno.ENOSPC, errno.EDQUOT), str(error)
    if type(error).__name__ == "SafetensorError":
        return any(f"os error {code}" in said for code in codes)
    if isinstance(error, shutil.Error):
        return any(f"[Errno {code}]" in said for code in codes)
    return isinstance(error, OSError) and error.errno in codes


def disk_full(path: Path) -> ResourceError:
    """What to say when a write found no room."""
    free = shutil.disk_usage(nearest(path.parent)).free
    return ResourceError(f"{path}: the disk is full, {_size(free)} left; free some space and run the same command again.")


def require_room(folder: Path, needed: int, what: str) -> None:
    """`ResourceError` where the disk of `folder` has less than `needed` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{folder}: {what} need about {_size(needed)}, the disk has {_size(free)} left; free some space, or choose "
            "another --out."
        )


def _size(count: int) -> str:
    """Bytes as people say them: 1,234 bytes, 56 MB."""
    return f"{count:,} bytes" if count < 10**6 else f"{count / 10**6:,.0f} MB"
