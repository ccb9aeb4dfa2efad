"""The sample that is stratified by size, and the intervals that follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmafarm.corpus.sample import Total, predict, stratified

corpora = st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(0, 2**40), max_size=60)


@given(corpora, st.integers(0, 70), st.randoms())
def test_the_sample_depends_on_names_and_sizes_alone_and_takes_each_clip_once(corpus, limit, draw):
    names = list(corpus)
    chosen = stratified(names, list(corpus.values()), limit)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(limit, len(names))
    shuffled = draw.sample(names, len(names))
    again = stratified(shuffled, [corpus[name] for name in shuffled], limit)
    assert {shuffled[at] for at in again} == {names[at] for at in chosen}


@given(corpora, st.integers(1, 30))
def test_each_stretch_of_the_clips_in_order_of_size_gives_one(corpus, limit):
    names = list(corpus)
    chosen = {names[at] for at in stratified(names, list(corpus.values()), limit)}
    order = sorted(names, key=lambda name: (corpus[name], name.encode()))
    ranks = [rank for rank, name in enumerate(order) if name in chosen]
    for i, rank in enumerate(ranks):
        assert i * len(order) // len(ranks) <= rank < (i + 1) * len(order) // len(ranks)


@given(corpora, st.integers(1, 15))
def test_a_sample_of_twice_as_many_contains_the_smaller_one(corpus, limit):
    names, sizes = list(corpus), list(corpus.values())
    if len(names) >= 2 * limit:
        assert set(stratified(names, sizes, limit)) <= set(stratified(names, sizes, 2 * limit))


def test_a_few_large_clips_among_many_small_ones_are_not_missed():
    sizes = [1000] * 90 + [1_000_000] * 10
    chosen = stratified([f"{i}.mp4" for i in range(100)], sizes, 10)
    assert sum(at >= 90 for at in chosen) == 1


def test_the_sample_is_the_same_on_every_machine():
    names = [f"orig_{i}_540_5s.mp4" for i in range(1000)]
    assert stratified(names, [100 + i % 7 for i in range(1000)], 3) == [135, 516, 591]


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
@pytest.mark.parametrize(("limit", "count"), [(20, 1000), (40, 1000), (100, 1000), (10, 300)])
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
                found.error / found.value
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
    assert (found.value, found.error) == (pytest.approx(true), 0.0)


def test_missing_clips_count_with_the_measured_ones_of_about_their_size():
    measured = dict.fromkeys("abcd", 1.0) | dict.fromkeys("wxyz", 9.0)
    sizes = dict.fromkeys("ab", 10) | dict.fromkeys("cd", 12) | dict.fromkeys("wxyz", 1000)
    small = {f"s{i}": 11 for i in range(6)}
    large = {f"l{i}": 1100 for i in range(2)}
    assert predict(measured, small, sizes | small) == Total(6.0, 0.0)
    assert predict(measured, [*small, *large], sizes | small | large) == Total(24.0, 0.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_sample_too_small_for_an_interval_has_none(count):
    found, _ = foreseen(np.arange(50), np.linspace(1, 2, 50), count)
    assert (found.error, found.low, found.high) == (None, None, None)
    assert 40 < found.value < 110


def test_nothing_missing_takes_nothing():
    for count in (1, 5):
        sizes = {str(i): i for i in range(count)}
        assert predict(dict.fromkeys(sizes, 2.0), [], sizes) == Total(0.0, 0.0)


def test_the_lower_end_is_never_negative():
    assert Total(3.0, 5.0).low == 0.0
    assert Total(3.0, 5.0).times(2) == Total(6.0, 10.0)
    assert Total(3.0, 1.0).plus(4.0) == Total(7.0, 1.0)
