"""What the rest of a run will take, from what its clips have taken so far."""

from __future__ import annotations

import pytest

from jobs.element_log import ElementRecord
from jobs.estimate import Cost, estimate, gpus_of, measure
from jobs.settings import SlurmSection
from jobs.submission import Array, Submission


def record(job, done, seconds, ended="2025-03-01T00:00:00+00:00", **more):
    return ElementRecord("w", job, 0, "node1", (0,), done, "2025", ended, done=done, seconds=seconds, **more)


def submission(number, *jobs):
    arrays = tuple(Array(job, 0, 0, 1) for job in jobs)
    return Submission(number, "n", ((0,),), "1", "", "", "ffmpeg", {}, arrays=arrays)


def test_the_cost_of_a_clip_is_the_elements_wall_time_by_its_clips():
    records = [record("11", 10, 20.0), record("11", 30, 40.0)]
    assert measure(records, [submission(1, "11")]) == Cost(1.5, 40)


def test_only_the_latest_submission_that_measured_counts():
    records = [record("11", 10, 100.0), record("12", 10, 20.0), record("local", 10, 1.0)]
    submissions = [submission(1, "11"), submission(2, "12"), submission(3, "13")]
    assert measure(records, submissions) == Cost(2.0, 10)


def test_elements_that_were_killed_or_did_nothing_say_nothing():
    records = [record("11", 10, 5.0, ended=""), record("11", 0, 5.0), record("11", 3, 0.0)]
    assert measure(records, [submission(1, "11")]) is None
    assert measure([], []) is None


def test_hours_and_wall_time_follow_from_the_parallelism():
    section = SlurmSection(parallelism=10, cpus=4, gpus=2)
    # 100 elements of 1,000 clips at 1.8 s: 50 hours of an element.
    seen = estimate(Cost(1.8, 20), [1000] * 100, section)
    assert (seen.clips, seen.core_hours, seen.gpu_hours) == (100_000, 200.0, 100.0)
    assert (seen.element_seconds, seen.wall_seconds) == (1800.0, 18_000.0)
    assert seen.lines() == [
        "measured on 20 clips: 1.80 s of an element for a clip",
        "estimate for 100,000 clips: 200 core hours, 100 GPU hours,",
        "  5h 00m once elements run, the longest takes 30m 00s",
    ]


def test_the_longest_element_bounds_the_wall_time():
    seen = estimate(Cost(2.0, 4), [10, 100], SlurmSection(parallelism=64, cpus=1))
    assert seen.wall_seconds == seen.element_seconds == 200.0
    assert seen.gpu_hours == 0
    assert "0.061 core hours," in seen.lines()[1]


@pytest.mark.parametrize(
    ("keys", "gpus"),
    [
        ({}, 0), ({"gpus": 2}, 2), ({"gres": "gpu:a100:3"}, 3), ({"gres": "gpu"}, 1),
        ({"gres": "gpu:a100"}, 1),        ({"gres": "nvme:1,gpu:2", "gpus": 5}, 2), ({"gres": "nvme:1"}, 0),
    ],
)  # fmt: skip
def test_gpus_are_counted_however_they_are_asked_for(keys, gpus):
    assert gpus_of(SlurmSection(**keys)) == gpus
