"""A log is whole lines, and looking at it leaves no trace."""

from pathlib import Path

import pytest

from magicid.core.errors import DataError
from magicid.training.log import Log


def test_a_torn_last_line_is_not_read(tmp_path: Path) -> None:
    log = Log(tmp_path / "stage" / "log.jsonl")
    for step in range(3):
        log.write(step, {"loss": 0.5})
    with log.path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert log.read() == [{"step": step, "loss": 0.5} for step in range(3)]


@pytest.mark.parametrize("line", ["{", "[]", '{"loss": 0.5}'])
def test_a_damaged_line_is_an_error_in_one_line(tmp_path: Path, line: str) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.path.write_text(f'{line}\n{{"step": 1, "loss": 0.5}}\n')
    with pytest.raises(
        DataError, match=r"log\.jsonl: damaged .*; delete it, and run the same command again: checkpoints stay\.$"
    ):
        log.read()


def test_reading_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    assert Log(tmp_path / "stage" / "log.jsonl").read() == [] and not list(tmp_path.iterdir())
