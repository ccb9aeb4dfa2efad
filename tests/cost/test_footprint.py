"""Space on disk that a run will take, from a few of its rows."""

from __future__ import annotations

import numpy as np
import pytest
from support.merge_helpers import make_row, plan_run

from vmafarm.cost.estimate import Estimate, Work
from vmafarm.cost.footprint import Footprint, footprint, frame_bytes
from vmafarm.cost.predict import Total
from vmafarm.merging.merge import merge
from vmafarm.schema.features import FULL
from vmafarm.shards.frames_file import FramesWriter

CLIPS = [f"orig_{i * 7919 % 99991:05d}_540_5s.mp4" for i in range(400)]


@pytest.mark.parametrize(
    ("shape", "count"),
    [((960, 540, 8), 777_600), ((960, 540, 10), 1_555_200), ((161, 121, 8), 161 * 121 + 2 * 81 * 61)],
)
def test_a_decoded_frame_is_4_2_0_and_takes_two_bytes_a_sample_above_8_bit(shape, count):
    assert frame_bytes(*shape) == count


@pytest.fixture
def run(tmp_path):
    return plan_run(tmp_path / "runs", CLIPS, 4)


def score(run, count, **columns):
    """Clip logs of the first `count` clips, whose rows are put into slice 0."""
    run.shard([make_row(name) for name in CLIPS[:count]])
    return [run.log_clips(dict.fromkeys(CLIPS[:count], 2.0), **columns)]


def test_the_size_of_the_table_follows_from_a_few_rows(run):
    found = footprint(run.folder, score(run, 20), len(CLIPS), 4)
    for number in range(4):
        run.shard([make_row(name) for name in sorted(CLIPS, key=str.encode)[number::4]], number)
    merge(run.folder, run.config)
    shards = sum(path.stat().st_size for path in run.folder.shards.rglob("*.parquet"))
    assert run.folder.table.stat().st_size == pytest.approx(found.table_bytes, rel=0.2)
    assert shards < found.folder_bytes < 1.5 * shards  # clip logs too


def test_an_engine_that_reads_clips_needs_no_scratch_space(run):
    assert footprint(run.folder, score(run, 3, engine="ffmpeg"), 400, 4).scratch_bytes == 0


def test_the_largest_clip_by_its_decoded_frames_tells_the_scratch_space(run):
    logs = score(run, 2, engine="vmaf")
    run.shard([make_row("x.mp4", width=1920, height=1080)], 1)
    logs.append(run.log_clips({"x.mp4": 2.0}, 1, engine="vmaf", frames=300, bit_depth=10))
    found = footprint(run.folder, logs, 400, 4)
    assert (found.width, found.height, found.frames, found.bit_depth) == (1920, 1080, 300, 10)
    assert found.scratch_bytes == 300 * 1920 * 1080 * 3


def test_the_space_of_frames_follows_from_a_few_clips(run):
    logs = score(run, 2)
    assert footprint(run.folder, logs, 400, 4).frames_bytes == 0, "none are kept"
    writer = FramesWriter(run.folder, 0, "w", run.provenance)
    for name in CLIPS[:2]:
        writer.append(name, {one: np.random.default_rng(0).random(300) for one in FULL.names}, 300)
    writer.close()
    (path,) = run.folder.frames.glob("*/*")
    found = footprint(run.folder, logs, 400, 4).frames_bytes
    assert found == 2 * path.stat().st_size * 400 // 2, "in the run folder and beside the table"


def test_clips_of_a_log_that_its_shard_lacks_do_not_count(run):
    """A writer that was killed between the two leaves that, and so does an older copy of a shard."""
    run.shard([make_row(name) for name in CLIPS[:2]])
    log = run.log_clips(dict.fromkeys(CLIPS[:3], 2.0), engine="vmaf")
    assert footprint(run.folder, [log], 400, 4).scratch_bytes == 120 * frame_bytes(960, 540, 8)
    run.shard([make_row("x.mp4")])
    assert footprint(run.folder, [log], 400, 4) is None


def test_one_row_is_enough_and_none_tells_nothing(run):
    assert footprint(run.folder, score(run, 1), 400, 4).table_bytes > 300 * 400
    assert footprint(run.folder, [], 400, 4) is None
    (log,) = score(run, 2)
    run.folder.shard_folder(0).joinpath("w.parquet").write_bytes(b"PAR1")
    assert footprint(run.folder, [log], 400, 4) is None


@pytest.mark.parametrize(("frames", "told"), [(0, ""), (3_000_000_000, ", frames 3.0 GB more")])
def test_the_space_of_frames_is_told_if_they_are_kept(frames, told):
    work = Work(1, *[Total(1.0, 1.0, 1.0)] * 4)
    space = Footprint(0, 960, 540, 300, 8, 50_000_000, 80_000_000, frames)
    estimate = Estimate("r", 4, 2, 1, work, 1, 2, 1, space=space)
    said = " ".join(" ".join(estimate.lines()).split())
    assert f"table 50.0 MB, run folder 80.0 MB{told}" in said
    assert ("frames" in said.partition("output")[2]) == bool(told)
    assert estimate.as_dict()["space"]["frames_bytes"] == frames
