import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmafarm.corpus.slices import balance, format_indices, sample, slice_count

sizes_and_count = st.tuples(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=60), st.integers(1, 12))


def loads(sizes: np.ndarray, slices: np.ndarray, count: int) -> list[int]:
    weights = [0] * count
    for size, number in zip(sizes.tolist(), slices.tolist(), strict=True):
        weights[number] += size
    return weights


@given(sizes_and_count)
def test_every_clip_is_in_exactly_one_slice_and_the_heaviest_is_bounded(case):
    sizes, count = np.array(case[0], dtype=np.int64), case[1]
    slices = balance(sizes, count)
    assert slices.dtype == np.int32
    assert slices.shape == sizes.shape
    assert set(slices.tolist()) <= set(range(count))
    weights = loads(sizes, slices, count)
    largest, total = max(case[0]), sum(case[0])
    assert sum(weights) == total
    # Graham's bound against the best possible, which is at least both of these:
    assert count * max(weights) <= total + (count - 1) * largest
    assert max(weights) - min(weights) <= largest


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(1, 3))
def test_heaviest_slice_is_within_graham_s_bound_of_the_best(sizes, count):
    slices = balance(np.array(sizes, dtype=np.int64), count)
    best = {(0,) * count}
    for size in sizes:
        best = {tuple(sorted((*w[:i], w[i] + size, *w[i + 1 :]))) for w in best for i in range(count)}
    optimum = min(max(w) for w in best)
    assert 3 * count * max(loads(np.array(sizes), slices, count)) <= (4 * count - 1) * optimum


def test_no_slice_of_a_realistic_corpus_is_two_percent_heavier_than_the_mean():
    draw = random.Random(1)
    sizes = np.array([int(draw.lognormvariate(14, 0.6)) for _ in range(15_000)])
    weights = loads(sizes, balance(sizes, 150), 150)
    assert max(weights) <= 1.02 * np.mean(weights)


@given(sizes_and_count)
def test_each_clip_goes_to_the_lightest_slice_then_that_with_the_fewest_clips_then_the_first(case):
    sizes, count = case
    slices = [(0, 0, number) for number in range(count)]
    expected = [0] * len(sizes)
    for clip in sorted(range(len(sizes)), key=lambda clip: -sizes[clip]):
        weight, clips, number = min(slices)
        slices[slices.index((weight, clips, number))] = (weight + sizes[clip], clips + 1, number)
        expected[clip] = number
    assert balance(np.array(sizes, dtype=np.int64), count).tolist() == expected


def test_largest_clip_goes_first_and_ties_go_by_the_order_of_names():
    assert balance(np.array([3, 7, 3, 3, 7]), 2).tolist() == [0, 0, 1, 0, 1]


def test_clips_of_no_bytes_are_spread_too():
    assert sorted(balance(np.zeros(6, dtype=np.int64), 3).tolist()) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("clips", "count", "per_slice", "expected"),
    [(1, 0, 100, 1), (100, 0, 100, 1), (101, 0, 100, 2), (12, 5, 100, 5), (12, 50, 100, 12), (12, 0, 1, 12)],
)
def test_number_of_slices(clips, count, per_slice, expected):
    assert slice_count(clips, count, per_slice) == expected


def test_as_many_slices_for_each_element_that_runs_at_the_same_time():
    assert slice_count(152_265, 0, 100, 64) == 1536
    assert slice_count(152_265, 0, 100, 1000) == 2000
    # Fewer slices than that are not cut any smaller, and a number that was asked for is kept.
    assert slice_count(1_000, 0, 100, 64) == 10
    assert slice_count(152_265, 1523, 100, 64) == 1523
    assert slice_count(10, 0, 1, 7) == 10


@pytest.mark.parametrize(
    ("indices", "text"),
    [([3, 7, 8, 9], "3,7-9"), ([], ""), ([0], "0"), ([9, 8, 8, 0, 1], "0-1,8-9"), (range(1000), "0-999")],
)
def test_indices_are_written_as_slurm_does(indices, text):
    assert format_indices(indices) == text


@given(st.sets(st.integers(0, 999_999)))
def test_indices_as_written_name_each_of_them_and_no_other(indices):
    ends = [part.split("-") for part in format_indices(indices).split(",") if part]
    assert {n for first, *last in ends for n in range(int(first), int((last or [first])[0]) + 1)} == indices


@given(st.lists(st.text(st.characters(codec="utf-8")), unique=True), st.integers(0, 30), st.randoms())
def test_sample_depends_on_the_names_alone_and_grows(names, limit, draw):
    chosen = sample(names, limit)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == min(limit, len(names))
    shuffled = draw.sample(names, len(names))
    picked = {names[i] for i in chosen}
    assert {shuffled[i] for i in sample(shuffled, limit)} == picked
    assert picked <= {names[i] for i in sample(names, limit + 1)}


def test_sample_is_the_same_on_every_machine():
    names = [f"orig_{i}_540_5s.mp4" for i in range(1000)]
    assert sample(names, 3).tolist() == [135, 516, 998]
