"""Figures for JSON, which has no words for what could not be measured."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """The same with None for numbers that are not finite, which JSON has no words for."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
