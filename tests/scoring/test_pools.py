"""Each pool of a feature's frames is what numpy says, over the finite frames."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vmafarm.schema.pools import POOLS
from vmafarm.scoring.pools import pool

FRAMES = np.random.default_rng(1).normal(50, 20, 301)
FRAMES[[0, 7, 150, 300]] = [math.nan, math.inf, -math.inf, math.nan]
FINITE = FRAMES[np.isfinite(FRAMES)]

EXPECTED = {
    "mean": np.mean(FINITE),
    "std": np.sqrt(np.mean((FINITE - np.mean(FINITE)) ** 2)),
    "min": np.sort(FINITE)[0],
    "max": np.sort(FINITE)[-1],
    "median": np.median(FINITE),
    "p01": np.quantile(FINITE, 0.01),
    "p05": np.quantile(FINITE, 0.05),
    "p10": np.quantile(FINITE, 0.10),
    "p25": np.quantile(FINITE, 0.25),
    "p75": np.quantile(FINITE, 0.75),
    "p90": np.quantile(FINITE, 0.90),
    "p95": np.quantile(FINITE, 0.95),
    "p99": np.quantile(FINITE, 0.99),
    "first": FRAMES[1],
    "last": FRAMES[299],
}


@pytest.mark.parametrize("name", [name for name in POOLS if name != "harmonic_mean"])
def test_a_pool_is_what_numpy_says(name: str) -> None:
    assert pool(FRAMES, [name]) == {name: pytest.approx(EXPECTED[name], rel=1e-14)}


def test_the_harmonic_mean_is_the_one_of_libvmaf() -> None:
    values = np.array([0.0, math.nan, 1.0, 3.0])
    # 3 / (1/1 + 1/2 + 1/4) - 1
    assert pool(values, ["harmonic_mean"])["harmonic_mean"] == pytest.approx(3 / 1.75 - 1, rel=1e-14)
    assert math.isnan(pool(np.array([5.0, -1.0]), ["harmonic_mean"])["harmonic_mean"])


def test_percentiles_are_interpolated_linearly_between_the_closest_frames() -> None:
    assert pool(np.array([10.0, 20.0, 30.0, 40.0, 50.0]), ["p05", "p10", "median", "p99"]) == pytest.approx(
        {"p05": 12.0, "p10": 14.0, "median": 30.0, "p99": 49.6}, rel=1e-14
    )


def test_mean_and_std_are_those_of_the_finite_frames() -> None:
    values = np.array([97.5, math.nan, 99.0, math.inf, -math.inf, 98.25, math.nan])
    finite = [97.5, 99.0, 98.25]
    mean = sum(finite) / 3
    std = math.sqrt(sum((x - mean) ** 2 for x in finite) / 3)  # ddof = 0
    assert pool(values, ("mean", "std")) == pytest.approx({"mean": mean, "std": std}, rel=1e-15)


@pytest.mark.parametrize("values", [[math.nan, 3.25], [3.25]])
def test_one_finite_frame_is_every_pool_and_has_no_spread(values: list[float]) -> None:
    found = pool(np.array(values), POOLS)
    assert found.pop("std") == 0.0
    assert found == dict.fromkeys(found, 3.25)


@pytest.mark.parametrize("values", [[], [math.nan], [math.nan, math.inf]])
def test_without_a_finite_frame_no_pool_has_a_value(values: list[float]) -> None:
    found = pool(np.array(values, dtype=np.float64), POOLS)
    assert list(found) == list(POOLS)
    assert all(map(math.isnan, found.values()))
