"""Bring raw rewards to 1..10 within one repository (MagicID, section 3.3), so that no unit of measure outweighs another."""

from collections.abc import Mapping

import numpy as np


def calibrate(raw: Mapping[str, float], cap: float = float("inf")) -> dict[str, float]:
    """Linear from the least value (1) to the greatest (10), after capping; values that are not finite are left out.

    A repository whose values are all equal tells nothing apart: all get 1.
    """
    finite = {key: min(value, cap) for key, value in raw.items() if np.isfinite(value)}
    if not finite:
        return {}
    low, high = min(finite.values()), max(finite.values())
    span = high - low
    return {key: 1.0 + (9.0 * (value - low) / span if span > 0 else 0.0) for key, value in finite.items()}
