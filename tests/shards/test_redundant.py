"""Which journals and shards nothing needs any more: only those that hold nothing that others do not hold."""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from support.merge_helpers import NOW, Run, make_row, plan_run

from vmafarm.disk.jsonl import checked_line
from vmafarm.run_folder.manifest import most_rows
from vmafarm.shards.listing import list_shards
from vmafarm.shards.redundant import Redundant, find_redundant

A, B, C = CLIPS = ["a.mp4", "b.mp4", "c.mp4"]
ROWS = [make_row(clip) for clip in CLIPS]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Three clips in two slices; no rows yet."""
    return plan_run(tmp_path / "runs", CLIPS, slices=2, scratch=tmp_path)


def judge(run: Run) -> Redundant:
    listing = list_shards(run.folder, {0, 1})
    return find_redundant(run.folder, listing, run.provenance, most_rows(run.folder))


def gone(run: Run) -> list[str]:
    """Names of what is redundant."""
    found = judge(run)
    return sorted(path.name for path in (*found.journals, *found.shards))


def log(run: Run, *clips: str, writer: str = "w") -> None:
    """A clip log with the entries that `Run.journal` has."""
    run.log_clips(dict.fromkeys(clips, 1.0), 0, writer, finished_at=NOW)


# Shards


def test_of_equal_shards_one_stays(run: Run) -> None:
    for writer in ("u", "v", "w"):
        run.shard(ROWS, writer=writer)
    assert gone(run) == ["u.parquet", "v.parquet"]
    assert judge(run).kept == []


def test_a_shard_goes_whose_rows_stand_in_several_others(run: Run) -> None:
    run.shard(ROWS[:2], 0, "u")
    run.shard([ROWS[0], ROWS[2]], 0, "v")
    run.shard([ROWS[1], ROWS[2], ROWS[0]], 0, "w")
    assert gone(run) == ["u.parquet", "v.parquet"]


def test_rows_in_another_slice_do_not_stand_for_a_shards_own(run: Run) -> None:
    """Where a clip has changed, and is what it was again, only those of one slice count."""
    run.shard(ROWS, 0, "u")
    run.shard(ROWS, 1, "w")
    assert gone(run) == []


def test_shards_that_hold_each_others_rows_do_not_all_go(run: Run) -> None:
    for writer, rows in (("u", ROWS[:2]), ("v", ROWS[1:]), ("w", [ROWS[0], ROWS[2]])):
        run.shard(rows, writer=writer)
    assert len(gone(run)) == 1


def test_a_shard_with_a_row_of_its_own_stays(run: Run) -> None:
    run.shard(ROWS[:2], writer="u")
    run.shard(ROWS[1:], writer="v")
    assert gone(run) == []


@pytest.mark.parametrize("by", [1e-9, 0.5])
def test_rows_of_a_clip_that_differ_at_all_stay_with_all_their_copies(run: Run, by: float) -> None:
    other = ROWS[0] | {"cambi_mean": ROWS[0]["cambi_mean"] + by}
    for writer, row in (("u", ROWS[0]), ("v", ROWS[0]), ("w", other)):
        run.shard([row], writer=writer)
    assert gone(run) == []


def test_a_negative_zero_and_another_nan_are_other_bits(run: Run) -> None:
    (nan,) = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000000))
    for row in (ROWS[0] | {"cambi_std": 0.0}, ROWS[0] | {"cambi_std": -0.0}):
        run.shard([row], writer=f"zero{math.copysign(1, row['cambi_std'])}")
    for number, value in enumerate((math.nan, nan)):
        run.shard([ROWS[1] | {"ciede2000_mean": value}], writer=f"nan{number}")
    assert gone(run) == []


def test_a_shard_of_another_provenance_neither_goes_nor_counts(run: Run) -> None:
    run.shard(ROWS, writer="u")
    run.shard(ROWS, writer="v", provenance=dataclasses.replace(run.provenance, engine_version="10"))
    assert gone(run) == []
    (why,) = judge(run).kept
    assert why.startswith("slice-00000/v.parquet: engine_version: found '10'")


def test_a_damaged_shard_neither_goes_nor_counts_and_is_named(run: Run) -> None:
    run.shard(ROWS, writer="u")
    path = run.shard(ROWS, writer="v")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert gone(run) == []
    (why,) = judge(run).kept
    assert "slice-00000/v.parquet: cut or damaged" in why


def test_a_shard_stays_beside_a_journal_that_stays(run: Run) -> None:
    """Else the merge would take all rows of that journal, not only those that are in no shard."""
    run.shard(ROWS[:2], writer="u")
    run.shard(ROWS[:2], writer="v")
    run.journal(ROWS, writer="u")
    assert gone(run) == ["v.parquet"]
    assert judge(run).kept == []


# Journals


def test_a_journal_goes_once_its_rows_are_in_a_shard_and_its_entries_in_its_clip_log(run: Run) -> None:
    run.journal(ROWS[:2])
    assert gone(run) == []
    run.shard(ROWS)
    assert gone(run) == []
    log(run, A)
    assert gone(run) == []
    log(run, A, B, writer="v")
    assert gone(run) == []
    log(run, A, B)
    assert gone(run) == ["w.journal"]


def test_a_journal_whose_entries_are_others_than_in_the_clip_log_stays(run: Run) -> None:
    run.journal(ROWS[:1])
    run.shard(ROWS)
    run.log_clips({A: 1.0}, finished_at=NOW, notes="again")
    assert gone(run) == []


def test_a_journal_with_other_values_than_the_shards_stays_and_so_do_they(run: Run) -> None:
    run.journal([ROWS[0] | {"cambi_mean": 9.0}], writer="u")
    for writer in ("v", "w"):
        run.shard(ROWS[:1], writer=writer)
    log(run, A, writer="u")
    assert gone(run) == []


def test_any_nan_of_a_shard_is_the_null_of_its_journal(run: Run) -> None:
    (nan,) = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000000))
    run.journal(ROWS[:1])
    run.shard([ROWS[0] | {"ciede2000_mean": nan}])
    log(run, A)
    assert gone(run) == ["w.journal"]


def test_a_journal_without_rows_goes_also_if_its_first_line_is_torn(run: Run) -> None:
    run.shard(ROWS)
    run.journal([], writer="u")
    run.journal([], writer="v").write_bytes(b"0123")
    assert gone(run) == ["u.journal", "v.journal"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content + checked_line({"row": {"clip_name": A}}), "w.journal: "),
        (lambda content: b"damaged\n" + content.partition(b"\n")[2], "line with its provenance is damaged"),
    ],
)
def test_a_damaged_journal_stays_and_is_named(run: Run, damage: Callable[[bytes], bytes], said: str) -> None:
    run.shard(ROWS)
    log(run, A)
    path = run.journal(ROWS[:1])
    assert gone(run) == ["w.journal"]
    path.write_bytes(damage(path.read_bytes()))
    assert gone(run) == []
    (why,) = judge(run).kept
    assert said in why


def test_a_journal_of_another_provenance_stays_and_is_named(run: Run) -> None:
    run.shard(ROWS)
    log(run, A)
    run.provenance = dataclasses.replace(run.provenance, engine_version="10")
    run.journal(ROWS[:1])
    run.provenance = dataclasses.replace(run.provenance, engine_version="9")
    assert gone(run) == []
    (why,) = judge(run).kept
    assert why.startswith("slice-00000/w.journal: another provenance")
