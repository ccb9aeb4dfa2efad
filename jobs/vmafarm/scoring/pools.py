"""What is made of the values of a feature on the frames of a clip."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

_Values = NDArray[np.float64]


def _harmonic_mean(values: _Values) -> float:
    """As libvmaf pools (libvmaf.c): of the values plus 1, less 1; NaN where one is -1 or less."""
    return float(1 / np.mean(1 / (values + 1)) - 1) if values.min() > -1 else math.nan


def _percentile(percent: float) -> Callable[[_Values], float]:
    """Linear interpolation between the closest ranks (Hyndman and Fan, 1996, type 7)."""
    return lambda values: float(np.percentile(values, percent, method="linear"))


_POOLED: Mapping[str, Callable[[_Values], float]] = {
    "mean": lambda values: float(values.mean()),
    "std": lambda values: float(values.std()),  # of the population: ddof = 0
    "min": lambda values: float(values.min()),
    "max": lambda values: float(values.max()),
    "harmonic_mean": _harmonic_mean,
    "median": _percentile(50),
    **{f"p{percent:02}": _percentile(percent) for percent in (1, 5, 10, 25, 75, 90, 95, 99)},
    "first": lambda values: float(values[0]),
    "last": lambda values: float(values[-1]),
}


def pool(values: _Values, pools: Iterable[str]) -> dict[str, float]:
    """Pool the finite values of a feature.

    Parameters
    ----------
    values
        float64 array of shape ``(frames,)``.
    pools
        Names of `vmafarm.schema.pools.POOLS`.

    Returns
    -------
    dict
        Pool to its value in float64; all NaN if no frame is finite. ``first`` and ``last`` are those of the
        finite frames.
    """
    finite = values[np.isfinite(values)]
    return {name: _POOLED[name](finite) if finite.size else math.nan for name in pools}


def pool_constant(value: float, pools: Iterable[str]) -> dict[str, float]:
    """Pool a value that is known of every frame, without any rounding; NaN: no frame has one."""
    return {name: 0.0 if name == "std" and not math.isnan(value) else value for name in pools}
