"""What a merge says of files one by one: shards refused, names listed, records counted."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest
from support.merge_helpers import NOW, Run, make_row, plan_run
from support.merges import finish

from vmafarm.common.errors import IncompleteError
from vmafarm.config.secret_keys import recorded
from vmafarm.disk.file_stamp import Stamps
from vmafarm.disk.regular_files import MOST_BYTES_OF_RECORDS
from vmafarm.merging.complete import count_classes
from vmafarm.merging.merge import merge
from vmafarm.merging.record import describe_making
from vmafarm.merging.result import MergeResult, list_failed
from vmafarm.run_folder.failures import CLIP_FAULTS, NOTHING_UNREAD, Unread, load_failures
from vmafarm.run_folder.submissions import Submission, new_submission
from vmafarm.schema.features import ARROW_SCHEMA
from vmafarm.shards.completeness import FailedClip
from vmafarm.shards.footers import SHOWN, examples, schema_differences, sort_shards
from vmafarm.shards.journal import Journal, read_journal
from vmafarm.shards.listing import list_shards
from vmafarm.shards.writer import DoneReader

NAMES = ["a.mp4", "b.mp4", "c.mp4"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return plan_run(tmp_path / "runs", NAMES)


@pytest.mark.parametrize("kind", ["as they are written", "with other metadata", "without a seal"])
def test_a_shard_with_more_rows_than_there_are_clips_is_unreadable(run: Run, kind: str) -> None:
    schema = ARROW_SCHEMA if kind == "as they are written" else ARROW_SCHEMA.with_metadata({"other": "1"})
    path = run.shard([make_row(name) for name in NAMES], schema=schema)
    if kind == "without a seal":
        pa.parquet.write_table(pa.parquet.read_table(path).replace_schema_metadata({}), path)
    stamps = Stamps()
    _, bad = sort_shards([path], run.provenance, stamps, 2)
    assert bad["unreadable_shard"] == [(path, "3 rows, expected at most 2: none are read")]
    _, bad = sort_shards([path], run.provenance, stamps, 3)
    assert bad.get("unreadable_shard", []) == [] or kind == "without a seal"


@pytest.mark.parametrize(("missing", "in_all"), [(SHOWN, False), (SHOWN + 1, True)])
def test_of_many_schema_differences_the_first_are_listed(missing: int, in_all: bool) -> None:
    found = schema_differences(pa.schema(list(ARROW_SCHEMA)[missing:]))
    assert found[:SHOWN] == [f"column {name} is missing" for name in ARROW_SCHEMA.names[:SHOWN]]
    assert found[SHOWN:] == ([f"{missing} differences in all"] if in_all else [])


def test_of_many_examples_the_first_ones_are_shown_and_the_others_counted() -> None:
    texts = [str(at) for at in range(SHOWN + 1)]
    assert examples(texts[:SHOWN]) == "; ".join(texts[:SHOWN])
    assert examples(texts) == "; ".join(texts[:SHOWN]) + "; and 1 more"
    assert examples(texts, 2000) == "; ".join(texts[:SHOWN]) + f"; and {2000 - SHOWN:,} more"


def test_of_clips_that_have_failed_for_good_ten_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    def listed(count: int) -> list[str]:
        failed = {f"{at:02}.mp4": FailedClip("decode_error", "broken", 2, ("h1",)) for at in range(count)}
        counts = {"failed_for_good": count}
        result = SimpleNamespace(failed_for_good=failed, counts=counts, record=tmp_path / "merge.json")
        return list_failed(cast(MergeResult, result))

    assert listed(10) == [f"  {at:02}.mp4: decode_error: broken" for at in range(10)]
    assert listed(11) == [*listed(10), f"  and 1 more: see {tmp_path}/merge.json"]


def test_faults_are_counted_the_most_frequent_first_and_then_by_name() -> None:
    faults = sorted(CLIP_FAULTS)[:3]
    failures = [FailedClip(name, "x", 2, ("h1",)) for name in (faults[2], faults[1], faults[0], faults[1])]
    assert list(count_classes(failures).items()) == [(faults[1], 2), (faults[0], 1), (faults[2], 1)]


def test_lines_and_files_of_failures_that_cannot_be_read_are_counted(run: Run) -> None:
    run.fail("a.mp4")
    assert load_failures(run.folder.failures)[1] == NOTHING_UNREAD
    (run.folder.failures / "odd.jsonl").write_bytes(b"no record\n{}\n")
    (run.folder.failures / "a.jsonl").mkdir()
    records, unread = load_failures(run.folder.failures)
    assert [record.clip_name for record in records] == ["a.mp4", "a.mp4"]
    assert unread == Unread(3, 0)


def test_what_stands_in_the_folder_of_a_slice_is_listed_by_what_it_is(run: Run) -> None:
    shard = run.shard([make_row("a.mp4")])
    journal = run.journal([make_row("b.mp4")], writer="v")
    folder = shard.parent
    for name in (
        "x.done",
        ".y.parquet.1.tmp",
        "notes.txt",
        *map(os.fsdecode, (b"\xff.parquet", b"\xff.txt")),
    ):
        (folder / name).touch()
    for name in ("slice-00001", "readme"):
        (run.folder.shards / name).touch()
    (folder / "a folder").mkdir()
    (folder / "z.journal").mkdir()
    found = list_shards(run.folder, {0})
    assert (found.shards, found.journals, found.leftovers) == ([shard.absolute()], [journal.absolute()], 1)
    assert found.wrong == [
        "slice-00000/z.journal: a folder, expected a file",
        r"slice-00000/\xff.parquet: the name is not UTF-8",
        "slice-00001: a file, expected folders of slices alone",
    ]
    assert found.strange == [
        "readme: a file, expected folders of slices alone",
        "slice-00000/a folder: neither shard, journal nor .done",
        "slice-00000/notes.txt: neither shard, journal nor .done",
        r"slice-00000/\xff.txt: neither shard, journal nor .done",
    ]


def test_a_file_that_could_not_be_read_is_no_problem_any_more_once_it_can_or_is_gone(run: Run) -> None:
    reader = DoneReader()
    shard = run.shard([make_row("a.mp4")])
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    journal = run.journal([make_row("b.mp4")], writer="v", torn=b"")
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    folder = shard.with_name("x.journal")
    folder.mkdir()
    assert reader.read(run.folder, [0]) == set()
    assert reader.problems.keys() == {shard, folder}
    shard.write_bytes(whole)
    folder.rmdir()
    assert reader.read(run.folder, [0]) == {"a.mp4"}
    assert reader.problems == {}


def test_the_record_of_a_merge_says_by_what_configuration_and_images_the_rows_were_made(run: Run) -> None:
    for number, digest in enumerate(("sha256:b", "", "sha256:a", "sha256:b"), 1):
        submission = Submission(number, "r", ((0,),), "1", "", digest, "ffmpeg", {}, at=NOW.isoformat())
        new_submission(run.folder, submission)
    found: dict[str, Any] = describe_making(run.folder, run.config, ["h1"])
    assert found["configuration"] == recorded(run.config)
    text = json.dumps(recorded(run.config), sort_keys=True, separators=(",", ":"))
    assert found["configuration_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert found["images"] == ["sha256:a", "sha256:b"]
    assert found["hosts"] == ["h1"]


@pytest.mark.parametrize("share", [0, 1])
def test_none_or_all_clips_may_be_allowed_to_fail(run: Run, share: int) -> None:
    run.shard([make_row(name) for name in NAMES[1:]])
    run.fail(NAMES[0])
    if share:
        assert finish(run, max_failed_share=share).counts["failed_for_good"] == 1
    else:
        with pytest.raises(IncompleteError, match=r"\[failed_for_good\]"):
            finish(run, max_failed_share=share)


def test_a_value_that_was_measured_to_be_another_one_refuses_the_merge(run: Run) -> None:
    run.shard([make_row(name) for name in NAMES])
    run.fail(NAMES[0], "wrong_constant", tries=1)
    with pytest.raises(IncompleteError, match=r"\[wrong_constant\] values that the plan fills in"):
        merge(run.folder, run.config)


def test_a_table_without_rows_that_are_missing_says_so_itself(run: Run) -> None:
    run.shard([make_row(name) for name in NAMES[:2]])
    metadata = merge(run.folder, run.config, allow_missing=True).metadata
    assert metadata["incomplete"] == {"missing": 1, "failed_for_good": 0}
    assert metadata["left_out"] == {NAMES[2]: "missing"}
    run.shard([make_row(NAMES[2])], writer="late")
    assert "incomplete" not in merge(run.folder, run.config).metadata


@pytest.mark.parametrize("kind", ["shard", "journal"])
def test_unreadable_rows_are_reported_if_the_provenance_is_lost(run: Run, kind: str) -> None:
    path = getattr(run, kind)([make_row(name) for name in NAMES])
    path.write_bytes(path.read_bytes()[20:])
    run.folder.provenance.unlink()
    with pytest.raises(IncompleteError, match=r"\[provenance\] .* is not there, and no shard or journal can"):
        merge(run.folder, run.config)


def test_what_holds_rows_in_the_wrong_place_refuses_a_merge_that_has_nothing_else(run: Run) -> None:
    (run.folder.shards / "slice-00000" / "x.parquet").mkdir(parents=True)
    with pytest.raises(IncompleteError, match=r"slice-00000/x\.parquet: a folder, expected a file"):
        merge(run.folder, run.config)


def test_a_journal_that_cannot_be_read_refuses_the_merge_and_keeps_no_other_from_being_read(run: Run) -> None:
    run.journal([make_row(name) for name in NAMES], writer="v")
    os.truncate(run.journal([make_row(NAMES[0])], writer="u"), MOST_BYTES_OF_RECORDS + 1)
    with pytest.raises(IncompleteError, match=r"\[journal\]") as caught:
        merge(run.folder, run.config)
    assert "slice-00000/u.journal" in caught.value.message
    assert json.loads(run.folder.merge_record.read_text())["counts"]["recovered_rows"] == 3
    assert DoneReader().read(run.folder, [0]) == set(NAMES)


def test_a_journal_that_its_writer_removes_meanwhile_keeps_no_other_from_being_read(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.journal([make_row(name) for name in NAMES], writer="v")
    gone = run.journal([], writer="u")
    monkeypatch.setattr("vmafarm.shards.journal.read_journal", lambda path: removed(path, gone))
    assert merge(run.folder, run.config).counts["recovered_rows"] == 3


def removed(path: Path, gone: Path) -> Journal:
    if path.name == gone.name:
        gone.unlink(missing_ok=True)
    return read_journal(path)


def test_files_that_go_while_they_are_looked_at_are_no_problem(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = DoneReader()
    gone = run.folder.shard_folder(0) / "gone"
    monkeypatch.setattr("vmafarm.shards.writer._files", lambda _, suffix: [gone.with_suffix(suffix)])
    assert reader.read(run.folder, [0]) == set()
    run.shard([make_row("a.mp4")], writer="gone")
    monkeypatch.setattr(
        "vmafarm.shards.writer.read_columns", lambda path, *_: path.with_name("x").read_bytes()
    )
    assert reader.read(run.folder, [0]) == set()
    assert reader.problems == {}


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_null_or_a_name_twice_in_an_early_group_of_rows_counts_whatever_comes_behind_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Rows are written in groups, and none of them is judged by the last one."""
    monkeypatch.setattr("vmafarm.merging.table.ROW_GROUP", rows)
    nullable = pa.schema([pa.field(field.name, field.type) for field in ARROW_SCHEMA])
    bad = run.shard([make_row(NAMES[0]) | {"vmaf_mean": None}, *map(make_row, NAMES[1:])], schema=nullable)
    with pytest.raises(IncompleteError, match=r"\[nulls\] 1 row: a.mp4 name=vmaf_mean"):
        merge(run.folder, run.config)
    bad.unlink()
    run.shard([make_row(NAMES[0])], writer="v")
    run.shard([make_row(name) for name in NAMES])
    result = merge(run.folder, run.config)
    assert (result.counts["rows"], result.counts["duplicate_rows"]) == (3, 1)
    assert pa.parquet.read_table(run.folder.table)["clip_name"].to_pylist() == NAMES
