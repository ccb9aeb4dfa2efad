"""The database beside a table answers queries as long as it is what a new copy of the run would be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.merge_helpers import Run, make_row, plan_run
from support.queries import ask

from vmafarm.common.errors import IncompleteError
from vmafarm.disk.durable import replace_text
from vmafarm.merging.merge import merge
from vmafarm.publish import examine
from vmafarm.published.merge_record import read_merge_record
from vmafarm.query import database, kept
from vmafarm.run_folder.label_columns import NAME

CLIPS = ["a.mp4", "b'; DROP TABLE features; --.mp4", "c\n\x1b[31m{{ 7*7 }}.mp4"]
QUERIES = [
    *(f"SELECT * FROM {table} ORDER BY ALL" for table in (
        "features", "clips", "labels", "failures", "run", "failed", "manifest", "run.main.findings",
        "feature_values",
    )),
    "SELECT * FROM suspects", "SHOW ALL TABLES",
]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A published run that was checked."""
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    run.shard([make_row(clip) for clip in CLIPS])
    run.log_clips(dict.fromkeys(CLIPS, 2.0))
    run.fail(CLIPS[1])
    merge(run.folder, run.config)
    examine(run.config, lambda _: None, ["missing"])
    return run


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an item for each time that the run is copied."""
    made: list[int] = []

    def fill(*arguments: Any, **options: Any) -> None:
        made.append(1)
        actual(*arguments, **options)

    actual = database._fill
    monkeypatch.setattr(database, "_fill", fill)
    return made


def answers(run: Run) -> list[Any]:
    return [repr(ask(run, query)) for query in QUERIES]


def test_queries_of_a_published_run_are_answered_without_copying_it(run: Run, copies: list[int]) -> None:
    found = answers(run)
    assert copies == []
    run.folder.database.unlink()
    assert answers(run) == found
    assert len(copies) == len(QUERIES)


def test_it_answers_by_whatever_path_the_run_is_named(
    run: Run, copies: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job and a notebook may name the folder of the runs in another way than a shell does."""
    monkeypatch.chdir(tmp_path / "runs")
    for root in ("../runs", ".", str(tmp_path / "runs")):
        config = run.config.model_copy(update={"run": run.config.run.model_copy(update={"root": root})})
        with database.open_run(config, lambda _: None) as connection:
            assert connection.execute("SELECT count(*) FROM features").fetchall() == [(3,)]
    assert copies == []


def test_checks_and_the_report_of_it_are_made_without_copying_it(run: Run, copies: list[int]) -> None:
    outcomes = examine(run.config, lambda _: None)
    assert {outcome.result for outcome in outcomes} <= {"ok", "found", "figures"}
    examine(run.config, lambda _: None, page=run.folder.report)
    assert copies == []


def test_a_copy_that_was_checked_answers_the_next_query(run: Run, copies: list[int]) -> None:
    run.folder.database.unlink()
    examine(run.config, lambda _: None, ["missing"])
    ask(run, "FROM features")
    assert copies == [1]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write_as_it_was(run: Run) -> None:
    """The same bytes at the same time, as from a backup; the inode is another one."""
    log = next(run.folder.clip_logs.iterdir())
    status = log.stat()
    other = log.with_name("other")
    shutil.copy2(log, other)
    other.replace(log)
    os.utime(log, ns=(status.st_atime_ns, status.st_mtime_ns))


def hostile(run: Run) -> None:
    """A database with the tables of a run, in which one is a view of other rows."""
    run.folder.database.unlink()
    with duckdb.connect(str(run.folder.database)) as connection:
        connection.execute(
            "CREATE VIEW features AS SELECT 'x.mp4' AS clip_name; CREATE MACRO lower(x) AS 'y'"
        )


def fifo(run: Run) -> None:
    run.folder.database.unlink()
    os.mkfifo(run.folder.database)


def labels(run: Run) -> None:
    import pyarrow as pa

    from vmafarm.disk.sealed_parquet import write_sealed

    with run.folder.labels.open("wb") as file:
        write_sealed(pa.table({NAME: CLIPS, "content": ["x", "y", "z"]}), file)


CHANGES: dict[str, Callable[[Run], object]] = {
    "the database is damaged": lambda run: flip(run.folder.database),
    "it is cut": lambda run: os.truncate(run.folder.database, 5000),
    "it is gone": lambda run: run.folder.database.unlink(),
    "it is another one": hostile,
    "it is a FIFO": fifo,
    "a clip was scored again": lambda run: run.log_clips({CLIPS[0]: 3.0}, writer="later"),
    "a clip log is another file": write_as_it_was,
    "a clip log is gone": lambda run: next(run.folder.clip_logs.iterdir()).unlink(),
    "a writer is at work": lambda run: run.journal([make_row(CLIPS[0])], writer="later"),
    "a try failed": lambda run: run.fail(CLIPS[2]),
    "labels are there": labels,
    "the manifest was written": lambda run: os.utime(run.folder.manifest),
    "the table was written": lambda run: os.utime(run.folder.table),
    "the provenance was written": lambda run: os.utime(run.folder.provenance),
    "an element has ended": lambda run: (
        run.folder.elements.mkdir(exist_ok=True),
        (run.folder.elements / "later.json").write_text("{}"),
    ),
    "the record is damaged": lambda run: replace_text(run.folder.merge_record, "{"),
    "the record is gone": lambda run: run.folder.merge_record.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_database_that_may_be_another_one_is_not_asked(run: Run, copies: list[int], change: str) -> None:
    CHANGES[change](run)
    rows, _ = ask(run, "SELECT clip_name, lower('A') FROM features ORDER BY ALL")
    assert rows == [(clip, "a") for clip in sorted(CLIPS)]
    assert copies == [1]


@pytest.mark.parametrize(
    ("name", "value"),
    [("__version__", "0.0.1"), ("sql_folder", lambda: Path("/nowhere")), ("is_trusted", lambda *_: False)],
)
def test_nor_one_of_another_version_or_of_another_user(
    run: Run, copies: list[int], monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    monkeypatch.setattr(kept, name, value)
    ask(run, "FROM features")
    assert copies == [1]


def test_nor_one_of_another_version_of_duckdb(
    run: Run, copies: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb, "__version__", "1.0.0")
    ask(run, "FROM features")
    assert copies == [1]


@pytest.mark.parametrize("what", ["database", "merge_record", "path", "root"])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_nor_one_that_another_user_could_have_written(run: Run, copies: list[int], what: str) -> None:
    os.chown(getattr(run.folder, what), 12345, -1)
    ask(run, "FROM features")
    assert copies == [1]


def test_nor_one_that_was_made_with_other_settings(run: Run, copies: list[int]) -> None:
    """With more tries a clip that failed is no longer given up."""
    extract = run.config.extract.model_copy(update={"retries": 7})
    run.config = run.config.model_copy(update={"extract": extract})
    assert ask(run, "SELECT value FROM run WHERE key = 'tries'")[0] == [("8",)]
    assert copies == [1]


def test_a_database_that_is_replaced_while_it_is_read_is_read_to_its_end(
    run: Run, copies: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace_first(*arguments: Any) -> str:
        hostile(run)
        return actual(*arguments)

    actual = kept._copy
    monkeypatch.setattr(kept, "_copy", replace_first)
    assert len(ask(run, "FROM features")[0]) == len(CLIPS)
    assert copies == []


def test_a_log_beside_the_database_is_not_replayed(run: Run, copies: list[int]) -> None:
    """Of another client that opened it for writing, and was killed."""
    with duckdb.connect(str(run.folder.database)) as connection:
        connection.execute("SET checkpoint_threshold = '1 GB'; PRAGMA disable_checkpoint_on_shutdown")
        connection.execute("CREATE OR REPLACE TABLE failed AS SELECT 'x.mp4' AS clip_name")
    log = run.folder.database.with_name("qa.duckdb.wal")
    assert log.stat().st_size
    assert ask(run, "FROM failed")[0] == []


def test_what_is_written_without_restrictions_is_written_to_a_copy(run: Run, copies: list[int]) -> None:
    before = run.folder.database.read_bytes()
    ask(run, "DELETE FROM features", unsafe=True)
    assert run.folder.database.read_bytes() == before
    assert len(ask(run, "FROM features")[0]) == len(CLIPS)
    assert copies == []


def test_nothing_is_stated_of_a_copy_that_lacks_something(run: Run, copies: list[int]) -> None:
    run.clip_log(CLIPS[:1], 1).write_bytes(b"PAR1")
    stated = read_merge_record(run.folder.merge_record)["database"]
    examine(run.config, lambda _: None, ["missing"])
    assert read_merge_record(run.folder.merge_record)["database"] == stated
    _, said = ask(run, "SELECT count(*) FROM features, clips")
    assert any("clips: left out" in line for line in said)
    assert copies == [1, 1]


def test_after_a_refused_merge_the_rows_are_those_that_it_refused(run: Run, copies: list[int]) -> None:
    run.shard([make_row(CLIPS[0], vmaf_mean=1.0)], writer="other")
    with pytest.raises(IncompleteError):
        merge(run.folder, run.config)
    assert (
        "database" not in read_merge_record(run.folder.merge_record)
        or not (read_merge_record(run.folder.merge_record)["database"])
    )
    examine(run.config, lambda _: None, ["missing"])
    ask(run, "FROM features")
    assert copies == [1, 1]
