"""A small run on a tiny random Wan model: once uninterrupted, and as often as tests want to interrupt it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from magicid.core import tables
from magicid.core.run import Run
from magicid.core.run_dir import RunDir
from magicid.pipeline import stored
from tests.families.tiny import tiny_materials
from tests.faults.attempts import SMALL, Attempt, attempt, contents


@dataclass(frozen=True)
class Bench:
    """Where tests of one run happen."""

    photos: Path
    base: Path
    folder: Path  # of the run: folder / "run"

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "run"

    def words(self, *more: str, command: str = "run") -> list[str]:
        """The command line."""
        models = ["--preset", "quick", "--base", str(self.base), "--judges", "centred"]
        return [command, str(self.photos), "--out", str(self.run), *models, *SMALL.split(), *more]

    def attempt(self, *more: str, command: str = "run", **environment: str) -> tuple[int, str]:
        """Try to bring the run to its end: exit code and what was printed."""
        return attempt(self.words(*more, command=command), self.folder / "said.txt", **environment)

    def start(self, *more: str, **environment: str) -> Attempt:
        """Start an attempt, to be waited for."""
        return Attempt(self.words(*more), self.folder / "said.txt", environment, report=False)

    def contents(self) -> dict[str, str]:
        """What must be the same whatever happened."""
        return contents(self.run)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A run that nothing has interrupted; its photos and base model serve all others."""
    folder = tmp_path_factory.mktemp("whole")
    bench = Bench(*tiny_materials(folder), folder)
    code, said = bench.attempt()
    assert code == 0, said
    return bench


@pytest.fixture
def bench(whole: Bench, tmp_path: Path) -> Bench:
    """A run that has not begun."""
    return Bench(whole.photos, whole.base, tmp_path)


@pytest.fixture
def begun(whole: Bench, bench: Bench) -> Bench:
    """The same, with `optimize` and what follows yet to be done."""
    shutil.copytree(whole.run, bench.run, ignore=shutil.ignore_patterns("optimize", "generate", "evaluate"))
    (bench.run / "adapter.safetensors").unlink()
    return bench


def stage_two(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run itself, opened in this process."""
    monkeypatch.setitem(tables.JUDGES, "centred", "tests.doubles:centred_judges")
    return Run(RunDir(bench.run), stored(bench.run)[0], Console(quiet=True))
