"""What the rest of a run will take, from what its clips have taken so far."""

from __future__ import annotations

import pytest
from support.merge_helpers import plan_run

from vmafarm.config.sections import SlurmSection
from vmafarm.cost.submission_cost import Cost, cost_of, estimate, gpus_of, measure_latest
from vmafarm.run_folder.element_records import ElementRecord
from vmafarm.run_folder.submissions import Array, Submission


@pytest.fixture
def run(tmp_path):
    return plan_run(tmp_path / "runs", CLIPS)


CLIPS = [f"{letter}.mp4" for letter in "abcdefgh"]
SIZES = dict.fromkeys(CLIPS, 1000)


def record(writer, job, done, seconds, ended="2025-03-01T00:00:00+00:00", **more):
    return ElementRecord(
        writer, job, 0, "node1", (0,), done, "2025", ended, done=done, seconds=seconds, **more
    )


def submission(number, *jobs):
    arrays = tuple(Array(job, 0, 0, 1) for job in jobs)
    return Submission(number, "n", ((0,),), "1", "", "", "ffmpeg", {}, arrays=arrays)


def test_the_cost_of_a_clip_is_that_of_an_element_with_all_its_workers(run):
    run.log_clips(dict.fromkeys(CLIPS[:4], 3.0), writer="w")
    found = measure_latest(run.folder, [record("w", "11", 4, 6.0, at_once=2)], [submission(1, "11")])
    assert cost_of(found, CLIPS[4:], SIZES) == Cost(1.5, 4, 0.0)


def test_only_the_latest_submission_that_measured_counts(run):
    for number, writer in enumerate(["old", "new", "here"]):
        run.log_clips({CLIPS[number]: 5.0}, writer=writer)
    records = [record("old", "11", 1, 5.0), record("new", "12", 1, 5.0), record("here", "local", 1, 5.0)]
    submissions = [submission(1, "11"), submission(2, "12"), submission(3, "13")]
    assert measure_latest(run.folder, records, submissions).seconds == {CLIPS[1]: 5.0}
    assert measure_latest(run.folder, records, []) is None


def test_hours_and_wall_time_follow_from_the_parallelism():
    section = SlurmSection(parallelism=10, cpus=4, gpus=2)
    # 100 elements of 1,000 clips at 1.8 s: 50 hours of an element.
    seen = estimate(Cost(1.8, 20, 0.18), [1000] * 100, section)
    assert (seen.clips, seen.core_hours, seen.gpu_hours) == (100_000, 200.0, 100.0)
    assert (seen.element_seconds, seen.wall_seconds) == (1800.0, 18_000.0)
    assert seen.lines() == [
        "measured on 20 clips: 1.80 s of an element for a clip",
        "estimate for 100,000 clips: 200 core hours, 100 GPU hours,",
        "  5h 00m once elements run, the longest takes 30m 00s",
        "  95% interval: 180 to 220 core hours, 90.0 to 110 GPU hours",
    ]
    assert all(len(line) <= 80 for line in seen.lines())


def test_the_longest_element_bounds_the_wall_time():
    seen = estimate(Cost(2.0, 4), [10, 100], SlurmSection(parallelism=64, cpus=1))
    assert seen.wall_seconds == seen.element_seconds == 200.0
    assert seen.gpu_hours == 0
    assert "0.061 core hours," in seen.lines()[1]
    assert seen.lines()[3] == "  too few clips for an interval, which takes 4"


@pytest.mark.parametrize(
    ("keys", "gpus"),
    [
        ({}, 0), ({"gpus": 2}, 2), ({"gres": "gpu:a100:3"}, 3), ({"gres": "gpu"}, 1),
        ({"gres": "gpu:a100"}, 1),        ({"gres": "nvme:1,gpu:2", "gpus": 5}, 2), ({"gres": "nvme:1"}, 0),
    ],
)  # fmt: skip
def test_gpus_are_counted_however_they_are_asked_for(keys, gpus):
    assert gpus_of(SlurmSection(**keys)) == gpus
