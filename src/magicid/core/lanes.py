"""Do independent pieces of work side by side on the CPU: many lanes of few threads beat one lane of many.

Small models spend much of a step between kernels and in kernels too small to share out; two clips on one core each are
drawn faster than one clip on two cores (benchmarks/repository.py).
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

from magicid.core.device import device
from magicid.core.pulse import hurried

A = TypeVar("A")
B = TypeVar("B")


def side_by_side(work: Callable[[A], B], items: Sequence[A], count: int | None = None) -> Iterator[B]:
    """`work` of each item, in the items' order; at most one result more than there are lanes is made ahead.

    As many lanes as CPU threads or items, which share the threads evenly. On a GPU, which one caller keeps busy, and
    for a single item, this is `map`. `work` must not depend on what other items do; its errors come out here. `count`
    is the number of items in the whole of the work, those done before an interruption included: what is left gets as
    many threads as it had got then, on which the last bits may depend.
    """
    threads = torch.get_num_threads()
    lanes = min(threads, count or len(items), os.cpu_count() or 1) if device().type == "cpu" else 1
    if lanes < 2:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(lanes, "lane", torch.set_num_threads, (threads // lanes,))
    waiting = iter(items)
    ahead: deque[Future[B]] = deque()
    try:
        torch.set_num_threads(1)  # what the caller computes between results must not crowd the lanes
        while True:
            ahead.extend(pool.submit(work, item) for item in islice(waiting, lanes + 1 - len(ahead)))
            if not ahead:
                return
            yield ahead.popleft().result()
    finally:
        pool.shutdown(not hurried(), cancel_futures=True)
        torch.set_num_threads(threads)
