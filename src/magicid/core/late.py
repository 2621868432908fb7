"""What is made at its first use and once, whichever thread asks first: networks that a stage may never need."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Late(Generic[T]):
    """Calling it gives what `make` makes; an error of `make` comes out again at the next call."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._made, self._turn = make, list[T](), threading.Lock()

    def __call__(self) -> T:
        with self._turn:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]
