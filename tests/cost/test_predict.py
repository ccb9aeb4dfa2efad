"""What a sample says of the other clips, and the intervals that follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from vmafarm.corpus.sample import stratified
from vmafarm.cost.predict import Total, predict


def names_and(sizes: np.ndarray) -> dict[str, int]:
    return {f"{i}.mp4": int(size) for i, size in enumerate(sizes)}


def foreseen(sizes: np.ndarray, seconds: np.ndarray, limit: int) -> tuple[Total, float]:
    """What a sample says of the others, and what they take."""
    corpus = names_and(sizes)
    took = dict(zip(corpus, seconds.tolist(), strict=True))
    names = list(corpus)
    measured = {names[at]: took[names[at]] for at in stratified(names, sizes.tolist(), limit)}
    missing = [name for name in names if name not in measured]
    return predict(measured, missing, corpus), math.fsum(took[name] for name in missing)


def lognormal(draw: np.random.Generator, count: int, spread: float = 0.6) -> np.ndarray:
    return np.exp(draw.normal(14, spread, count)).astype(np.int64)


Population = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def of_no_size(draw, count):
    return lognormal(draw, count), draw.normal(10, 1, count)


def by_size(draw, count):
    sizes = lognormal(draw, count)
    return sizes, sizes * 1e-6 * np.exp(draw.normal(0, 0.3, count))


def by_size_and_start(draw, count):
    sizes = lognormal(draw, count)
    return sizes, 3 + sizes * 1e-6 + draw.normal(0, 0.3, count)


def two_resolutions(draw, count):
    large = draw.random(count) < 0.3
    sizes = np.where(large, 4e6, 1e6) * np.exp(draw.normal(0, 0.4, count))
    return sizes.astype(np.int64), np.where(large, 40, 10) * np.exp(draw.normal(0, 0.1, count))


def of_one_size(draw, count):
    return np.full(count, 1000), np.where(draw.random(count) < 0.3, 30.0, 10.0)


def a_few_giants(draw, count):
    sizes = lognormal(draw, count, 1.2)
    return sizes, sizes * 1e-6


@pytest.mark.parametrize(
    "population", [of_no_size, by_size, by_size_and_start, two_resolutions, of_one_size, a_few_giants]
)
@pytest.mark.parametrize(
    ("limit", "count"),
    [
        (20, 1000),
        *(pytest.param(*sizes, marks=pytest.mark.full) for sizes in ((40, 1000), (100, 1000), (10, 300))),
    ],
)
def test_the_interval_holds_what_it_should_in_about_95_of_100_corpora(population: Population, limit, count):
    held, errors = 0, []
    for seed in range(200):
        found, true = foreseen(*population(np.random.default_rng(seed), count), limit)
        held += found.low <= true <= found.high
        errors.append(found.value / true - 1)
    assert held >= 0.91 * 200
    # Nor is it off to one side: its mean error is small against its spread.
    assert abs(np.mean(errors)) < 4 * np.std(errors) / math.sqrt(200)


def test_what_hardly_differs_has_a_narrow_interval_and_a_larger_sample_a_narrower_one():
    widths = {
        limit: np.median(
            [
                (found.high - found.low) / 2 / found.value
                for seed in range(50)
                for found, _ in [foreseen(*of_no_size(np.random.default_rng(seed), 2000), limit)]
            ]
        )
        for limit in (10, 40, 160)
    }
    assert widths[10] < 0.12
    assert widths[40] < widths[10] / 1.7
    assert widths[160] < widths[40] / 1.7


def test_clips_that_take_the_same_are_known_exactly():
    found, true = foreseen(np.arange(100), np.full(100, 2.5), 10)
    assert (found.low, found.value, found.high) == (pytest.approx(true),) * 3


def test_missing_clips_count_with_the_measured_ones_of_about_their_size():
    measured = dict.fromkeys("abcd", 1.0) | dict.fromkeys("wxyz", 9.0)
    sizes = dict.fromkeys("ab", 10) | dict.fromkeys("cd", 12) | dict.fromkeys("wxyz", 1000)
    small = {f"s{i}": 11 for i in range(6)}
    large = {f"l{i}": 1100 for i in range(2)}
    assert predict(measured, small, sizes | small) == Total(6.0, 6.0, 6.0)
    assert predict(measured, [*small, *large], sizes | small | large) == Total(24.0, 24.0, 24.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_sample_too_small_for_an_interval_has_none(count):
    found, _ = foreseen(np.arange(50), np.linspace(1, 2, 50), count)
    assert (found.low, found.high) == (None, None)
    assert 40 < found.value < 110


def test_nothing_missing_takes_nothing():
    for count in (1, 5):
        sizes = {str(i): i for i in range(count)}
        assert predict(dict.fromkeys(sizes, 2.0), [], sizes) == Total(0.0, 0.0, 0.0)


def test_the_lower_end_is_never_negative():
    measured = {"a": 0.0, "b": 0.0, "c": 0.0, "d": 100.0}
    found = predict(measured, ["e"], dict.fromkeys("abcde", 1))
    assert (found.low, found.value) == (0.0, 25.0)


def test_the_interval_is_the_same_every_time():
    draw = np.random.default_rng(7)
    assert foreseen(*by_size(draw, 300), 20) == foreseen(*by_size(np.random.default_rng(7), 300), 20)


def test_a_total_is_scaled_with_its_interval():
    assert Total(3.0, 2.0, 5.0).times(2) == Total(6.0, 4.0, 10.0)
    assert Total(3.0, 2.0, 4.0).times(1, plus=4.0) == Total(7.0, 6.0, 8.0)
    assert Total(3.0).times(2) == Total(6.0)
