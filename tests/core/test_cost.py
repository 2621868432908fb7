"""Costs add up over interruptions, and a part that made no folder cost nothing."""

import time
from pathlib import Path

import numpy as np
import pytest

from magicid.core.cost import Cost, measured, read_cost
from magicid.core.errors import DataError


def test_costs_of_parts_add_up_and_the_higher_peak_stays() -> None:
    assert Cost(2.0, 100.0) + Cost(3.0, 50.0) == Cost(5.0, 100.0)
    assert sum([Cost(1.0, 1.0), Cost(1.0, 2.0)], Cost()) == Cost(2.0, 2.0)


@pytest.mark.parametrize("text", ["{torn", '{"seconds": 1, "joules": 2}', "[]"])
def test_a_damaged_file_of_costs_ends_no_work(tmp_path: Path, text: str) -> None:
    (tmp_path / "cost.json").write_text(text)
    with measured(tmp_path):
        pass
    assert (tmp_path / "cost.json").read_text() == text
    with pytest.raises(DataError, match=r"cost\.json: damaged \(.*\); delete it: what was spent before is then not counted\.$"):
        read_cost(tmp_path)


def test_an_interrupted_part_keeps_what_it_spent(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), measured(tmp_path):
        time.sleep(0.05)
        raise RuntimeError("killed")
    first = read_cost(tmp_path)
    assert 0.05 <= first.seconds < 1
    with measured(tmp_path):
        time.sleep(0.05)
    assert read_cost(tmp_path).seconds >= first.seconds + 0.05


def test_the_peak_is_of_the_block_not_of_what_came_before(tmp_path: Path) -> None:
    np.ones(2**27).sum()  # a GiB, given back
    with measured(tmp_path):
        kept = np.ones(2**24)
    small = read_cost(tmp_path).peak_memory_mb
    with measured(tmp_path):
        np.ones(2**26).sum()
    assert read_cost(tmp_path).peak_memory_mb >= small + 256 and len(kept) == 2**24


def test_a_part_that_began_nothing_leaves_nothing(tmp_path: Path) -> None:
    with measured(tmp_path / "pair"):
        pass
    assert not (tmp_path / "pair").exists() and read_cost(tmp_path / "pair") == Cost()
