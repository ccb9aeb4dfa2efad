"""The rate of the last minutes, and how sure it is."""

from __future__ import annotations

import pytest

from vmafarm.cluster.watched_rate import RecentRate


def test_with_few_clips_nothing_is_said():
    recent = RecentRate()
    assert recent.update(0, 100) is None
    assert recent.update(10, 119) is None
    assert recent.update(10, 120) is not None


def test_the_interval_is_that_of_a_count():
    recent = RecentRate()
    recent.update(0, 0)
    assert recent.update(50, 100) == pytest.approx(((100 - 19.6) / 50, 2.0, (100 + 19.6) / 50))


def test_what_was_long_ago_does_not_count():
    recent = RecentRate()
    for at in range(0, 1_001, 10):
        found = recent.update(at, at * 5 if at <= 500 else 2_500 + (at - 500))
    assert found[1] == pytest.approx(1.0)


def test_nothing_finished_says_nothing():
    recent = RecentRate()
    assert [recent.update(at, 7) for at in range(0, 900, 100)] == [None] * 9
