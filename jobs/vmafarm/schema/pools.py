"""The pools: what a table can have of a feature, and what is said of such a column."""

from __future__ import annotations

_PERCENTILES = (1, 5, 10, 25, 75, 90, 95, 99)

POOLS = {
    "mean": "mean over the finite frames",
    "std": "population standard deviation (ddof = 0)",
    "min": "lowest finite value",
    "max": "highest finite value",
    "harmonic_mean": "harmonic mean over the finite frames as libvmaf has it (of the values plus 1, less 1)",
    "median": "median over the finite frames",
    **{
        f"p{percent:02}": f"{percent}% percentile over the finite frames, by linear interpolation"
        for percent in _PERCENTILES
    },
    "first": "value of the first finite frame",
    "last": "value of the last finite frame",
}
"""Names of pools, and what they are.

All but ``std`` lie within the bounds of their feature, and are the value itself where all frames have it."""
