"""Frames are published with the rows that they belong to, all and in order; or the merge says why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors_document import documented
from support.kept_frames import frames_for, keep_frames, keep_run, rows_for, set_frames
from support.merge_helpers import NAN, Run, make_row
from support.merges import CLIPS, clips_shown, find, finish, refuse, shown
from support.queries import ask
from support.queries import refuse as refuse_query

from vmafarm.common.errors import IncompleteError, UnavailableError, UsageError
from vmafarm.disk.drafts import LockedDraft
from vmafarm.disk.sealed_stream import open_stream
from vmafarm.merging.frame_sources import FrameSources
from vmafarm.merging.frames import pooled
from vmafarm.merging.merge import merge
from vmafarm.publish import deliver
from vmafarm.published.up_to_date import digest_file, read_delivered
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import METADATA_KEY
from vmafarm.schema.pools import POOLS
from vmafarm.scoring.pools import pool
from vmafarm.shards.frames_file import frames_of

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Ten clips in one slice, of a run that keeps frames; no rows yet."""
    return keep_run(tmp_path / "runs", CLIPS)


def published(run: Run) -> pa.Table:
    """The table of frames, as any reader sees it."""
    return pq.read_table(run.folder.frames_table)


def require_all(run: Run, clips: Iterable[str] = CLIPS) -> None:
    """Exactly the frames of these clips are published, in the order of clips and frames."""
    table, at = published(run), 0
    for clip in sorted(clips, key=str.encode):
        values = frames_for(clip)
        count = len(values["motion"])
        part = table.slice(at, count)
        assert part["clip_name"].to_pylist() == [clip] * count
        assert part["frame"].to_pylist() == list(range(count))
        for name in table.schema.names[2:]:
            np.testing.assert_array_equal(part[name].to_numpy(), values[name])
        at += count
    assert at == table.num_rows


def test_frames_of_all_writers_are_in_one_table_in_order_of_clip_and_frame(run):
    keep_frames(run, CLIPS[::2], writer="w")
    keep_frames(run, CLIPS[1::2], writer="v")
    result = finish(run)
    require_all(run)
    about = result.frames
    assert about["rows"] == published(run).num_rows
    assert about["clips"] == len(CLIPS)
    assert (
        about["columns"] == published(run).schema.names[2:] == list(run.provenance.feature_set.must_measure)
    )
    with open_stream(run.folder.frames_table) as file:
        assert file.digest == about["sha256"]
    assert json.loads(run.folder.merge_record.read_text())["frames"] == about
    stated = json.loads(pq.read_schema(run.folder.frames_table).metadata[METADATA_KEY])
    assert stated["frames"] == {"run": "demo", "table_sha256": digest_file(run.folder.table)}


@pytest.mark.parametrize(("frames", "groups"), [(20_000, [3, 3, 3, 1]), (3_000, [10])])
def test_readers_find_a_clip_by_statistics_that_hide_no_nan(run, monkeypatch, frames, groups):
    """Row groups hold whole clips; only names and numbers of frames have statistics."""
    monkeypatch.setattr("support.kept_frames.FRAMES", frames)
    keep_frames(run, CLIPS)
    finish(run)
    with pq.ParquetFile(run.folder.frames_table) as file:
        parts = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    for part, clips in zip(parts, groups, strict=True):
        columns = [part.column(number) for number in range(part.num_columns)]
        assert part.num_rows == clips * (frames + 2)
        assert [one.statistics is not None for one in columns] == [True, True] + [False] * 14
        assert all("BYTE_STREAM_SPLIT" in one.encodings for one in columns[2:])
        assert (columns[1].statistics.min, columns[1].statistics.max) == (0, frames + 1)


def test_the_same_frames_give_the_same_bytes_whoever_scored_the_clips(run):
    keep_frames(run, CLIPS)
    finish(run)
    first = run.folder.frames_table.read_bytes()
    for path in [*run.folder.shards.glob("*/*"), *run.folder.frames.glob("*/*")]:
        path.unlink()
    for number, clip in enumerate(reversed(CLIPS)):
        keep_frames(run, [clip], writer=f"w{number}")
    finish(run)
    assert run.folder.frames_table.read_bytes() == first


def test_rows_and_frames_in_the_journals_of_a_killed_writer_count(run):
    keep_frames(run, CLIPS[:6], writer="w")
    keep_frames(run, CLIPS[6:], writer="killed", ended=False)
    assert not list(run.folder.shards.glob("*/killed.parquet"))
    assert finish(run).counts["recovered_rows"] == 4
    require_all(run)


def test_frames_of_a_clip_whose_row_was_never_written_are_left_out(run):
    """A writer that is killed between both: another one has scored the clip."""
    keep_frames(run, CLIPS[:5], writer="killed", ended=False, rows=CLIPS[:4])
    keep_frames(run, CLIPS[4:], writer="w")
    finish(run)
    require_all(run)


def test_without_all_clips_the_frames_are_those_of_the_rows_that_are_there(run):
    keep_frames(run, CLIPS[:3])
    refuse(run, "missing")
    assert not run.folder.frames_table.exists()
    finish(run, allow_missing=True)
    require_all(run, CLIPS[:3])


def test_of_clips_with_several_rows_the_frames_are_those_of_the_row_that_is_taken(run):
    keep_frames(run, CLIPS, writer="w")
    other = {"motion": 1e-9}  # too little to be a conflict: the row with the smaller values is taken
    keep_frames(run, CLIPS[:2], writer="a", shift=other)
    assert finish(run).counts["duplicate_rows"] == 2
    require_all(run)


def test_frames_of_the_latest_row_are_taken_if_the_latest_row_is(run):
    keep_frames(run, CLIPS, writer="w")
    keep_frames(run, CLIPS[:1], writer="late", shift={"motion": -1.0}, minutes=60)
    refuse(run, "conflict")
    finish(run, on_conflict="latest")
    table = published(run)
    np.testing.assert_array_equal(
        table["motion"].to_numpy()[: len(frames_for(CLIPS[0])["motion"])],
        frames_for(CLIPS[0])["motion"] - 1.0,
    )


# What is not there, or does not fit


@pytest.mark.parametrize("harm", ["gone", "cut", "flipped"])
def test_rows_whose_frames_are_lost_are_refused_by_the_name_of_the_file(run, harm):
    documented("rows whose frames are lost or damaged")
    keep_frames(run, CLIPS[:4], writer="w")
    keep_frames(run, CLIPS[4:], writer="v")
    path, _ = frames_of(run.folder, run.folder.shard_folder(0) / "w.parquet")
    if harm == "gone":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content[: -7 if harm == "cut" else None])
    (error,) = refuse(run, "frames")
    assert error["count"] == 4
    why = {"gone": "is not there, with the frames of 4 rows, such as clip_00.mp4", "cut": ": cut or damaged",
           "flipped": "do not match its seal"}[harm]  # fmt: skip
    assert "4 rows without frames: slice-00000/w.parquet" in error["message"]
    assert why in error["message"]
    assert "out of shards and frames, and run again" in error["message"]
    assert not run.folder.frames_table.exists()


def test_what_the_message_says_to_do_is_enough(run):
    keep_frames(run, CLIPS[:4], writer="w")
    keep_frames(run, CLIPS[4:], writer="v")
    frames_of(run.folder, run.folder.shard_folder(0) / "w.parquet")[0].unlink()
    refuse(run, "frames")
    for path in [*run.folder.shards.glob("*/w.*"), *run.folder.frames.glob("*/w.*")]:
        path.unlink()
    keep_frames(run, CLIPS[:4], writer="again")
    finish(run)
    require_all(run)


def test_a_file_that_lacks_the_frames_of_a_row_is_named(run):
    keep_frames(run, CLIPS, writer="w", kept=CLIPS[1:])
    (error,) = refuse(run, "frames")
    assert "slice-00000/w.parquet lacks the frames of 1 row, such as clip_00.mp4" in error["message"]


def test_another_number_of_frames_than_the_clip_log_says_is_refused(run):
    documented("frames that do not fit their row")
    keep_frames(run, CLIPS, logged={CLIPS[3]: 9})
    (error,) = refuse(run, "frames_kept")
    assert clips_shown(run, error) == [CLIPS[3]]
    (row,) = shown(run, error)
    assert (row["logged"], row["kept"], row["file"]) == (9, 7, "slice-00000/w.parquet")


def test_frames_of_another_scoring_are_refused(run):
    rows = rows_for(CLIPS)
    rows[2]["cambi_mean"] *= 1 + 1e-10
    keep_frames(run, CLIPS, rows=rows)
    (error,) = refuse(run, "frame_pools")
    (row,) = shown(run, error)
    assert (row["clip_name"], row["name"]) == (CLIPS[2], "cambi_mean")
    assert row["value"] == rows[2]["cambi_mean"]
    assert row["of_frames"] == rows_for([CLIPS[2]])[0]["cambi_mean"]


def test_pools_may_differ_in_their_last_digits(run):
    rows = rows_for(CLIPS)
    for row in rows:
        row["cambi_mean"] *= 1 + 1e-15
    keep_frames(run, CLIPS, rows=rows)
    assert finish(run).published


def test_a_feature_that_was_filled_in_is_not_compared(run):
    """Its frames are NaN, the row has the known value: the plan full, and an engine without its extractor."""
    run = keep_run(run.folder.root / "full", CLIPS, plan="full")
    keep_frames(run, CLIPS)
    finish(run)
    table = published(run)
    assert table.schema.names[2:] == list(run.provenance.feature_set.names)
    assert np.isnan(table["psnr_y"].to_numpy()).all()


@pytest.mark.parametrize("pools", [("mean", "std"), ("min", "max", "mean"), tuple(POOLS)])
def test_pools_of_all_features_at_once_are_those_of_each(pools):
    draw = np.random.default_rng(3)
    values = draw.uniform(0, 100, (5, 137))
    values[1, 5], values[2] = NAN, NAN
    found = pooled(values, pools)
    for row, one in zip(found, values, strict=True):
        np.testing.assert_allclose(row, list(pool(one, pools).values()), rtol=1e-14)


@pytest.mark.parametrize("clips", [3, 10_000])
def test_a_full_scratch_folder_is_not_taken_for_damaged_frames(run, monkeypatch, clips):
    """Of few clips it shows when the files are closed, of many at once."""
    monkeypatch.setattr(FrameSources, "_part", lambda *_: Path("/dev/full"))
    monkeypatch.setattr("support.kept_frames.FRAMES", clips)
    keep_frames(run, CLIPS)
    with pytest.raises(UnavailableError, match=r"the scratch folder .* has no space left"):
        finish(run)
    assert not run.folder.table.exists()
    assert not list(run.folder.root.glob(".*"))


# What lies beside the table


def test_a_merge_without_frames_removes_those_of_an_earlier_table(run):
    keep_frames(run, CLIPS)
    finish(run)
    run.shard([make_row(clip) for clip in CLIPS], writer="w")
    for path in run.folder.frames.glob("*/*"):
        path.unlink()
    set_frames(run, False)
    finish(run)
    assert not run.folder.frames_table.exists()


@pytest.mark.parametrize("what", ["other", "text"])
def test_a_merge_without_frames_leaves_files_of_others(run, what):
    keep_frames(run, CLIPS)
    finish(run)
    path = run.folder.frames_table
    if what == "other":
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[METADATA_KEY])
        about["frames"]["run"] = "another"
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(about)}), path)
    else:
        path.write_text("mine")
    before = path.read_bytes()
    set_frames(run, False)
    finish(run)
    assert path.read_bytes() == before


def test_frames_never_take_the_place_of_another_runs_table(run):
    documented("a run called x.frames beside a run x that keeps frames")
    keep_frames(run, CLIPS)
    RunFolder(run.folder.root, "demo.frames").path.mkdir()
    with pytest.raises(
        UsageError, match=r"full_features_demo\.frames\.parquet is the table of the run demo\.frames"
    ):
        finish(run)


def test_a_table_never_takes_the_place_of_frames_that_are_published(run):
    """However that run was planned; the plan already refuses it beside a run that keeps frames."""
    keep_frames(run, CLIPS)
    finish(run)
    before = run.folder.frames_table.read_bytes()
    shutil.copytree(run.folder.path, run.folder.root / "demo.frames")
    set_frames(run, False)
    section = run.config.run.model_copy(update={"name": "demo.frames"})
    other = run.config.model_copy(update={"run": section})
    with pytest.raises(
        UsageError, match=r"demo\.frames\.parquet has the frames of the run demo, so the table"
    ):
        merge(other.folder, other)
    assert run.folder.frames_table.read_bytes() == before


def test_a_kill_between_frames_and_table_is_found_out(run, monkeypatch):
    """The frames come first: the table before keeps its record, so that it can be read all the same."""
    keep_frames(run, CLIPS)
    deliver(run.config, lambda _: None)
    before = run.folder.table.read_bytes()
    keep_frames(run, CLIPS, shift={"motion": 0.5})
    publish = LockedDraft.publish

    def die(draft: LockedDraft) -> None:
        if draft.path.name.startswith(".full_features_demo.parquet"):
            raise KeyboardInterrupt
        publish(draft)

    with monkeypatch.context() as patched:
        patched.setattr(LockedDraft, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            finish(run)
    assert run.folder.table.read_bytes() == before
    assert len(ask(run, "FROM features")[0]) == len(CLIPS)
    assert "it is of another merge" in refuse_query(run, "FROM frames", IncompleteError)
    finish(run)
    assert len(ask(run, "SELECT DISTINCT clip_name FROM frames")[0]) == len(CLIPS)


def test_a_run_whose_frames_were_changed_since_is_merged_again(run):
    keep_frames(run, CLIPS)
    deliver(run.config, lambda _: None)
    assert read_delivered(run.config) is not None
    content = bytearray(run.folder.frames_table.read_bytes())
    content[len(content) // 2] ^= 1
    run.folder.frames_table.write_bytes(content)
    assert read_delivered(run.config) is None
    run.folder.frames_table.unlink()
    assert read_delivered(run.config) is None


def test_a_run_without_frames_has_39_checks_and_one_with_them_41(run, tmp_path):
    said: list[str] = []
    keep_frames(run, CLIPS)
    deliver(run.config, said.append)
    assert any(line.split()[:3] == ["checks", "41", "checks:"] for line in said)
    other = keep_run(tmp_path / "other", CLIPS)
    set_frames(other, False)
    keep_frames(other, CLIPS)
    said.clear()
    deliver(other.config, said.append)
    assert any(line.split()[:3] == ["checks", "39", "checks:"] for line in said)


def test_the_table_is_the_same_with_and_without_frames(run):
    keep_frames(run, CLIPS)
    finish(run)
    first = run.folder.table.read_bytes()
    set_frames(run, False)
    finish(run)
    assert run.folder.table.read_bytes() == first
    assert find(finish(run), "frames") == []
