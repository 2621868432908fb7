"""One small world, and one folder of people's runs: what a study has made, the next does not make again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.comparison.conftest import weights, world

__all__ = ["weights", "world"]


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all studies of a session keep their runs."""
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="session")
def unchanged() -> Callable[[Path, Callable[[], Any]], None]:
    """Asserts that an action makes and touches no file of a folder but locks."""

    def files(folder: Path) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}

    def check(folder: Path, action: Callable[[], Any]) -> None:
        before = files(folder)
        action()
        assert files(folder) == before

    return check
