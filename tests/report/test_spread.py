"""Features that vary only by rounding are named in words, and take no part in plots and rankings."""

from __future__ import annotations

import math

import pytest

from vmafarm.report.rank import interval
from vmafarm.report.spread import Spread, read_spread


def spread(
    name: str, lowest: float | None, middle: float | None, highest: float | None, nan: int = 0
) -> Spread:
    """Of ten rows."""
    row = {
        "name": f"{name}_mean",
        "rows": 10,
        "nan": nan,
        "lowest": lowest,
        "middle": middle,
        "highest": highest,
    }
    return read_spread(row)


def of_rows(rows: int, value: float | None) -> Spread:
    """Motion of so many rows, all alike."""
    same = dict.fromkeys(("lowest", "middle", "highest"), value)
    return read_spread({"name": "motion_mean", "rows": rows, "nan": 0, **same})


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (spread("adm2", 0.999991, 1.000004, 1.000013), "equal to 1 within 1.3e-5"),
        (spread("vif_scale0", 0.99992, 0.99996, 1.0), "equal to 1 within 8e-5"),
        (spread("motion", 5.41, 5.42, 5.43), "equal to 5.42 within 1e-2"),
        (spread("motion", 0.0, 0.0, 0.0), "0 in all rows"),
        (spread("motion", -0.0, 0.0, 0.0), "0 in all rows"),
        (spread("psnr_y", 60.0, 60.0, 72.0), "60 to 72"),
        (spread("psnr_hvs", None, None, None, 10), "NaN in all rows"),
        (spread("adm2", 1.0, 1.0, 1.0, 3), "1 in all rows; NaN in 3 of 10 rows"),
    ],
)
def test_what_does_not_vary_is_said_in_words(found: Spread, words: str) -> None:
    assert not found.varies
    assert found.in_words() == words


@pytest.mark.parametrize(
    ("name", "highest", "varies"),
    [
        ("adm2", 1 + 0.99e-4, False),
        ("adm2", 1 + 1.01e-4, True),
        ("motion", 1.0254, False),
        ("motion", 1.0256, True),
    ],
)
def test_a_ten_thousandth_of_the_range_decides(name: str, highest: float, varies: bool) -> None:
    assert spread(name, 1.0, 1.0, highest).varies == varies


@pytest.mark.parametrize(
    ("found", "odd"),
    [
        (spread("motion", 2.0, 2.0, 2.0), True),
        (spread("cambi", None, None, None, 10), True),
        (spread("adm2", None, None, None, 10), True),
        (spread("adm2", 1.0, 1.0, 1.0), False),
        (spread("ciede2000", None, None, None, 10), False),
        (spread("motion", 1.0, 2.0, 3.0), False),
        (of_rows(1, 2.0), False),
        (of_rows(0, None), False),
    ],
)
def test_one_value_where_clips_should_differ_is_odd(found: Spread, odd: bool) -> None:
    assert found.is_odd == odd


def test_the_interval_of_a_rank_correlation_covers_its_true_value_as_often_as_it_says() -> None:
    """Pairs from a normal distribution, whose Spearman correlation is 6/pi asin(r/2)."""
    import numpy as np
    from scipy import stats

    chance = np.random.default_rng(3)
    true, inside, tries = 6 / math.pi * math.asin(0.6 / 2), 0, 400
    for _ in range(tries):
        x = chance.normal(size=60)
        y = 0.6 * x + 0.8 * chance.normal(size=60)
        found = interval(float(stats.spearmanr(x, y).statistic), 60)
        assert found is not None
        inside += found[0] <= true <= found[1]
    assert 0.92 <= inside / tries <= 0.98


def test_too_few_pairs_and_perfect_order_have_no_interval_that_is_not_a_number() -> None:
    assert interval(0.5, 3) is None
    assert interval(math.nan, 50) is None
    assert interval(-1.0, 50) == (-1.0, -1.0)
