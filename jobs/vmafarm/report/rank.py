"""Spearman's correlation with the score, and how sure it is."""

from __future__ import annotations

import math

_Z = 1.959964
"""0.975 quantile of the standard normal distribution."""


def interval(spearman: float, clips: int) -> tuple[float, float] | None:
    """95% interval of Spearman's rank correlation.

    By Fisher's transform with the standard error sqrt((1 + r^2 / 2) / (n - 3)) (D. G. Bonett, T. A. Wright:
    Sample size requirements for estimating Pearson, Kendall and Spearman correlations, Psychometrika 65,
    2000).

    Parameters
    ----------
    spearman
        From -1 to 1.
    clips
        Number of pairs.

    Returns
    -------
    tuple of float or None
        Lowest and highest; None: fewer than 4 pairs.
    """
    if clips < 4 or not math.isfinite(spearman):
        return None
    if abs(spearman) == 1:
        return spearman, spearman
    middle, error = math.atanh(spearman), _Z * math.sqrt((1 + spearman**2 / 2) / (clips - 3))
    return math.tanh(middle - error), math.tanh(middle + error)
