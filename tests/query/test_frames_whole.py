"""Frames that are queried or said to be sound are those of the merge, byte by byte: DuckDB does not look."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.errors_document import documented
from support.kept_frames import keep_frames, keep_run
from support.merge_helpers import Run
from support.queries import ask, refuse

from vmafarm.common.errors import IncompleteError
from vmafarm.merging.merge import merge
from vmafarm.publish import examine, require_sound
from vmafarm.published import frames_table

pytestmark = pytest.mark.usefixtures("undrawn")

CLIPS = ["a.mp4", "b.mp4", "c.mp4"]
SUM = "SELECT sum(motion) FROM frames"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A published run that keeps frames."""
    run = keep_run(tmp_path / "runs", CLIPS)
    keep_frames(run, CLIPS)
    merge(run.folder, run.config)
    examine(run.config, lambda _: None, ["missing"])
    return run


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an item for each time that all frames are read to verify them."""
    made: list[int] = []

    class Counted(frames_table.StreamFile):
        def __init__(self, *arguments) -> None:
            made.append(1)
            super().__init__(*arguments)

    monkeypatch.setattr(frames_table, "StreamFile", Counted)
    return made


def damage(run: Run) -> None:
    """Overwrite a byte of each page of motion, which DuckDB reads without noticing."""
    path = run.folder.frames_table
    group = pq.read_metadata(path).row_group(0)
    (column,) = [one for one in map(group.column, range(group.num_columns)) if one.path_in_schema == "motion"]
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 20] ^= 1
    path.write_bytes(content)


def remove(run: Run) -> None:
    run.folder.frames_table.unlink()


HARMS: dict[str, Callable[[Run], None]] = {"damaged": damage, "gone": remove}


@pytest.mark.parametrize("harm", HARMS)
def test_frames_that_were_harmed_since_they_were_published_are_not_queried(run: Run, harm: str) -> None:
    documented("frames beside a table that are gone, damaged or of another merge")
    before = ask(run, SUM)
    HARMS[harm](run)
    said = refuse(run, SUM, IncompleteError)
    assert said.startswith(str(run.folder.frames_table))
    assert said.endswith("\nrun vmafarm merge again, which writes both")
    assert len(ask(run, "SELECT vmaf_mean FROM features")[0]) == len(CLIPS)
    merge(run.folder, run.config)
    assert ask(run, SUM) == before


@pytest.mark.parametrize("harm", ["damaged", pytest.param("gone", marks=pytest.mark.full)])
def test_nor_are_they_found_to_be_sound(run: Run, harm: str) -> None:
    """Also not by the second time, when the first one has kept a copy of the run."""
    HARMS[harm](run)
    for _ in range(2):
        said: list[str] = []
        outcomes = {one.check.name: one for one in examine(run.config, said.append)}
        for name in ("frames_kept", "frame_pools"):
            assert outcomes[name].result == "failed"
            assert str(run.folder.frames_table) in outcomes[name].failure
        with pytest.raises(IncompleteError, match=r"frames_kept: .* vmafarm merge again"):
            require_sound(list(outcomes.values()))
        assert any(line.startswith(f"frames: {run.folder.frames_table}") for line in said)
        (other,) = examine(run.config, lambda _: None, ["missing"])
        assert other.result == "ok"
        refuse(run, SUM, IncompleteError)


def test_a_harmed_copy_is_told_to_a_query_that_may_do_anything(run: Run) -> None:
    damage(run)
    rows, said = ask(run, "SELECT count(*) FROM features", unsafe=True)
    assert rows == [(len(CLIPS),)]
    assert any("its bytes do not match its seal" in line for line in said)


def test_frames_are_verified_once_for_all_queries_of_a_run_that_was_checked(
    run: Run, verified: list[int]
) -> None:
    for _ in range(3):
        ask(run, SUM)
    examine(run.config, lambda _: None)
    assert verified == []
    os.utime(run.folder.frames_table)
    ask(run, SUM)
    ask(run, SUM)
    assert verified == [1, 1]
    ask(run, "FROM features")
    assert verified == [1, 1]
    examine(run.config, lambda _: None)
    ask(run, SUM)
    assert verified == [1, 1, 1]


def test_frames_that_change_while_they_are_verified_are_verified_again(
    run: Run, verified: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run.folder.database.unlink()
    actual = frames_table.StreamFile

    def change(*arguments) -> object:
        found = actual(*arguments)
        os.utime(run.folder.frames_table)
        return found

    monkeypatch.setattr(frames_table, "StreamFile", change)
    examine(run.config, lambda _: None)
    ask(run, SUM)
    assert verified == [1, 1]
