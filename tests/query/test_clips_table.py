"""The table ``clips`` has every entry of a log or a journal once, and nothing that no writer writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.merge_helpers import NAN, Run, make_row, plan_run
from support.queries import ask

from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.query import clips_table
from vmafarm.query.answers import run_query
from vmafarm.shards.clip_log import DEFAULTS

CLIPS = ["a.mp4", "b'.mp4", "c.mp4", "d.mp4"]
ALL = "SELECT clip_name, writer FROM clips ORDER BY ALL"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two writers, of which one has a name that DuckDB could take for a pattern."""
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    run.log_clips({CLIPS[0]: 1.0, CLIPS[1]: 2.0}, writer="v[w]*?")
    run.log_clips({CLIPS[2]: 1.0}, writer="w")
    return run


FOUND = [(CLIPS[0], "v[w]*?"), (CLIPS[1], "v[w]*?"), (CLIPS[2], "w")]


@pytest.mark.parametrize("relative", [False, True])
def test_all_logs_are_read(run: Run, monkeypatch: pytest.MonkeyPatch, relative: bool) -> None:
    if relative:
        monkeypatch.chdir(run.folder.root)
        section = run.config.run.model_copy(update={"root": "."})
        run.config = run.config.model_copy(update={"run": section})
    assert ask(run, ALL)[0] == FOUND


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("frames", -1),
        ("fps", float("inf")),
        ("seconds_scoring", -0.5),
        ("seconds_decoding", 1e300),
        ("bytes", -1),
    ],
)
def test_a_log_with_a_value_that_no_clip_has_is_left_out_and_told(run: Run, column: str, value: Any) -> None:
    run.log_clips({CLIPS[3]: 1.0}, writer="x", **{column: value})
    found, said = ask(run, ALL)
    assert found == FOUND
    assert any(f"clips: left out: slice-00000.x.parquet: {column} is not from" in line for line in said)


def test_a_value_that_is_not_known_is_no_reason(run: Run) -> None:
    run.log_clips(
        {CLIPS[3]: 1.0}, writer="x", declared_seconds=NAN, seconds_other_plan=NAN, fps=0.0, frames=0
    )
    assert ask(run, ALL)[0] == [*FOUND, (CLIPS[3], "x")]


def test_logs_of_an_earlier_version_are_read_with_the_others(run: Run) -> None:
    path = run.log_clips({CLIPS[3]: 1.0}, writer="x")
    earlier = pq.read_table(path).drop_columns(list(DEFAULTS))
    with path.open("wb") as file:
        write_sealed(earlier, file)
    found, said = ask(
        run, "SELECT clip_name, repeatable, sha256, isnan(declared_seconds) FROM clips ORDER BY ALL"
    )
    assert found[3] == (CLIPS[3], True, "", True)
    assert len(found) == 4
    assert not said


def test_a_log_that_is_replaced_while_it_is_read_is_read_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that is at work puts a longer log in its place."""

    def read_first(*arguments: Any) -> dict[str, bool]:
        found = actual(*arguments)
        run.log_clips({CLIPS[2]: 1.0, CLIPS[3]: 1.0}, writer="w")
        return found

    actual = clips_table._read_logged
    monkeypatch.setattr(clips_table, "_read_logged", read_first)
    assert ask(run, ALL)[0] == [*FOUND, (CLIPS[3], "w")]


def test_an_entry_that_is_in_the_journal_and_in_the_log_is_there_once(run: Run) -> None:
    run.journal([make_row(CLIPS[2]), make_row(CLIPS[3])], writer="w")
    assert ask(run, ALL)[0] == [*FOUND, (CLIPS[3], "w")]


@pytest.mark.parametrize("place", range(100, 3000, 500))
def test_a_log_with_one_bit_flipped_is_left_out_and_told(run: Run, place: int) -> None:
    """DuckDB would read half of them as other values."""
    path = run.log_clips({CLIPS[3]: 1.0}, writer="x")
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    found, said = ask(run, ALL)
    assert found == FOUND
    assert any("clips: left out: slice-00000.x.parquet: cut or damaged" in line for line in said)


@pytest.mark.parametrize(
    ("query", "reads_logs"),
    [
        ("SELECT count(*) FROM features", False),
        ('WITH lost AS (FROM Failed) SELECT count(*) FROM lost, "MANIFEST"', False),
        ("SELECT count(*) FROM features; SELECT count(*) FROM labels", False),
        ("SELECT (SELECT count(*) FROM Clips) FROM features", True),
        ("SELECT count(*) FROM features; SELECT count(*) FROM main.clips", True),
        ("SELECT count(*) FROM audits", True),
        ("SHOW TABLES", True),
        ("SELECT estimated_size FROM duckdb_tables() WHERE table_name = 'clips'", True),
        ("FROM features WHERE EXISTS (FROM query_table('cl' || 'ips'))", True),
        ("SELECT 1", True),
    ],
)
def test_logs_are_read_for_what_is_made_of_them_only(
    run: Run, monkeypatch: pytest.MonkeyPatch, query: str, reads_logs: bool
) -> None:
    read: list[Path] = []
    monkeypatch.setattr(clips_table, "list_clip_logs", lambda folder: read.append(folder.path) or ([], {}))
    run_query(run.config, query, lambda answer: list(answer.rows()[1]), lambda _: None, several=True)
    assert bool(read) == reads_logs
