"""Frechet distance between two sets of features, as FVD is computed, for features of any network."""

import math

import numpy as np
from numpy.typing import NDArray


def frechet_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """|mean difference|^2 + tr(A + B - 2 sqrt(AB)) of features (N, D) and (M, D); compare it with real against real.

    Fewer than two features have no spread: nan.
    """
    if min(len(a), len(b)) < 2:
        return math.nan
    mean = float(np.square(a.mean(0) - b.mean(0)).sum())
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    cross = np.linalg.eigvalsh(root @ cov_b @ root)
    return mean + float(np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(np.clip(cross, 0, None)).sum())
