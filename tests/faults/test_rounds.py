"""Killed inside a round or a validation, a run that is started again ends with the bytes of one that was left alone."""

import shutil

import pytest

from tests.faults.conftest import Bench
from tests.faults.test_kill import KILLED, slow

WORDS = ("--optimize.rounds", "2", "--optimize.validate", "2")
POINTS = [
    "round-2-001-0:entered",
    "round-2-001-0:reward",
    "manifest.jsonl:published",
    "4:step",
    "validation/snapshot-2-001:entered",
    slow("validation.json:published"),
    slow("step-00000003:checkpoint"),
    slow("*:item"),
]


@pytest.fixture(scope="module")
def played(whole: Bench, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A run of two rounds that nothing has interrupted."""
    bench = Bench(whole.photos, whole.base, tmp_path_factory.mktemp("played"))
    shutil.copytree(whole.run, bench.run, ignore=shutil.ignore_patterns("optimize", "generate", "evaluate"))
    (bench.run / "adapter.safetensors").unlink()
    code, said = bench.attempt(*WORDS)
    assert code == 0 and "is taken, by clips of 2 prompts" in said, said
    return bench


@pytest.mark.parametrize("point", POINTS)
def test_killed_inside_a_round_it_ends_alike(begun: Bench, played: Bench, point: str) -> None:
    code, said = begun.attempt(*WORDS, MAGICID_FAULT=f"optimize:{point}:kill")
    assert code == KILLED, said
    code, said = begun.attempt(*WORDS)
    assert code == 0, said
    assert begun.contents() == played.contents() and not list(begun.run.rglob(".tmp*"))
    assert not list((begun.run / "optimize").rglob("journal.jsonl"))
    assert "optimize/round-2/pair/manifest.jsonl" in begun.contents()
