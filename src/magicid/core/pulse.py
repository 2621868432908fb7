"""Where a run can be stopped: loops call `pulse` at each turn, in whatever thread they run (training: `beat` and `asked`).

A pulse tells the watchdog that work goes on, and raises `Interrupted` once SIGTERM or SIGINT has asked for an end. A second
SIGINT ends the process as usual, at once; what is published is whole at any instant.
"""

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TypeVar

from magicid.core.errors import Interrupted
from magicid.core.faults import reach

T = TypeVar("T")
_asked: int | None = None  # the signal that asked for an end; None: nobody listens, 0: none came
_hurried = False  # a second SIGINT came
_beat = time.monotonic()


def asked() -> int:
    """The signal that has asked for an end, or 0."""
    return _asked or 0


def hurried() -> bool:
    """Whether the end was asked for twice: nothing that is being made is waited for."""
    return _hurried


def beat() -> None:
    """Tell the watchdog that work goes on."""
    global _beat
    _beat = time.monotonic()


def pulse(point: str, item: str = "") -> None:
    """One turn of a loop."""
    beat()
    reach(point, item)
    if asked():
        raise interrupted("stopped; run the same command again to go on.")


def waiting(work: Callable[[], T], point: str) -> T:
    """What `work`, which has no turns of its own, returns or raises, with pulses while it is waited for."""
    outcome: Future[T] = Future()

    def target() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=target, name=point, daemon=True).start()
    while True:
        pulse(point)
        if wait([outcome], 0.5).done:
            return outcome.result()


def interrupted(said: str) -> Interrupted:
    """The error that ends a run on request, with the exit code of the signal that asked: 75, or 130 for SIGINT."""
    error = Interrupted(said)
    error.exit_code = 130 if asked() == signal.SIGINT else Interrupted.exit_code
    return error


@contextmanager
def listening() -> Iterator[None]:
    """Turn SIGTERM and the first SIGINT into a request that pulses see; only in the main thread, and only once."""
    global _asked, _hurried
    if _asked is not None:
        yield
        return
    old = {}
    _asked, _hurried = 0, False
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(ValueError):  # not the main thread
                old[number] = signal.signal(number, _ask)
        yield
    finally:
        _asked = None
        for number, handler in old.items():
            signal.signal(number, handler)


def _ask(number: int, frame: FrameType | None) -> None:
    global _asked, _hurried
    if number == signal.SIGINT and _asked:
        _hurried = True
        raise KeyboardInterrupt
    first, _asked = not _asked, number
    if first:
        with suppress(OSError):  # who read it may be gone
            os.write(2, b"\nmagicid: stopping once what is at hand is saved; Ctrl-C again stops at once.\n")


@contextmanager
def watched(seconds: float) -> Iterator[None]:
    """Where no pulse comes for so long, print the stack of every thread and end the process with 75; 0 watches nothing."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(min(seconds / 4, 10.0)):
            if time.monotonic() - _beat > seconds:
                faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr, all_threads=True)
                rule = "the stacks above say where. Run the same command again to go on"
                print(f"magicid: nothing moved for {seconds:g} s; {rule}.", file=sys.__stderr__, flush=True)
                os._exit(Interrupted.exit_code)

    beat()
    if seconds > 0:
        threading.Thread(target=watch, name="watchdog", daemon=True).start()
    try:
        yield
    finally:
        over.set()
