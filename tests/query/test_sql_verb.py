"""The verb sql: where its query comes from, and where its answer goes."""

from __future__ import annotations

import io
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command import call
from support.merge_helpers import Run

from vmafarm.common.errors import UsageError
from vmafarm.common.layout import written
from vmafarm.common.package import PACKAGE
from vmafarm.query.answers import run_query
from vmafarm.query.text import read_query, write_to
from vmafarm.sql import templates as sql


@pytest.fixture
def command(run: Run):
    """Runs the verb in this process; gives the exit status, the output and the error output."""
    run.freeze()

    def here(*words: str, verb: str = "sql") -> tuple[int, str, str]:
        said = call(verb, "--run", "demo", "--set", f"run.root={run.folder.root}", *words, status=None)
        return said.returncode, said.stdout, said.stderr

    return here


def test_the_command_prints_the_answer_and_says_on_stderr_where_it_comes_from(command):
    said = "features: 1 shard, not merged yet\n"
    query = "SELECT clip_name FROM features WHERE clip_name < 'b'"
    assert command(query, "--csv") == (0, "clip_name\na.mp4\n", said)
    assert command(query, "--json") == (0, '[\n{"clip_name": "a.mp4"}\n]\n', said)
    status, _, refused = command("DROP TABLE features")
    assert status == 2
    assert refused.startswith("error: a statement that does not only read: DROP\n  ")


def test_statements_of_a_file_and_of_stdin_run_in_order(run, command, tmp_path):
    text = "SELECT 7 AS first; -- a ; remark\nSELECT ';é' AS second; /* ; */ ;\n"
    (tmp_path / "q.sql").write_text(text)
    status, shown, said = command("--file", str(tmp_path / "q.sql"))
    assert status == 0, said
    assert re.sub(r"[^\w;]+", " ", shown).split() == ["first", "int32", "7", "second", "varchar", ";é"]
    found: list[str] = []
    run_query(run.config, text, lambda answer: found.extend(answer.rows()[0]), lambda _: None, several=True)
    assert found == ["first", "second"]
    assert read_query(None, None, io.StringIO(text)) == text


def test_without_a_query_at_a_terminal_it_says_how_to_open_the_database(run, command, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    status, _, said = command()
    assert (status, said.partition("\n")[0]) == (2, "error: no query is given")
    assert f"duckdb -readonly {shlex.quote(str(run.folder.database))}\n" in said


def test_of_several_statements_none_runs_if_one_would_write(run):
    ran: list[str] = []
    with pytest.raises(UsageError, match="does not only read: DROP"):
        run_query(run.config, "SELECT 1; DROP TABLE features", lambda answer: ran.extend(answer.rows()[0]),
                  lambda _: None, several=True)  # fmt: skip
    assert ran == []


def test_a_query_that_cannot_be_read_is_one_message(tmp_path):
    (tmp_path / "latin.sql").write_bytes(b"SELECT '\xff'")
    for query, file, told in (
        (None, tmp_path / "none.sql", "cannot be read: No such file"),
        (None, tmp_path, "cannot be read: Is a directory"),
        (None, tmp_path / "latin.sql", "not UTF-8"),
        ("SELECT 1", tmp_path / "latin.sql", "a query and --file"),
        (None, Path("/dev/zero"), "/dev/zero: more than 16,777,216 characters, expected a query"),
    ):
        with pytest.raises(UsageError, match=told):
            read_query(query, file, io.StringIO())
    with Path("/dev/zero").open() as endless, pytest.raises(UsageError, match="standard input: more than"):
        read_query(None, None, endless)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("none/a.csv", "a.csv: its folder is not there"),
        ("a.csv/b.csv", "b.csv: its folder is not there"),
        ("folder.csv", "folder.csv: this is a folder"),
    ],
)
def test_an_impossible_output_is_reported_before_the_query_runs_and_the_run_folder_is_not_blamed(
    tmp_path, command, output, told
):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "a.csv").touch()
    with pytest.raises(UsageError, match=rf"--output .*{told}") as caught:
        write_to(tmp_path / output, print)
    assert "run" not in caught.value.hint
    for verb in (("sql", "SELECT 1"), ("report",)):
        status, _, said = command(*verb[1:], "--output", str(tmp_path / output), verb=verb[0])
        assert (status, told in said) == (2, True)


def test_the_verb_says_what_it_wrote(command, tmp_path):
    path = tmp_path / "answer.parquet"
    status, shown, _ = command("FROM features", "--output", str(path))
    assert (status, shown) == (0, f"{written(path, '2 rows')[0]}\n")


def test_an_answer_is_written_whole_or_not_at_all(run, tmp_path):
    query = "SELECT clip_name FROM features WHERE clip_name < 'b'"
    for suffix, content in ((".csv", "clip_name\na.mp4\n"), (".json", '[\n{"clip_name": "a.mp4"}\n]\n')):
        path = tmp_path / f"answer{suffix}"
        told: list[str] = []
        run_query(run.config, query, write_to(path, told.append), lambda _: None)
        assert path.read_text() == content
        assert told == [f"written: {path}, 1 row, {len(content)} bytes"]
        fails = "SELECT CASE WHEN i < 200000 THEN i ELSE error('late') END FROM range(200001) t(i)"
        with pytest.raises(UsageError, match="late"):
            run_query(run.config, fails, write_to(path, told.append), lambda _: None)
        assert path.read_text() == content
        assert len(told) == 1
        assert sorted(p.name for p in tmp_path.glob("*answer*")) == sorted(
            p.name for p in tmp_path.glob("answer.*")
        )
    with pytest.raises(UsageError, match="unknown suffix"):
        write_to(tmp_path / "answer.xlsx", print)


@pytest.mark.parametrize(
    "endless",
    [
        ("SELECT count(*) FROM range(100000000000) a, range(100000) b",),
        ("--csv", "SELECT a.range FROM range(100000000000) a, range(100000) b WHERE a.range + b.range < 0"),
    ],
    ids=["drawn", "fetched"],
)
def test_a_query_that_never_ends_ends_with_ctrl_c(run, tmp_path, endless):
    run.freeze()
    words = [sys.executable, "-m", "vmafarm", "sql", "--run", "demo", "--set", f"run.root={run.folder.root}"]
    with subprocess.Popen([*words, *endless], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "not merged yet" in process.stderr.readline()
        time.sleep(1)  # else it is not DuckDB that is interrupted
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, said.count("\n"), said[:9]) == (1, 1, "stopped: ")
    assert not list(tmp_path.glob("vmafarm-*"))


def test_every_template_for_queries_is_used():
    folder = PACKAGE / "query"
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    used = re.findall(r'"query/(\w+)"', code)
    assert set(used) == {path.stem for path in (sql.sql_folder() / "query").glob("*.sql")}
