"""Faults on purpose, for tests: `MAGICID_FAULT=stage:item:point:kind` makes one happen where the code calls `reach`.

`optimize:3:step:kill` kills the process in step 3 of HPO; `*` stands for any stage or item. Kinds: kill, raise, nan,
enospc, memory, hang, and the signals term and int.
"""

import errno
import os
import signal
import time

stage = ""  # the part of a run that is at work; the pipeline says so


def reach(point: str, item: str = "") -> float:
    """Do the fault that is asked for here, if one is; 1.0, or nan where the fault is a number that is not finite."""
    asked = os.environ.get("MAGICID_FAULT")
    if not asked:
        return 1.0
    where, what, when, kind = asked.split(":")
    if when != point or where not in ("*", stage) or what not in ("*", item):
        return 1.0
    if kind == "raise":
        raise RuntimeError(f"a fault on purpose: {asked}")
    if kind == "enospc":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), item)
    if kind == "memory":
        raise MemoryError
    if kind == "hang":
        time.sleep(60)
    if number := {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}.get(kind):
        os.kill(os.getpid(), number)
    return float("nan") if kind == "nan" else 1.0
