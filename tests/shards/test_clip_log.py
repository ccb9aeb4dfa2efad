"""Clip logs of any version are read by all that read them; what they remark on clips is counted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow as pa
import pytest
from support.merge_helpers import NAN, Run, make_row, plan_run

from vmafarm.cluster.status import read_status
from vmafarm.cluster.status_table import as_json, table
from vmafarm.cost.footprint import footprint
from vmafarm.disk.jsonl import checked_line
from vmafarm.disk.sealed_parquet import DamagedError, read_columns, write_sealed
from vmafarm.merging.merge import merge
from vmafarm.publish import deliver
from vmafarm.query.database import open_run
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA, read_clip_log
from vmafarm.shards.journal import read_journal
from vmafarm.shards.remarks import Remark, RemarkReader, tell_remarks

pytestmark = pytest.mark.usefixtures("undrawn")

LATEST = {"backend": "", "finite_frames": -1, "zero_motion": -1, "bytes": 0, "sha256": ""}
NEW = {"declared_frames": 0, "declared_seconds": NAN, "short": False, "repeatable": True, **LATEST}
GPU = {"audit_feature": "", "audit_difference": NAN}
NEWER = {"audit": "", "seconds_other_plan": NAN, **GPU, **NEW}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Six clips in two slices, all of them with rows, the first slice with a clip log."""
    names = [f"{letter}.mp4" for letter in "abcdef"]
    run = plan_run(tmp_path / "runs", names, slices=2, scratch=tmp_path)
    for number in (0, 1):
        run.shard([make_row(name) for name in names[number::2]], number)
    run.log_clips(dict.fromkeys(names[::2], 1.0))
    run.freeze()
    return run


def forget(path: Path, *columns: str) -> None:
    """Write a clip log again as a version without these columns did."""
    whole = read_columns(path, {field.name: field.type for field in CLIP_LOG_SCHEMA})
    with path.open("wb") as file:
        write_sealed(whole.drop_columns(list(columns)), file)


@pytest.mark.parametrize("unknown", [LATEST, GPU, NEW, NEWER])
def test_columns_that_a_writer_did_not_know_have_their_defaults(run: Run, unknown: dict) -> None:
    (path,) = run.folder.clip_logs.glob("*.parquet")
    whole = read_clip_log(path, 100)
    forget(path, *unknown)
    before = pa.Table.from_pylist([one | unknown for one in whole.to_pylist()], CLIP_LOG_SCHEMA)
    after = read_clip_log(path, 100)
    assert after.schema == CLIP_LOG_SCHEMA
    assert str(after.to_pylist()) == str(before.to_pylist())  # equal, NaN too
    assert read_clip_log(path, 100, ["repeatable", "clip_name"]).column_names == ["repeatable", "clip_name"]
    assert [field.name for field in CLIP_LOG_SCHEMA if not field.nullable] == CLIP_LOG_SCHEMA.names


def test_counts_that_nobody_knows_are_read_as_such(run: Run) -> None:
    """As `--reuse` writes them, of rows of a version that did not count."""
    path = run.log_clips({"b.mp4": 1.0}, 1, finite_frames=-1, zero_motion=-1)
    (entry,) = read_clip_log(path, 100).to_pylist()
    assert (entry["finite_frames"], entry["zero_motion"]) == (-1, -1)


def test_a_log_without_a_column_that_all_versions_have_is_refused(run: Run) -> None:
    (path,) = run.folder.clip_logs.glob("*.parquet")
    forget(path, "frames", *NEWER)
    with pytest.raises(DamagedError, match="no column frames of type int32"):
        read_clip_log(path, 100)
    assert read_clip_log(path, 100, ["clip_name", "short"]).num_rows == 3
    whole = read_columns(path, {"clip_name": pa.string()})
    with path.open("wb") as file:
        write_sealed(whole.append_column("short", pa.array([1, 2, 3])), file)
    with pytest.raises(DamagedError, match="no column short of type bool"):
        read_clip_log(path, 100, ["short"])


def test_a_journal_of_an_earlier_version_has_the_defaults(run: Run) -> None:
    path = run.journal([make_row("a.mp4")], writer="old", without=NEWER)
    ((_, read),) = read_journal(path).rows
    assert {name: str(read[name]) for name in NEWER} == {name: str(value) for name, value in NEWER.items()}
    assert set(read) == set(CLIP_LOG_SCHEMA.names)
    ((_, null),) = read_journal(run.journal([make_row("a.mp4")], writer="new")).rows
    assert math.isnan(null["declared_seconds"])


@pytest.mark.parametrize("unknown", [LATEST, NEW, NEWER])
def test_logs_of_two_versions_side_by_side_are_read_by_every_reader(run: Run, unknown: dict) -> None:
    (old,) = run.folder.clip_logs.glob("*.parquet")
    forget(old, *unknown)
    new = run.log_clips(dict.fromkeys(["b.mp4", "d.mp4", "f.mp4"], 1.0), 1, short=True, repeatable=False)
    said: list[str] = []
    with open_run(run.config, said.append) as connection:
        clips = connection.execute("SELECT clip_name, short, repeatable FROM clips ORDER BY ALL").fetchall()
    assert clips == [(f"{one}.mp4", one in "bdf", one not in "bdf") for one in "abcdef"]
    assert not [line for line in said if line.startswith("clips")], said
    assert RemarkReader(run.folder).read()["short"].clips == 3
    assert footprint(run.folder, [old, new], 6, 2) is not None
    result = merge(run.folder, run.config)
    assert result.published
    assert not [finding for finding in result.findings if finding.name == "clip_log"]


# Remarks


def test_remarks_are_counted_per_clip_for_any_writer(run: Run) -> None:
    run.log_clips({"b.mp4": 1.0}, 1, "v", short=True)
    run.log_clips({"b.mp4": 1.0, "d.mp4": 1.0}, 1, "w", short=True, repeatable=False)
    expected = {
        "short": Remark(2, ("b.mp4", "d.mp4")),
        "not_repeatable": Remark(2, ("b.mp4", "d.mp4")),
    }
    assert RemarkReader(run.folder).read() == expected
    assert tell_remarks(expected)[0] == "2 clips are shorter than they say: b.mp4, d.mp4"
    assert tell_remarks({"short": Remark(1, ("b.mp4",))}) == ["1 clip is shorter than it says: b.mp4"]
    many = Remark(1200, ("a", "b", "c", "d", "e"))
    assert tell_remarks({"short": many})[0].endswith("say: a, b, c, d, e, and 1,195 more")


def test_remarks_are_read_again_only_where_something_changed(run: Run) -> None:
    reader = RemarkReader(run.folder)
    assert reader.read() == {}
    path = run.log_clips({"a.mp4": 1.0}, 0, "v", short=True)
    assert reader.read() == {"short": Remark(1, ("a.mp4",))}
    path.unlink()
    assert reader.read() == {}


def test_a_remark_in_a_journal_counts_and_what_cannot_be_read_does_not(run: Run) -> None:
    short = (
        run.journal([make_row("c\n.mp4")], writer="x").read_text().replace('"short":false', '"short":true')
    )
    lines = [json.loads(line[9:]) for line in short.splitlines()]
    journal = run.folder.shard_folder(0) / "x.journal"
    odd = checked_line({"log": {"short": 1}})  # nobody's: the merge names the journal
    journal.write_bytes(b"torn\n" + odd + b"".join(map(checked_line, lines)))
    run.folder.clip_log(1, "y").write_bytes(b"PAR1")
    assert RemarkReader(run.folder).read() == {"short": Remark(1, ("c\\n.mp4",))}


def test_remarks_are_shown_by_status_at_the_end_of_a_run_and_by_a_check(run: Run) -> None:
    run.log_clips({"b.mp4": 1.0}, 1, short=True, declared_frames=150, repeatable=False)
    status = read_status(run.config, None)
    assert "note       1 clip is shorter than it says: b.mp4" in table(status)
    assert json.loads(as_json(status))["remarks"]["short"] == {"clips": 1, "examples": ["b.mp4"]}
    said: list[str] = []
    deliver(run.config, said.append)
    assert "note             1 clip is shorter than it says: b.mp4" in said
    assert "frames" in " ".join(said).partition("checks ")[2]
    page = run.folder.report.read_text()
    assert "as many frames or seconds as the clip itself says" in page
    assert "b.mp4" in page
