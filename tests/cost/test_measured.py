"""What clips have taken, from the clip logs and the records of elements."""

from __future__ import annotations

import pyarrow as pa
import pytest
from support.merge_helpers import plan_run

from vmafarm.cost.measured import makespan, measure
from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.run_folder.element_records import ElementRecord

CLIPS = [f"{letter}.mp4" for letter in "abcdefgh"]


@pytest.fixture
def run(tmp_path):
    return plan_run(tmp_path / "runs", CLIPS, 2)


def record(writer, done, seconds, ended="2025-03-01T00:00:00+00:00", **more):
    return ElementRecord(
        writer, "local", None, "node1", (0, 1), done, "2025", ended, done=done, seconds=seconds, **more
    )


@pytest.mark.parametrize(
    ("seconds", "workers", "wall"),
    [([], 3, 0), ([4], 3, 4), ([1, 1, 1], 1, 3), ([3, 1, 1, 1, 4], 2, 7), ([1, 2, 3], 10**9, 3)],
)
def test_tasks_begin_in_order_each_when_a_worker_is_free(seconds, workers, wall):
    assert makespan(seconds, workers) == wall


def test_clips_of_all_slices_and_elements_are_put_together(run):
    run.log_clips({"a.mp4": 2.0, "c.mp4": 4.0}, 0, "one")
    run.log_clips({"b.mp4": 2.0}, 1, "one")
    run.log_clips({"d.mp4": 8.0}, 1, "two")
    run.log_clips({"h.mp4": 8.0}, 1, "of nobody")
    records = [record("one", 3, 10.0, cpu_seconds=3.0), record("two", 1, 10.0, cpu_seconds=1.0)]
    found = measure(run.folder, records)
    assert found.seconds == {"a.mp4": 2.0, "b.mp4": 2.0, "c.mp4": 4.0, "d.mp4": 8.0}
    assert found.element_share == 20 / 16  # starting programs, reading logs
    assert found.cpu_share == 4 / 16
    assert [path.stem.partition(".")[2] for path in found.logs] == ["one", "one", "two"]


def test_workers_without_a_clip_at_the_end_of_a_sample_do_not_count(run):
    # Of two workers one has a clip of 6 s, the other one clip of 2 s and then none.
    run.log_clips({"a.mp4": 2.0}, 0, "w")
    run.log_clips({"b.mp4": 6.0}, 1, "w")
    found = measure(run.folder, [record("w", 2, 6.0, at_once=2)])
    assert found.element_share == 0.5
    assert found.at_once == 2


@pytest.mark.parametrize(
    "said",
    [{"ended": ""}, {"done": 0}, {"seconds": 0.0}, {"done": 3}],
    ids=["killed", "did nothing", "took no time", "has a clip log that is not whole"],
)
def test_an_element_says_nothing_that(run, said):
    run.log_clips({"a.mp4": 2.0, "b.mp4": 2.0}, 0, "w")
    assert measure(run.folder, [record("w", **({"done": 2, "seconds": 4.0} | said))]) is None
    assert measure(run.folder, []) is None


def test_an_element_whose_clip_log_is_damaged_says_nothing(run):
    path = run.log_clips({"a.mp4": 2.0}, 0, "w")
    path.write_bytes(path.read_bytes()[:-20])
    with (path.parent / "short of columns.parquet").open("wb") as file:
        write_sealed(pa.table({"clip_name": ["b.mp4"]}), file)
    assert measure(run.folder, [record("w", 1, 2.0), record("short of columns", 1, 2.0)]) is None
