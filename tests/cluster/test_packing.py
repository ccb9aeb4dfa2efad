"""How the work of a submission becomes array elements."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmafarm.cluster.packing import Layout, group, group_by_size, lay_out, pack, taper
from vmafarm.common.errors import UsageError
from vmafarm.config.slurm_section import SlurmSection

repeatable = settings(deadline=None, derandomize=True)


def test_without_a_measurement_each_slice_is_an_element_of_its_own():
    assert lay_out(900, None, SlurmSection(), 1001, None) == Layout(first=900, later=64)
    assert group({3: 2.0, 1: 5.0, 2: 1.0}, 3) == ((1,), (2,), (3,))


def test_elements_have_the_minutes_asked_for_but_use_all_that_may_run_at_once():
    # 1,536 slices of three minutes, 24 for each of 64: half an hour first, then less.
    layout = lay_out(1536, 1536 * 3.0, SlurmSection(minutes=30), 1001, None)
    assert layout == Layout(256, 64, (10,) * 64 + (7,) * 64 + (4,) * 64 + (3,) * 64)
    # Ten minutes of work are no reason to leave elements out that may run at the same time.
    assert lay_out(12, 10.0, SlurmSection(parallelism=3), 1001, None) == Layout(3, 3)
    assert lay_out(2, 10.0, SlurmSection(parallelism=3), 1001, None) == Layout(2, 2)


def test_elements_are_a_multiple_of_those_that_run_at_the_same_time():
    for slices, minutes, parallelism in ((1600, 4300.0, 100), (3000, 80e3, 1000), (100_000, 283e3, 64)):
        layout = lay_out(slices, minutes, SlurmSection(parallelism=parallelism), 10_001, None)
        assert layout.first % parallelism == 0
        assert layout.first == len(layout.sizes)
        assert sum(layout.sizes) == pytest.approx(slices)
    assert lay_out(2000, 4300.0, SlurmSection(parallelism=1000), 1001, None) == Layout(1000, 1000)
    # A limit of jobs leaves fewer: longer ones, and still whole rows.
    assert lay_out(1600, 4300.0, SlurmSection(parallelism=100), 1001, 350) == Layout(200, 100)


def test_where_an_array_has_no_room_for_all_elements_they_are_longer():
    assert lay_out(1523, None, SlurmSection(), 1001, None) == Layout(1000, 64)
    # 3,000 hours in half hours would be 6,000 elements.
    layout = lay_out(10_000, 180_000.0, SlurmSection(), 1001, None)
    assert layout.first == len(layout.sizes) == 896
    assert max(layout.sizes) == 12
    assert list(layout.sizes) == sorted(layout.sizes, reverse=True)
    # No more can run at once than the array has.
    assert lay_out(5000, 1e6, SlurmSection(parallelism=2000), 1001, None) == Layout(1000, 1000)


@repeatable
@given(st.integers(1, 100_000), st.integers(1, 1000), st.floats(0.1, 100), st.floats(1, 30))
def test_sizes_descend_and_make_up_the_work(slices, at_once, longest, shortest):
    sizes = taper(slices, at_once, longest, shortest)
    assert len(sizes) % at_once == 0
    assert list(sizes[:-at_once]) == sorted(sizes[:-at_once], reverse=True)
    assert sum(sizes) == pytest.approx(slices)
    assert max(sizes[:-at_once], default=1) <= max(1, longest)
    assert sizes[-1] <= max(2 * shortest, slices / at_once if len(sizes) == at_once else 0)


@repeatable
@given(
    weights=st.dictionaries(st.integers(0, 3000), st.integers(1, 100), min_size=1),
    minutes=st.none() | st.floats(0.1, 1e6),
    parallelism=st.integers(1, 300),
    max_array_size=st.integers(0, 400),
    jobs_left=st.none() | st.integers(3, 500),
)
def test_each_slice_is_in_one_element_and_the_array_fits_the_cluster(
    weights, minutes, parallelism, max_array_size, jobs_left
):
    layout = lay_out(len(weights), minutes, SlurmSection(parallelism=parallelism), max_array_size, jobs_left)
    elements = pack(weights, layout)
    assert sorted(number for element in elements for number in element) == sorted(weights)
    assert all(elements)
    most = max(1, max_array_size - 1)
    assert len(elements) <= layout.first <= most
    assert 1 <= layout.later <= min(most, parallelism)
    assert jobs_left is None or layout.first + layout.later + 1 <= jobs_left


def test_elements_of_different_sizes_have_slices_in_proportion_the_heaviest_first():
    sizes = taper(1600, 100, 8, 1.5)
    elements = group_by_size({number: 95 + number % 3 for number in range(1600)}, sizes)
    assert sorted(number for element in elements for number in element) == list(range(1600))
    assert [len(element) for element in elements] == [8] * 100 + [4] * 100 + [2] * 200


@repeatable
@given(st.dictionaries(st.integers(0, 500), st.integers(1, 100), min_size=1), st.integers(1, 60))
def test_each_slice_is_in_one_element_whatever_is_left_of_it(weights, at_once):
    elements = group_by_size(weights, taper(len(weights), at_once, 5, 1))
    assert sorted(number for element in elements for number in element) == sorted(weights)
    assert all(elements)
    loads = [sum(weights[number] for number in element) for element in elements]
    assert loads == sorted(loads, reverse=True)


def test_a_later_round_is_one_array_that_the_cluster_takes():
    assert lay_out(50, None, SlurmSection(parallelism=20), 11, None) == Layout(10, 10)
    assert lay_out(50, None, SlurmSection(), 1, None) == Layout(1, 1)


@pytest.mark.parametrize(
    ("left", "rounds", "layout"),
    [
        (3, 2, Layout(1, 1)),
        (10, 2, Layout(5, 4)),
        (10, 1, Layout(9, 9)),
        (1000, 2, Layout(100, 64)),
        (150, 2, Layout(85, 64)),
    ],
)
def test_a_limit_of_submitted_jobs_is_kept_and_slices_share_elements(left, rounds, layout):
    section = SlurmSection(rounds=rounds)
    assert lay_out(100, None, section, 1001, left) == layout
    assert layout.first + (rounds - 1) * layout.later + 1 <= left


@repeatable
@given(st.integers(1, 3000), st.integers(1, 10), st.integers(1, 200), st.integers(0, 4000))
def test_no_layout_takes_more_jobs_than_are_left(slices, rounds, parallelism, left):
    section = SlurmSection(rounds=rounds, parallelism=parallelism)
    if left < rounds + 1:
        with pytest.raises(UsageError, match=rf"{left} more jobs .* but {rounds + 1} are needed"):
            lay_out(slices, None, section, 1001, left)
        return
    layout = lay_out(slices, None, section, 1001, left)
    assert 1 <= layout.first <= slices
    assert 1 <= layout.later <= min(slices, parallelism)
    assert layout.first + (rounds - 1) * layout.later + 1 <= left


@repeatable
@given(st.dictionaries(st.integers(0, 500), st.floats(0, 100), min_size=1), st.integers(1, 60))
def test_each_slice_is_in_one_element_and_no_element_is_empty(weights, count):
    elements = group(weights, count)
    assert sorted(number for element in elements for number in element) == sorted(weights)
    assert all(elements)
    assert len(elements) <= max(count, 1)
    assert [element[0] for element in elements] == sorted(element[0] for element in elements)


def test_slices_that_share_elements_are_spread_evenly():
    elements = group(dict.fromkeys(range(100), 7.0), 8)
    assert {len(element) for element in elements} == {12, 13}
    weighted = group({0: 10, 1: 1, 2: 1, 3: 1, 4: 1}, 2)
    assert weighted == ((0,), (1, 2, 3, 4))
