"""What makes a row's tests pass: a line of the package that, changed as said here, makes one of them fail.

Each module of tests has `GUARDS`, row -> Guard. `scripts/guards` changes each line in a copy of the package, where the row's
tests must then fail.
"""

from typing import NamedTuple


class Guard(NamedTuple):
    """Text that stands once in a file of the package, and what stands there with the guard taken out."""

    file: str  # under src/magicid
    text: str
    instead: str
