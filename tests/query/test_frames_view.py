"""Frames are queried where they lie, if they are those of the table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.errors_document import documented
from support.kept_frames import frames_for, keep_frames, keep_run, set_frames
from support.merge_helpers import Run
from support.queries import ask, refuse

from vmafarm.common.errors import IncompleteError, UsageError
from vmafarm.merging.merge import merge
from vmafarm.publish import deliver, examine
from vmafarm.published.merge_record import read_merge_record
from vmafarm.query.answers import Answer, run_query
from vmafarm.query.checks import run_checks
from vmafarm.query.database import open_run
from vmafarm.report.alone import examine_table
from vmafarm.report.info import read_info, tell
from vmafarm.run_folder.provenance import METADATA_KEY

pytestmark = pytest.mark.usefixtures("undrawn")

CLIPS = ["a.mp4", "b'; DROP TABLE features; --.mp4", "c.mp4"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Three clips with their frames, merged."""
    run = keep_run(tmp_path / "runs", CLIPS)
    keep_frames(run, CLIPS)
    merge(run.folder, run.config)
    examine(run.config, lambda _: None, ["missing"])
    return run


def test_a_query_sees_each_frame_of_each_feature(run):
    rows, said = ask(run, "SELECT * FROM frames ORDER BY clip_name, frame")
    wanted = [
        (clip, at, *(frames_for(clip)[name][at] for name in run.provenance.feature_set.must_measure))
        for clip in CLIPS
        for at in range(len(frames_for(clip)["motion"]))
    ]
    assert rows == wanted
    assert said == [f"features: the final table, {run.folder.table}"]


def test_pools_of_the_frames_are_those_of_the_table(run):
    rows, _ = ask(
        run,
        "SELECT avg(motion), any_value(motion_mean), stddev_pop(vmaf), any_value(vmaf_std) "
        "FROM frames JOIN features USING (clip_name) GROUP BY clip_name",
    )
    assert len(rows) == len(CLIPS)
    for row in rows:
        np.testing.assert_allclose(row[::2], row[1::2], rtol=1e-12)


def test_the_kept_database_has_no_copy_of_the_frames(run):
    import duckdb

    with duckdb.connect(str(run.folder.database), read_only=True) as connection:
        names = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert "frame_problems" in names
    assert "frames" not in names


def test_a_query_that_reads_frames_can_neither_write_them_nor_read_other_files(run, tmp_path):
    """DuckDB may write what it may read; so statements that do more than read never get there."""
    before = run.folder.frames_table.read_bytes()
    (tmp_path / "secret").write_text("a")
    for path in (run.folder.frames_table, "/proc/self/fd/9"):
        for begin in ("", "EXPLAIN ANALYZE "):
            refuse(run, f"{begin}COPY (FROM frames) TO '{path}' (USE_TMP_FILE false)")
    said = refuse(run, f"SELECT * FROM frames, read_text('{tmp_path}/secret')")
    assert "Permission Error" in said
    assert run.folder.frames_table.read_bytes() == before


def test_frames_that_are_replaced_while_they_are_queried_are_not_mixed_with_others(run):
    answers: list[list[tuple]] = []

    def replace_them(answer: Answer) -> None:
        answers.append(list(answer.rows()[1]))
        other = run.folder.frames_table.with_suffix(".other")
        shutil.copy(run.folder.frames_table, other)
        other.replace(run.folder.frames_table)

    query = "SELECT count(*) FROM frames; SELECT sum(motion) FROM frames"
    with pytest.raises(UsageError, match=r"another merge has replaced the frames meanwhile\nask again"):
        run_query(run.config, query, replace_them, lambda _: None, several=True)
    assert len(answers) == 1


def test_an_unsafe_query_sees_them_as_well(run):
    assert (
        ask(run, "SELECT count(*) FROM frames", unsafe=True)[0] == ask(run, "SELECT count(*) FROM frames")[0]
    )


def test_a_table_of_that_name_in_a_query_is_the_querys_own(run):
    run.folder.frames_table.unlink()
    assert ask(run, "WITH frames AS (SELECT 7 AS x) SELECT x FROM frames")[0] == [(7,)]


# What is said of them


def test_card_and_info_say_that_frames_are_there(run):
    rows = sum(len(frames_for(clip)["motion"]) for clip in CLIPS)
    deliver(run.config, lambda _: None)
    card = run.folder.card.read_text()
    assert '- config_name: frames\n  data_files: "full_features_demo.frames.parquet"\n' in card
    assert f"| frames, in a table of their own | {rows} |" in card
    told = dict(tell(read_info(run.folder.table)))
    assert told["frames"] == f"{rows} rows, 14 features: full_features_demo.frames.parquet"
    assert dict(tell(read_info(run.folder.frames_table)))["columns"] == (
        "frames, one row each, not a table of clips"
    )


@pytest.mark.parametrize("page", [None, Path("page.html")])
def test_a_table_without_a_row_per_clip_is_not_checked(run, page, tmp_path):
    documented("a table to check that lacks a column that each table has, or that is of frames")
    with pytest.raises(UsageError, match=r"frames, one row each, not a table of clips"):
        examine_table(run.config, run.folder.frames_table, lambda _: None, page=page)
    lacking = tmp_path / "lacking.parquet"
    text = pq.read_metadata(run.folder.table).metadata[METADATA_KEY]
    table = pq.read_table(run.folder.table).drop_columns(["mos"])
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: text}), lacking)
    with pytest.raises(UsageError, match=r"lacking\.parquet: column mos is missing"):
        examine_table(run.config, lacking, lambda _: None, page=page)


def test_a_record_that_says_something_else_of_frames_is_none(run):
    whole = json.loads(run.folder.merge_record.read_text())
    assert read_merge_record(run.folder.merge_record)["frames"]["clips"] == len(CLIPS)
    for forged in ({"rows": 1}, {"file": 5}, [], "x", None):
        run.folder.merge_record.write_text(json.dumps(whole | {"frames": forged}))
        with pytest.raises(UsageError, match=r"is not the record of a merge: frames"):
            read_merge_record(run.folder.merge_record)


# Checks


@pytest.mark.parametrize(
    ("check", "row", "expected"),
    [
        ("frames_kept", "('a', 'frames', 120, 119, 'w')", ("a", 120, 119, "w")),
        ("frame_pools", "('a', 'vmaf_std', NULL, 2, 'w')", ("a", "vmaf_std", None, 2.0, "w")),
    ],
)
def test_each_check_of_frames_finds_what_the_merge_has_noted_and_nothing_else(run, check, row, expected):
    others = "INSERT INTO frame_problems VALUES ('b', 'frames', 2, 1, ''), ('b', 'vmaf_std', 1, 2, '')"
    with open_run(run.config, lambda _: None, unsafe=True) as connection:
        (silent,) = run_checks(connection, [check])
        assert (silent.result, silent.count) == ("ok", 0)
        connection.execute(f"INSERT INTO frame_problems VALUES {row}")
        (outcome,) = run_checks(connection, [check])
        assert (outcome.result, outcome.rows) == ("found", (expected,))
        connection.execute(others)
        assert run_checks(connection, [check])[0].count == 2


def test_checks_of_frames_do_not_apply_to_a_run_that_keeps_none(tmp_path):
    run = keep_run(tmp_path / "runs", CLIPS)
    set_frames(run, False)
    keep_frames(run, CLIPS)
    merge(run.folder, run.config)
    outcomes = examine(run.config, lambda _: None)
    assert not {"frames_kept", "frame_pools"} & {outcome.check.name for outcome in outcomes}
    (named,) = examine(run.config, lambda _: None, ["frame_pools"])
    assert (named.result, named.lacks) == ("skipped", "engine.frames")


# What is not there


def test_of_a_run_that_keeps_none_it_says_so(tmp_path):
    documented("a query of frames that are not there")
    run = keep_run(tmp_path / "runs", CLIPS)
    set_frames(run, False)
    keep_frames(run, CLIPS)
    merge(run.folder, run.config)
    assert refuse(run, "FROM frames").startswith('the run "demo" keeps no frames\n')


def test_before_the_merge_it_says_what_to_do(tmp_path):
    run = keep_run(tmp_path / "runs", CLIPS)
    keep_frames(run, CLIPS[:1])
    assert refuse(run, "FROM frames") == (
        'the frames of "demo" are not merged yet\nvmafarm merge --run demo --allow-missing'
    )
    assert ask(run, "SELECT clip_name FROM features")[0] == [(CLIPS[0],)]


@pytest.mark.parametrize("harm", ["of another merge", "not Parquet", "gone"])
def test_frames_that_are_not_of_the_table_are_refused(run, tmp_path, harm):
    documented("frames beside a table that are gone, damaged or of another merge")
    path = run.folder.frames_table
    if harm == "of another merge":
        other = keep_run(tmp_path / "other", CLIPS[:2])
        keep_frames(other, CLIPS[:2])
        merge(other.folder, other.config)
        shutil.copy(other.folder.frames_table, path)
        said = refuse(run, "FROM frames", IncompleteError)
        assert "does not belong to the table beside it: it is of another merge\n" in said
    elif harm == "gone":
        path.unlink()
        assert f"{path} is not there\nrun vmafarm merge again" in refuse(run, "FROM frames", IncompleteError)
    else:
        path.write_text("text")
        assert "a Parquet file begins and ends with PAR1" in refuse(run, "FROM frames", IncompleteError)
    assert len(ask(run, "FROM features")[0]) == len(CLIPS)
    _, said = ask(run, "SHOW TABLES")
    assert any(line.startswith("frames: ") for line in said)


def test_a_table_of_features_is_not_taken_for_frames(run):
    pq.write_table(pq.read_table(run.folder.table), run.folder.frames_table)
    assert "it is not a table of frames" in refuse(run, "FROM frames", IncompleteError)
