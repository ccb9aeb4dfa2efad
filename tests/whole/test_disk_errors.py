"""A disk that takes no more, a limit on files, too little memory: one message that names the place."""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from support.merge_helpers import Run, make_row, plan_run

from vmafarm.common.errors import UnavailableError, VmafarmError
from vmafarm.disk import durable
from vmafarm.disk.syscalls import System
from vmafarm.merging.merge import merge
from vmafarm.process.scratch import scratch_folder
from vmafarm.publish import deliver, examine
from vmafarm.query import checks as qa
from vmafarm.query.answers import run_query
from vmafarm.query.checks import Check, run_checks
from vmafarm.query.text import write_to
from vmafarm.sql import templates as sql

pytestmark = pytest.mark.full

CLIPS = [f"clip_{i}.mp4" for i in range(6)]
REMEDIES = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "quota",
    errno.EFBIG: "ulimit -f",
    errno.EIO: "look at the kernel's log",
}
SPILLS = "SELECT range AS a, random() AS b, repeat('x', 50) || range AS c FROM range(600000) ORDER BY b"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "scratch").mkdir()
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path / "scratch")
    run.shard([make_row(clip) for clip in CLIPS])
    return run


@contextmanager
def file_size_limit(most: int) -> Iterator[None]:
    """As ``ulimit -f`` sets it, in bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Journals


@pytest.fixture
def with_journal(run: Run) -> Run:
    """Rows that stand in a journal alone."""
    for path in run.folder.shards.glob("*/*.parquet"):
        path.unlink()
    run.journal([make_row(clip) for clip in CLIPS])
    return run


def test_a_limit_on_files_while_journals_are_recovered_names_the_scratch_folder(with_journal, tmp_path):
    with file_size_limit(4096), pytest.raises(UnavailableError) as caught:
        merge(with_journal.folder, with_journal.config)
    assert caught.value.message == f"the scratch folder {tmp_path}/scratch cannot be used: File too large"
    assert "ulimit -f" in caught.value.hint
    assert not list((tmp_path / "scratch").iterdir())
    assert not with_journal.folder.table.exists()


@pytest.mark.parametrize("number", REMEDIES)
def test_a_disk_that_takes_no_recovered_rows_is_named(with_journal, tmp_path, monkeypatch, number):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(UnavailableError, match=f"the scratch folder {tmp_path}/scratch") as caught:
        merge(with_journal.folder, with_journal.config)
    assert ("free space" if number == errno.EDQUOT else REMEDIES[number]) in caught.value.hint


# DuckDB


@pytest.mark.parametrize("how", ["table", "stream"])
def test_a_limit_on_files_while_duckdb_spills_names_the_scratch_folder(tmp_path, how):
    with (
        scratch_folder(str(tmp_path)) as scratch,
        file_size_limit(1 << 20),
        pytest.raises(UnavailableError) as caught,
        sql.connect(scratch / "spill", memory="40MB", threads=2) as connection,
    ):
        if how == "table":
            connection.execute(f"CREATE TABLE spilled AS {SPILLS}")
        for _ in connection.sql(SPILLS).to_arrow_reader(1000):
            pass
    assert caught.value.message == f"the scratch folder {tmp_path} cannot be used: File too large"
    assert "ulimit -f" in caught.value.hint


@pytest.mark.parametrize("number", REMEDIES)
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (duckdb.IOException, 'IO Error: Could not write file "{}": {}'),
        (duckdb.FatalException, 'FATAL Error: Failed to create checkpoint: Could not write file "{}": {}'),
        (duckdb.TransactionException, 'Failed to commit: Could not write file "{}": {}'),
        (duckdb.IOException, '{{"exception_message":"Could not fsync \\"{}\\": {}","errno":"28"}}'),
        (OSError, 'IO Error: Could not write file "{}": {}'),  # of a stream of batches
    ],
)
def test_an_error_of_the_disk_in_duckdb_is_one_message(tmp_path, kind, words, number):
    for place, told in (("inside", f"the scratch folder {tmp_path}"), ("outside", "/outside/o.csv")):
        with (
            scratch_folder(str(tmp_path)) as scratch,
            pytest.raises(UnavailableError) as caught,
            sql.connect(scratch / "spill"),
        ):
            file = scratch / "file" if place == "inside" else Path("/outside/o.csv")
            raise kind(words.format(file, os.strerror(number)))
        assert told in caught.value.message
        expected = "free space" if (place, number) == ("inside", errno.EDQUOT) else REMEDIES[number]
        assert expected in caught.value.hint


@pytest.mark.parametrize(
    "error",
    [
        duckdb.InterruptException("INTERRUPT Error: Interrupted!"),
        RuntimeError("Query interrupted"),
        OSError("INTERRUPT Error: Interrupted!"),
    ],
)
def test_an_interrupt_of_duckdb_is_an_interrupt(tmp_path, error):
    with pytest.raises(KeyboardInterrupt), sql.connect(tmp_path / "scratch/spill"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        duckdb.BinderException("no such column"),
        duckdb.IOException("No files found that match the pattern"),
        RuntimeError("odd"),
        OSError(errno.ENOSPC, "No space left on device"),  # has its number: of no query
        VmafarmError("one of ours"),
    ],
)
def test_another_error_stays_what_it_is(tmp_path, error):
    with pytest.raises(type(error)) as caught, sql.connect(tmp_path / "scratch/spill"):
        raise error
    assert caught.value is error


def test_too_little_memory_names_the_limit_and_the_folder(tmp_path):
    with (
        scratch_folder(str(tmp_path)) as scratch,
        pytest.raises(UnavailableError) as caught,
        sql.connect(scratch / "spill", memory="20MB", threads=1) as connection,
    ):
        connection.execute("SELECT list(range) FROM range(10000000)").fetchall()
    assert f"more than merge.memory = 20MB is needed, or more disk in {tmp_path}: " in caught.value.message
    assert "\n" not in caught.value.message
    assert "extract.scratch" in caught.value.hint


def test_a_limit_of_virtual_memory_that_is_reached_before_duckdbs_own_is_named(tmp_path):
    """Raising merge.memory would not help; `ulimit -v` does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with (
        scratch_folder(str(tmp_path)) as scratch,
        pytest.raises(UnavailableError) as caught,
        sql.connect(scratch / "spill", memory="8GB", threads=1) as connection,
    ):
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), hard))
        try:
            connection.execute("SELECT list(range) FROM range(100000000)").fetchall()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert caught.value.message.startswith("no memory is left: Out of Memory Error")
    assert "ulimit -v" in caught.value.hint


# Verbs


@pytest.mark.parametrize("number", REMEDIES)
@pytest.mark.parametrize("name", [".parquet", ".merge.json", ".card.md", "qa.duckdb", ".report.html"])
def test_whatever_of_a_delivery_cannot_be_written_is_named(run, monkeypatch, name, number):
    class Failing(System):
        def write(self, descriptor: int, data: bytes | memoryview) -> int:
            if name in Path(os.readlink(f"/proc/self/fd/{descriptor}")).name:
                raise OSError(number, os.strerror(number))
            return super().write(descriptor, data)

    monkeypatch.setattr(durable, "system", Failing())
    with pytest.raises(UnavailableError) as caught:
        deliver(run.config, lambda _: None)
    assert re.search(rf"{re.escape(name)}: {os.strerror(number)}", caught.value.message)
    assert REMEDIES[number] in caught.value.hint
    assert not list(run.folder.root.glob(".*"))


def test_a_copy_for_queries_that_the_disk_does_not_take_whole_is_not_kept(run):
    """DuckDB keeps rows in its log until it closes, and closing says nothing of what it could not write."""
    rows = [make_row(clip) for clip in CLIPS]
    examine(run.config, lambda _: None)
    whole = run.folder.database.stat().st_size
    run.folder.database.unlink()
    run.shard(rows)
    with file_size_limit(whole - (256 << 10)), pytest.raises(UnavailableError, match="File too large"):
        examine(run.config, lambda _: None)
    assert not run.folder.database.exists()


def test_a_check_without_disk_or_memory_is_no_finding_about_the_table(tmp_path, monkeypatch):
    greedy = Check(1, "greedy", "warn", "figures", "", "", "SELECT list(range) FROM range(10000000)")
    monkeypatch.setattr(qa, "list_checks", lambda: (greedy,))
    with (
        pytest.raises(UnavailableError, match=r"more than merge\.memory = 20MB"),
        sql.connect(tmp_path / "scratch/spill", memory="20MB", threads=1) as connection,
    ):
        connection.execute("CREATE TABLE run (key VARCHAR)")  # which says whether frames are kept
        run_checks(connection)


def test_an_answer_that_a_query_writes_itself_names_its_file(run, tmp_path):
    query = f"COPY (SELECT random() FROM range(3000000)) TO '{tmp_path}/answer.csv'"
    with file_size_limit(1 << 22), pytest.raises(UnavailableError) as caught:
        run_query(run.config, query, lambda answer: answer.rows(), lambda _: None, unsafe=True)
    assert f"{tmp_path}/answer.csv" in caught.value.message
    assert "File too large" in caught.value.message
    assert "ulimit -f" in caught.value.hint


def test_an_answer_that_does_not_fit_names_its_file_and_leaves_the_old_one(run, tmp_path):
    path = tmp_path / "answer.csv"
    path.write_text("old")
    query = "SELECT range, repeat('x', 100) FROM range(100000)"
    with file_size_limit(1 << 22), pytest.raises(UnavailableError, match=r"answer\.csv: File too large"):
        run_query(run.config, query, write_to(path, print), lambda _: None)
    assert path.read_text() == "old"
