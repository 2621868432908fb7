"""Work side by side gives what work one after the other gives."""

import threading

import pytest
import torch

from magicid.core import lanes
from magicid.core.lanes import side_by_side


@pytest.fixture(params=[1, 2, 4])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many threads for torch, and as many cores."""
    before = torch.get_num_threads()
    monkeypatch.setattr(lanes.os, "cpu_count", lambda: request.param)
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_and_the_threads_are_given_back(threads: int) -> None:
    assert list(side_by_side(lambda i: i * i, range(20))) == [i * i for i in range(20)]
    assert torch.get_num_threads() == threads


def test_lanes_share_the_threads_and_a_single_item_has_them_all(threads: int) -> None:
    def asked(_: int) -> tuple[int, bool]:
        return torch.get_num_threads(), threading.current_thread() is threading.main_thread()

    assert set(side_by_side(asked, range(20))) == ({(1, False)} if threads > 1 else {(1, True)})
    assert list(side_by_side(asked, [0])) == [(threads, True)]
    if threads == 4:
        assert set(side_by_side(asked, [0, 1])) == {(2, False)}


def test_the_last_item_of_an_interrupted_work_has_no_more_threads_than_before(threads: int) -> None:
    assert list(side_by_side(lambda _: torch.get_num_threads(), [0], count=20)) == [1]


def test_an_error_comes_out_in_its_place_and_starts_nothing_more(threads: int) -> None:
    begun: list[int] = []

    def work(i: int) -> int:
        begun.append(i)
        if i == 2:
            raise ValueError("item 2")
        return i

    results = side_by_side(work, range(100))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="item 2"):
        next(results)
    assert len(begun) < 20 and torch.get_num_threads() == threads


def test_results_are_not_made_far_ahead(threads: int) -> None:
    begun: list[int] = []
    results = side_by_side(begun.append, range(100))
    for _ in range(3):
        next(results)
    results.close()
    assert len(begun) <= 3 + threads + 1 and torch.get_num_threads() == threads


def test_a_product_has_the_same_bits_on_any_number_of_lanes(threads: int) -> None:
    matrices = [torch.randn(64, 64, generator=torch.Generator().manual_seed(i)) for i in range(8)]
    whole = [m @ m.T for m in matrices]
    assert all(torch.equal(a, b) for a, b in zip(side_by_side(lambda m: m @ m.T, matrices), whole, strict=True))
