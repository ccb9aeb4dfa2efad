"""What a submission takes, from what the clips of earlier ones took."""

from __future__ import annotations

import pytest
from support.merge_helpers import plan_run

from vmafarm.config.slurm_section import SlurmSection
from vmafarm.cost.estimate import gpus_of, of_submission
from vmafarm.cost.measured import Measured, measure_latest
from vmafarm.cost.predict import Total
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
    assert found.predict_elements(CLIPS[4:], SIZES) == Total(6.0, 6.0, 6.0)


def test_only_the_latest_submission_that_measured_counts(run):
    for number, writer in enumerate(["old", "new", "here"]):
        run.log_clips({CLIPS[number]: 5.0}, writer=writer)
    records = [record("old", "11", 1, 5.0), record("new", "12", 1, 5.0), record("here", "local", 1, 5.0)]
    submissions = [submission(1, "11"), submission(2, "12"), submission(3, "13")]
    assert measure_latest(run.folder, records, submissions).seconds == {CLIPS[1]: 5.0}
    assert measure_latest(run.folder, records, []) is None


MEASURED = Measured(dict.fromkeys(map(str, range(20)), 1.8), 1.0, 1.0, at_once=8, threads=1)


def test_hours_and_wall_time_follow_from_the_parallelism():
    section = SlurmSection(parallelism=10, cpus=4, gpus=2)
    # 100 elements of 1,000 clips at 1.8 s: 50 hours of an element.
    seen = of_submission("r", MEASURED, Total(180_000.0, 162_000.0, 198_000.0), [1000] * 100, section)
    work = seen.missing
    assert (work.clips, work.core_seconds.value, work.gpu_seconds.value) == (100_000, 720_000, 360_000)
    assert (work.longest_seconds.value, work.slurm_seconds.value) == (1800.0, 18_000.0)
    assert seen.lines() == [
        "measured         20 clips in SLURM jobs, 8 at once, 1 thread each",
        "95% interval     from sampling clips, in brackets; other machines differ",
        "missing: 100,000 clips",
        "  core hours     200 (180 to 220)",
        "  GPU hours      100 (90.0 to 110)",
        "  SLURM, at best 5h 00m (4h 30m to 5h 30m),",
        "                 10 elements at once with 4 cpus, 2 GPUs",
        "  longest        30m 00s (27m 00s to 33m 00s)",
    ]


def test_the_longest_element_bounds_the_wall_time():
    section = SlurmSection(parallelism=64, cpus=1)
    seen = of_submission("r", MEASURED, Total(220.0), [10, 100], section)
    assert seen.missing.slurm_seconds == seen.missing.longest_seconds == Total(200.0)
    assert seen.missing.gpu_seconds is None
    assert "95% interval     none: it takes at least 4 measured clips (--sample, --canary)" in seen.lines()
    assert "  core hours     0.061" in seen.lines()


@pytest.mark.parametrize(
    ("keys", "gpus"),
    [
        ({}, 0), ({"gpus": 2}, 2), ({"gres": "gpu:a100:3"}, 3), ({"gres": "gpu"}, 1),
        ({"gres": "gpu:a100"}, 1),        ({"gres": "nvme:1,gpu:2", "gpus": 5}, 2), ({"gres": "nvme:1"}, 0),
    ],
)  # fmt: skip
def test_gpus_are_counted_however_they_are_asked_for(keys, gpus):
    assert gpus_of(SlurmSection(**keys)) == gpus
