"""A run's folder: settings frozen as they are used, one folder a stage, each finished when its manifest exists.

`settings.yaml` is written by the first command. A later command with other common settings, or other ones of a stage
that has begun (its folder exists), is refused and the difference shown; those of stages to come may still change.
While a stage works it keeps a journal of whole items; the manifest is written last, from the journal, and names the
sha256 of the earlier stages' manifests, so that a stage made from something else is noticed. Baselines have folders,
settings and manifests like stages; each stands in the place of `optimize`; `_ALSO` names the one that is made from another.
"""

import fcntl
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml

from magicid.core import tables
from magicid.core.errors import DataError, UsageError
from magicid.core.faults import reach
from magicid.core.files import again, append_line, damaged, is_temporary, publish_text, sha256
from magicid.core.records import Record

# How and whence, not what: memory may run out, and a digest tells models apart. Of "finetune.recompute" its name in the stage
FREE = ("offload", "base_commit", "recompute")
_ALSO = {"dreambooth_lora_early": ["dreambooth_lora"]}  # of a baseline: others that it is made from
R = TypeVar("R", bound=Record)
T = TypeVar("T")


class RunDir:
    """One run directory; opening it takes a lock that dies with the process."""

    def __init__(self, root: Path, create: bool = True) -> None:
        self.root = root
        if not create:
            self.settings()  # where nothing is, nothing is left behind
        try:
            if create:
                root.mkdir(parents=True, exist_ok=True)
                self._refuse_foreign()
            self._lock = (root / ".lock").open("a+")
        except OSError as error:
            raise UsageError(f"{root}: {error.strerror}; name a folder that can be written.") from error
        if not self._take():
            self._lock.seek(0)
            raise UsageError(f"{root}: in use by {self._lock.read().strip()}; wait for it or choose another.")
        self._lock.truncate(0)
        self._lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._lock.flush()
        self._sweep()

    def _refuse_foreign(self) -> None:
        """`UsageError` where a new run's folder holds what is not a run's."""
        own = {".lock", "settings.yaml", *_parts()}
        others = sorted(path.name for path in self.root.iterdir() if path.name not in own and not is_temporary(path.name))
        if others and not (self.root / "settings.yaml").exists():
            raise UsageError(
                f"{self.root}: holds {others[0]} and is not a run; a run needs a folder of its own. Choose another --out."
            )

    def _take(self) -> bool:
        """Take the lock; asking who holds a run (`magicid runs`) holds it for an instant, so a second try is worth it."""
        for pause in (0.05, 0.2, 0.0):
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            time.sleep(pause)
        return False

    def _sweep(self) -> None:
        """Remove what earlier processes left half-written, and journals of finished stages; nobody else is at work here."""
        for path in [path for path in self.root.rglob(".tmp*") if is_temporary(path.name)]:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        for manifest in self.root.rglob("manifest.jsonl"):
            manifest.with_name("journal.jsonl").unlink(missing_ok=True)

    def close(self) -> None:
        """Free the lock."""
        self._lock.close()

    # settings

    def freeze(self, settings: dict[str, Any], defaults: Mapping[str, Any] | None = None) -> None:
        """Write the settings at first; afterwards refuse others, but for those of stages that have not begun.

        Compared are those of stages whose folder exists, and once there is one the common settings (no dot in the name;
        not `version`, which stays the first command's). What else differs replaces what the file holds; settings of
        baselines that are not asked for stay. What the file lacks, since it is older than the setting, was at its default.
        """
        path = self.root / "settings.yaml"
        if not path.exists():
            publish_text(path, self.written(settings))
            return
        frozen = dict(defaults or {}) | self.settings()
        kept = {key: value for key, value in frozen.items() if key.split(".")[0] in tables.BASELINES and key not in settings}
        settings = settings | {key: frozen[key] for key in ("version",) if key in frozen} | kept
        begun = [name for name in _parts() if self.begun(name)]
        differing = [
            key
            for key in sorted(frozen.keys() | settings.keys())
            if key.split(".")[-1] not in FREE
            and frozen.get(key) != settings.get(key)
            and (begun if "." not in key else key.split(".")[0] in begun)
        ]
        if differing:
            raise UsageError(self._refusal(frozen, settings, differing))
        if settings != self.settings():
            publish_text(path, self.written(settings))

    def _refusal(self, frozen: dict[str, Any], settings: dict[str, Any], differing: list[str]) -> str:
        said = "; ".join(f"{key}: {frozen.get(key, 'absent')} there, {settings.get(key, 'absent')} asked" for key in differing)
        parts = {key.split(".")[0] for key in differing}
        remedy = "choose another --out"
        if all(part in _parts() for part in parts):
            again = [name for name in _parts() if any(name in _made_from(part) for part in parts)]
            remedy += ", fork it (magicid fork --help)" if parts <= set(tables.STAGES) else ""
            remedy += f", or delete {_folders(filter(self.begun, again))} to do them again"
        return f"{self.root} was made with other settings ({said}); {remedy}."

    def settings(self) -> dict[str, Any]:
        """The frozen settings, flat: "optimize.steps" -> 300."""
        return self.read_settings(self.root)

    @staticmethod
    def written(settings: Mapping[str, Any]) -> str:
        """Settings as the file holds them."""
        return str(yaml.safe_dump(dict(settings), sort_keys=False))

    @staticmethod
    def read_settings(root: Path) -> dict[str, Any]:
        """The settings of a run that is not opened."""
        path = root / "settings.yaml"
        if not path.exists():
            raise UsageError(f"{root}: not a run directory (no settings.yaml); make one with: magicid run PHOTOS --out DIR.")
        try:
            loaded: dict[str, Any] = deepcopy(_parsed(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not the settings written here; bring them back, or choose another --out.") from error
        return loaded

    # stages

    def stage(self, name: str) -> Path:
        """The folder of a stage, or of a part of one ("optimize/round-2/sample"), made if need be."""
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def begun(self, name: str) -> bool:
        """Whether the stage's folder exists."""
        return (self.root / name).is_dir()

    def manifest(self, name: str) -> Path:
        """Where the stage's manifest is or will be."""
        return self.root / name / "manifest.jsonl"

    def finished(self, name: str) -> bool:
        """Whether the stage is done."""
        return self.manifest(name).exists()

    def publish(self, name: str, records: Sequence[Record]) -> None:
        """Write the manifest: a header, then one record a line. The stage is finished with it."""
        lines = [json.dumps({"stage": name, "count": len(records), "inputs": self._inputs(name)})]
        lines += [json.dumps(record.to_json()) for record in records]
        publish_text(self.manifest(name), "\n".join(lines) + "\n")
        (self.root / name / "journal.jsonl").unlink(missing_ok=True)

    def _inputs(self, name: str) -> dict[str, str]:
        """sha256 of the manifests of the stages before `name`, or before the stage that it is a part of."""
        return {earlier: sha256(self.manifest(earlier)) for earlier in _before(name) if self.finished(earlier)}

    def refuse_stale(self) -> None:
        """`DataError` when a stage was made from other manifests than those there now, or stands after an unfinished one."""
        current: dict[str, str] = {}
        for name in _parts():
            missing = [earlier for earlier in _before(name) if earlier not in current]
            if self.finished(name):
                recorded = self._manifest(name)[0]["inputs"]
                other = missing or [earlier for earlier in _before(name) if recorded.get(earlier) != current[earlier]]
                current[name] = sha256(self.manifest(name))
            else:
                other = missing if self.begun(name) else []
            if other:
                stale = _folders(filter(self.begun, _made_from(name)))
                how = "without" if self.finished(name) and other[0] not in recorded else "from another"
                raise DataError(f"{self.root}: {name} was made {how} {other[0]}; delete {stale} and run again.")

    def read(self, name: str, kind: type[R]) -> list[R]:
        """The records of a finished stage."""
        path = self.manifest(name)
        if not path.exists():
            raise UsageError(f"{path} does not exist: the stage {name!r} is not finished; run it first.")
        header, lines = self._manifest(name)
        try:
            if header["count"] != len(lines):
                raise ValueError(f"{len(lines)} records, its header says {header['count']}")
            return [kind.from_json(line) for line in lines]
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise damaged(path, error, again(name)) from error

    def _manifest(self, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """A finished stage's header and records."""
        path = self.manifest(name)
        try:
            header, *lines = (dict(json.loads(line)) for line in path.read_text().splitlines())
            return {"count": header["count"], "inputs": dict(header["inputs"])}, lines
        except (ValueError, TypeError, KeyError) as error:
            raise damaged(path, error, again(name)) from error


def filled(kind: type[T], settings: Mapping[str, Any], prefix: str = "") -> T:
    """A dataclass of settings from what stands under its prefix; lists become tuples again, what is not there its default.

    `DataError` for text in the place of a number.
    """
    types = get_type_hints(kind)
    names = [field.name for field in fields(kind) if prefix + field.name in settings]  # type: ignore[arg-type]
    values = {name: settings[prefix + name] for name in names}
    for name, value in values.items():
        if isinstance(value, str) and {int, float} & {types[name], *get_args(types[name])}:
            rule = "must be a number, which YAML does not take 2e-5 for"
            raise DataError(f"settings.yaml: {prefix}{name} is the text {value!r}; {rule}. Write 2.0e-5.")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@lru_cache(maxsize=8)
def _parsed(text: str) -> dict[str, Any]:
    """The settings in a file's text; a run asks for them some twenty times, and PyYAML takes tens of milliseconds."""
    return dict(yaml.safe_load(text))


def _parts() -> list[str]:
    """Everything that has a manifest: the stages in order, then the baselines."""
    return [*tables.STAGES, *tables.BASELINES]


def _before(name: str) -> list[str]:
    """What a stage or a part of one, or a baseline, is made from."""
    names, stage = list(tables.STAGES), name.split("/")[0]
    return names[: names.index(stage if stage in names else "optimize")] + _ALSO.get(stage, [])


def _made_from(name: str) -> list[str]:
    """The part and all that are made from it."""
    return [part for part in _parts() if part == name or name in _before(part)]


def _folders(names: Iterable[str]) -> str:
    return ", ".join(f"{name}/" for name in names)


class Journal:
    """The items that an unfinished stage has made, one a line; an item counts only while its file's sha256 holds."""

    def __init__(self, run: RunDir, stage: str) -> None:
        self._root = run.root
        self._path = run.stage(stage) / "journal.jsonl"
        self._items: dict[str, dict[str, Any]] = {}
        self._turn = threading.Lock()
        if self._path.exists():
            *whole, torn = self._path.read_text().split("\n")
            try:
                self._items = {item["id"]: item for item in map(json.loads, whole)}
            except (ValueError, TypeError, KeyError) as error:
                raise damaged(self._path, error, "delete it, and its clips are made again") from error
            if torn:
                publish_text(self._path, "".join(line + "\n" for line in whole))

    def get(self, kind: type[R], key: str, file: str | None = None) -> R | None:
        """The item's record, if it was made and `file` (a path in the run, its hash in the record) is still whole."""
        item = self._items.get(key)
        if item is None or (file and (not (self._root / file).exists() or sha256(self._root / file) != item["sha256"])):
            return None
        return kind.from_json(item)

    def add(self, record: Record, key: str) -> None:
        """Append an item, from any thread; its files must be in place already."""
        item = {"id": key} | record.to_json()
        reach("journal", key)
        with self._turn:
            append_line(self._path, json.dumps(item), sync=True)
            self._items[key] = item
        reach("entered", key)
