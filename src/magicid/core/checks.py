"""What a setting may be: one line with the value, the rule and the remedy for one that cannot work; nan is nowhere in a range."""

import math
from collections.abc import Sequence

from magicid.core.errors import UsageError


def at_least(stage: str, least: float, /, **values: float) -> None:
    """`least` or more."""
    for name, value in values.items():
        if not value >= least:
            raise UsageError(f"{_name(stage, name)} {value}: must be at least {least}; {_set(stage, name)} to {least} or more.")


def within(stage: str, least: float, most: float, /, **values: float) -> None:
    """`least` to `most`, both included."""
    for name, value in values.items():
        if not least <= value <= most:
            raise UsageError(f"{_name(stage, name)} {value}: must be {least} to {most}; {_set(stage, name)} to such a number.")


def positive(stage: str, /, **values: float) -> None:
    """More than 0, and finite."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise UsageError(
                f"{_name(stage, name)} {value}: must be finite and more than 0; {_set(stage, name)} to such a number."
            )


def one_of(stage: str, choices: Sequence[str], /, **values: str) -> None:
    """One of the names there are."""
    for name, value in values.items():
        if value not in choices:
            known = f"{', '.join(choices[:-1])} or {choices[-1]}"
            raise UsageError(f"{_name(stage, name)} {value!r} is unknown; choose {known}.")


def _set(stage: str, name: str) -> str:
    return f"set --{_name(stage, name).replace('_', '-')}"


def _name(stage: str, name: str) -> str:
    """A setting as it is written; the common ones have no stage."""
    return f"{stage}.{name}" if stage else name
