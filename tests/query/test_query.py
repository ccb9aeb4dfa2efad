"""vmafarm sql: any query over a run, none that writes, reaches a file or hangs."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command import vmafarm
from support.merge_helpers import NAN, Run, make_row, plan_run
from support.terminal import Terminal

from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.common.package import PACKAGE
from vmafarm.merging.merge import merge
from vmafarm.query import database
from vmafarm.query.answers import run_query, write_csv, write_json, write_table
from vmafarm.query.database import open_run
from vmafarm.query.prompt import run_prompt
from vmafarm.query.text import read_query, write_to
from vmafarm.shards.listing import list_shards
from vmafarm.shards.recovery import recover
from vmafarm.shards.writer import ShardWriter
from vmafarm.sql import templates as sql

CLIPS = ["a.mp4", "b'; DROP TABLE features; --.mp4", "c\n\x1b[31m{{ 7*7 }}.mp4", "d.mp4"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Four clips: two with rows, one of them NaN in one column, one that failed."""
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    run.shard([make_row(CLIPS[0]), make_row(CLIPS[2], cambi_mean=NAN, cambi_std=NAN)])
    run.fail(CLIPS[1])
    return run


def ask(run: Run, query: str, **options) -> tuple[list[tuple], list[str]]:
    """Rows, and what was said of where they come from."""
    found: list[tuple] = []
    said: list[str] = []
    run_query(run.config, query, lambda _, batches: found.extend(chain(*batches)), said.append, **options)
    return found, said


def refuse(run: Run, query: str, kind: type[Exception] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        ask(run, query)
    return str(caught.value)


# What it reads


def test_a_run_that_is_not_merged_is_read_from_its_shards(run):
    found, said = ask(run, "SELECT clip_name, isnan(cambi_mean) FROM features ORDER BY ALL")
    assert found == [(CLIPS[0], False), (CLIPS[2], True)]
    assert said == ["features: 1 shard, not merged yet"]


def test_nan_is_found_among_numbers_whatever_the_statistics_say(run):
    run.shard([make_row(CLIPS[3], cambi_mean=NAN, cambi_std=NAN), make_row(CLIPS[1])],
              writer="v", write_statistics=True)  # fmt: skip
    assert ask(run, "SELECT count(*) FROM features WHERE isnan(cambi_mean)")[0] == [(2,)]


@pytest.mark.parametrize("broken", [True, False])
@pytest.mark.parametrize(("changes", "outcome"), [(1, [(3,)]), (99, UnavailableError)])
def test_shards_that_an_element_replaces_meanwhile_are_read_again(run, monkeypatch, changes, outcome, broken):
    scan = database._scan_shards
    scans = []

    def late(connection: duckdb.DuckDBPyConnection, files: list[str]) -> int:
        scans.append(files)
        if len(scans) <= changes:
            run.shard([make_row(clip) for clip in (CLIPS[0], CLIPS[2], CLIPS[3])])
            if broken:
                raise duckdb.Error("TProtocolException: Invalid data")
        return scan(connection, files)

    monkeypatch.setattr(database, "_scan_shards", late)
    if outcome is UnavailableError:
        assert "faster than they can be read" in refuse(run, "SELECT count(*) FROM features", outcome)
    else:
        assert ask(run, "SELECT count(*) FROM features")[0] == outcome


@pytest.mark.parametrize("name", ["a\\b", "a?b", "it's {{ 7*7 }} [1] % 🎬\n*"])
def test_a_scratch_folder_may_have_any_name(run, tmp_path, name):
    scratch = tmp_path / name
    scratch.mkdir()
    extract = run.config.extract.model_copy(update={"scratch": str(scratch)})
    run.config = run.config.model_copy(update={"extract": extract})
    assert ask(run, "SELECT count(*) FROM features")[0] == [(2,)]
    assert not list(scratch.iterdir())


def test_a_merged_run_is_read_from_its_table(run):
    run.shard([make_row(CLIPS[1]), make_row(CLIPS[3])], writer="v")
    merge(run.folder, run.config)
    for path in run.folder.shards.glob("*/*"):
        path.unlink()
    found, said = ask(run, "SELECT clip_name FROM features")
    assert [name for (name,) in found] == sorted(CLIPS, key=str.encode)
    assert said == [f"features: the final table, {run.folder.table}"]


def test_the_tables_have_the_columns_that_their_files_have(run):
    counts = {
        name: len(ask(run, f"DESCRIBE {name}")[0]) for name in ("features", "clips", "failures", "manifest")
    }
    assert counts == {"features": 48, "clips": 20, "failures": 9, "manifest": 4}
    assert ask(run, "SELECT DISTINCT clip_name, failure FROM failures")[0] == [(CLIPS[1], "decode_error")]
    assert ask(run, "SELECT count(*) FROM manifest ANTI JOIN features USING (clip_name)")[0] == [(2,)]


def test_rows_of_journals_count_and_so_do_their_entries_of_the_clip_log(run):
    from test_shard import make_entry

    done = ShardWriter(run.folder, 0, "whole", run.provenance, 100)
    done.append(make_row(CLIPS[1]), make_entry(CLIPS[1]) | {"writer": "whole"})
    done.close()
    killed = ShardWriter(run.folder, 0, "killed", run.provenance, 100)
    killed.append(make_row(CLIPS[3]), make_entry(CLIPS[3]) | {"writer": "killed"})
    assert ask(run, "SELECT count(*) FROM features")[0] == [(4,)]
    found, _ = ask(run, "SELECT clip_name, writer FROM clips ORDER BY ALL")
    assert found == [(CLIPS[1], "whole"), (CLIPS[3], "killed")]
    assert ask(run, "SELECT DISTINCT finished_at FROM clips")[0] == [
        (make_entry("x")["finished_at"].replace(tzinfo=None),)
    ]


def test_rows_and_entries_that_move_from_a_journal_meanwhile_are_there(run, monkeypatch):
    """A writer ends after the shards were listed, and before its journal is read; the same of clip logs."""
    row = make_row(CLIPS[3])
    journal = run.journal([row], writer="rows")

    def late_rows(*arguments):
        run.shard([row], writer="rows")
        journal.unlink()
        return recover(*arguments)

    monkeypatch.setattr(database, "recover", late_rows)
    assert ask(run, "SELECT count(*) FROM features")[0] == [(3,)]
    monkeypatch.undo()

    journal = run.journal([row], writer="entries")
    read = database._read_clips

    def late_entries(folder, slices, say):
        def list_late(*arguments):
            run.log_clips({CLIPS[3]: 1.0}, writer="entries")
            journal.unlink()
            return list_shards(*arguments)

        monkeypatch.setattr(database, "list_shards", list_late)
        return read(folder, slices, say)

    monkeypatch.setattr(database, "_read_clips", late_entries)
    assert ask(run, "SELECT clip_name, writer FROM clips")[0] == [(CLIPS[3], "entries")]


def test_damaged_files_are_left_out_and_told(run):
    path = run.shard([make_row(CLIPS[3])], writer="v")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    run.clip_log(CLIPS[:1], 1).write_bytes(b"PAR1")
    (run.folder.failures / "z.jsonl").write_text('{"clip": 1}\n')
    found, said = ask(run, "SELECT count(*) FROM features")
    assert found == [(2,)]
    text = "\n".join(said)
    for part in ("left out: slice-00000/v.parquet: cut or damaged", "clips: left out", "failures: 1 record"):
        assert part in text


def test_a_clip_with_several_rows_is_there_once_and_that_is_told(run):
    run.shard([make_row(CLIPS[0], vmaf_mean=1.0)], writer="v")
    found, said = ask(run, "SELECT count(*) FROM features WHERE clip_name = 'a.mp4'")
    assert found == [(1,)]
    assert "of clips with several rows one is taken, 1 are left out" in said[0]


def test_a_run_without_rows_has_empty_tables(tmp_path):
    run = plan_run(tmp_path / "runs", CLIPS)
    run.folder.provenance.unlink()
    for name in ("features", "clips", "failures"):
        assert ask(run, f"FROM {name}")[0] == []


def test_a_run_that_is_not_planned_is_wrong_use(run):
    run.folder.manifest.unlink()
    assert "is not planned" in refuse(run, "SELECT 1")


# What it refuses

READS = ["read_csv", "read_parquet", "read_text", "read_blob", "glob", "read_json", "parquet_schema"]


def forbidden(folder: Path) -> dict[str, str]:
    """Statements that a query must not be, each by its kind."""
    return {
        "COPY": f"COPY features TO '{folder}/out.csv'",
        "EXPORT": f"EXPORT DATABASE '{folder}/out'",
        "ATTACH": f"ATTACH '{folder}/out.duckdb' AS other",
        "LOAD": "INSTALL httpfs",
        "SET": "SET memory_limit = '900GB'",
        "PRAGMA": "PRAGMA enable_profiling",
        "INSERT": "INSERT INTO features SELECT * FROM features",
        "CREATE": "CREATE TABLE other AS SELECT 1",
        "UPDATE": "UPDATE features SET mos = 5",
        "DELETE": "DELETE FROM features",
        "DROP": "DROP TABLE features",
        "ALTER": "ALTER TABLE features DROP COLUMN mos",
        "CALL": "CHECKPOINT",
        "DETACH": "DETACH other",
        "TRANSACTION": "BEGIN",
    }


@pytest.mark.parametrize("kind", forbidden(Path("x")))
def test_a_statement_that_does_more_than_read_is_one_clear_message(run, tmp_path, kind):
    before = sorted(tmp_path.rglob("*"))
    said = refuse(run, forbidden(tmp_path)[kind])
    assert said.startswith(f"a statement that does not only read: {kind}\n")
    assert "--unsafe" in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", sorted(forbidden(Path("x")).keys() - {"CALL", "TRANSACTION"}))
def test_the_database_itself_refuses_it_too(run, tmp_path, kind):
    with open_run(run.config, lambda _: None) as connection:
        with pytest.raises(duckdb.Error):
            connection.execute(forbidden(tmp_path)[kind])
        connection.execute("SELECT * FROM features").fetchall()
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("reader", READS)
def test_no_other_file_is_read(run, tmp_path, reader):
    (tmp_path / "secret").write_text("a,b\n1,2\n")
    for query in (
        f"FROM {reader}('{tmp_path}/secret')",
        f"EXPLAIN ANALYZE FROM {reader}('{tmp_path}/secret')",
    ):
        said = refuse(run, query)
        assert "Permission Error" in said
        assert "a query reads the run alone; --unsafe" in said
    refuse(run, f"FROM '{tmp_path}/secret'")
    refuse(run, f"FROM query('FROM read_text(''{tmp_path}/secret'')')")
    refuse(run, f"EXPLAIN ANALYZE COPY features TO '{tmp_path}/out'")


def test_no_variable_of_python_is_named(run):
    config = [1]  # noqa: F841 - what a query must not see
    assert "does not exist" in refuse(run, "FROM config")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "0 statements"),
        ("-- nothing", "0 statements"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM features", "nothing"),
        ("FROM \x1b[31m", ""),
        (os.fsdecode(b"SELECT '\xff'"), r"SELECT '\xff'"),
        ("SELECT INTERVAL '9000000 years'", "cast it: x::VARCHAR"),
        ("SELECT now()", "cast it: x::TIMESTAMP"),
        ("SELECT error('told')", "told"),
    ],
)
def test_a_wrong_query_is_one_message(run, query, told):
    said = refuse(run, query)
    assert told in said
    assert all(line.isprintable() for line in said.splitlines())


def test_a_query_that_needs_too_much_memory_is_told(run):
    merge_section = run.config.merge.model_copy(update={"memory": "60MB"})
    config = run.config.model_copy(update={"merge": merge_section})
    with pytest.raises(UnavailableError, match="memory"):
        run_query(config, "SELECT list(range) FROM range(100000000)", lambda _, b: list(b), lambda _: None)


def test_what_does_not_fit_into_memory_spills_although_no_file_can_be_used(run):
    merge_section = run.config.merge.model_copy(update={"memory": "60MB"})
    config = run.config.model_copy(update={"merge": merge_section})
    query = "SELECT count(*) FROM (SELECT hash(i) h, md5(i::VARCHAR) FROM range(1000000) t(i) ORDER BY h)"
    found: list = []
    run_query(config, query, lambda _, batches: found.extend(batches), lambda _: None)
    assert found == [[(1_000_000,)]]


def test_unsafe_may_write_into_the_copy_and_use_files(run, tmp_path):
    query = f"CREATE TABLE mine AS SELECT clip_name FROM features; COPY mine TO '{tmp_path}/out.csv'"
    ask(run, query, unsafe=True)
    assert (tmp_path / "out.csv").read_text().startswith("clip_name\n")
    ask(run, "DELETE FROM features", unsafe=True)
    assert ask(run, "SELECT count(*) FROM features")[0] == [(2,)]


def test_nothing_of_a_query_stays_behind(run, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    ask(run, "FROM features")
    refuse(run, "FROM nothing")
    assert sorted(tmp_path.rglob("*")) == before


# Answers


def written(write, names: list[str], *rows: tuple, **options) -> str:
    file = io.StringIO()
    write(file, *options.values(), names, iter([list(rows)] if rows else []))
    return file.getvalue()


def test_a_table_is_aligned_cut_to_the_terminal_and_shows_names_escaped():
    text = written(write_table, ["name", "vmaf", "n"], (CLIPS[2], 97.5, 3), ("映像.mp4", NAN, None), width=44)
    lines = [
        ["name".ljust(24), "vmaf", "   n"],
        [r"c\n\x1b[31m{{ 7*7 }}.mp4".ljust(24), "97.5", "   3"],
        ["映像.mp4" + " " * 16, " NaN", "NULL"],  # these two are two columns wide
    ]
    assert text == "".join("  ".join(line) + "\n" for line in lines) + "(2 rows)\n"


def test_a_message_in_the_last_column_is_cut_to_what_room_there_is():
    names = ["clip_name", "failure", "message"]
    text = written(write_table, names, ("a.mp4", "decode_error", "no frame could be decoded " * 9), width=60)
    header, row, count = text.splitlines()
    assert header == "clip_name  failure       message"
    assert row == "a.mp4      decode_error  no frame could be decoded no frame c…"[:59] + "…"
    assert len(row) == 60
    assert count == "(1 row)"
    assert "(2 of 3 columns" in written(write_table, names, ("a.mp4", "decode_error", "x" * 99), width=40)


def test_columns_that_do_not_fit_are_counted():
    names = [f"column_{i}" for i in range(10)]
    text = written(write_table, names, tuple(range(10)), width=40)
    assert all(len(line) <= 60 for line in text.splitlines())
    assert all(len(line) <= 40 for line in text.splitlines()[:-1])
    assert text.endswith("(4 of 10 columns: --csv and --json have all)\n")


def test_a_long_answer_is_cut_and_says_so():
    def batches() -> Iterator[list[tuple]]:
        while True:
            yield [(i,) for i in range(1000)]

    file = io.StringIO()
    write_table(file, 80, ["i"], batches())
    assert file.getvalue().endswith("999\n(the first 1,000 rows: --csv and --json have all)\n")


def test_json_and_csv_have_every_value_and_the_names_as_they_are(run):
    query = "SELECT clip_name, cambi_mean, NULL AS gone, [1.5, 'nan'::DOUBLE] AS list, 1 a, 2 a FROM features"
    files = {}
    for write in (write_json, write_csv):
        file = io.StringIO()
        run_query(run.config, query, lambda names, rows, w=write, f=file: w(f, names, rows), lambda _: None)
        files[write] = file.getvalue()
    first, second = sorted(json.loads(files[write_json]), key=lambda row: row["clip_name"])
    assert first["cambi_mean"] == make_row(CLIPS[0])["cambi_mean"]
    assert second == {
        "clip_name": CLIPS[2], "cambi_mean": None, "gone": None, "list": [1.5, None], "a": 1, "a_1": 2
    }  # fmt: skip
    header, *rows = csv.reader(io.StringIO(files[write_csv]))
    assert header == ["clip_name", "cambi_mean", "gone", "list", "a", "a_1"]
    assert {row[0]: (row[1], row[2]) for row in rows} == {
        CLIPS[0]: (repr(make_row(CLIPS[0])["cambi_mean"]), ""), CLIPS[2]: ("nan", ""),
    }  # fmt: skip


def test_an_empty_answer_is_an_empty_list():
    assert json.loads(written(write_json, ["a"])) == []
    assert written(write_csv, ["a"]) == "a\n"
    assert written(write_table, ["a"], width=80) == "a\n(0 rows)\n"


def test_a_plan_of_a_query_is_shown_as_it_is(run):
    file = io.StringIO()
    run_query(run.config, "EXPLAIN FROM features", lambda names, rows: write_table(file, 80, names, rows),
              lambda _: None)  # fmt: skip
    assert len(file.getvalue().splitlines()) > 3
    assert "features" in file.getvalue()


# The command


def command(run: Run, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    root = run.folder.root
    run.freeze()
    return vmafarm(
        "sql", "--run", "demo", "--set", f"run.root={root}", *words, cwd=root.parent, status=status
    )


def test_the_command_prints_the_answer_and_says_on_stderr_where_it_comes_from(run):
    done = command(run, "SELECT clip_name FROM features WHERE clip_name < 'b'", "--csv")
    assert done.stdout == "clip_name\na.mp4\n"
    assert done.stderr == "features: 1 shard, not merged yet\n"
    refused = command(run, "DROP TABLE features", status=2)
    assert refused.stderr.startswith("error: a statement that does not only read: DROP\n  ")


def test_statements_of_a_file_and_of_stdin_run_in_order(run, tmp_path):
    text = "SELECT 7 AS first; -- a remark\nSELECT ';' AS second;\n"
    (tmp_path / "q.sql").write_text(text)
    done = command(run, "--file", str(tmp_path / "q.sql"))
    assert [line.strip() for line in done.stdout.splitlines()] == [
        "first", "7", "(1 row)", "second", ";", "(1 row)"
    ]  # fmt: skip
    found: list[str] = []
    run_query(run.config, text, lambda names, _: found.extend(names), lambda _: None, several=True)
    assert found == ["first", "second"]
    assert read_query(None, None, io.StringIO(text)) == text


def test_of_several_statements_none_runs_if_one_would_write(run):
    ran: list[str] = []
    with pytest.raises(UsageError, match="does not only read: DROP"):
        run_query(run.config, "SELECT 1; DROP TABLE features", lambda names, _: ran.extend(names),
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
def test_an_output_that_cannot_be_is_told_before_the_query_runs_and_not_as_of_the_run_folder(
    tmp_path, output, told
):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "a.csv").touch()
    with pytest.raises(UsageError, match=rf"--output .*{told}") as caught:
        write_to(tmp_path / output)
    assert "run" not in caught.value.hint
    said = vmafarm("report", "--output", tmp_path / output, cwd=tmp_path, status=2).stderr
    assert told in " ".join(said.split())


def test_an_answer_is_written_whole_or_not_at_all(run, tmp_path):
    query = "SELECT clip_name FROM features WHERE clip_name < 'b'"
    for suffix, content in ((".csv", "clip_name\na.mp4\n"), (".json", '[\n{"clip_name": "a.mp4"}\n]\n')):
        path = tmp_path / f"answer{suffix}"
        run_query(run.config, query, write_to(path), lambda _: None)
        assert path.read_text() == content
        fails = "SELECT CASE WHEN i < 200000 THEN i ELSE error('late') END FROM range(200001) t(i)"
        with pytest.raises(UsageError, match="late"):
            run_query(run.config, fails, write_to(path), lambda _: None)
        assert path.read_text() == content
        assert sorted(p.name for p in tmp_path.glob("*answer*")) == sorted(
            p.name for p in tmp_path.glob("answer.*")
        )
    with pytest.raises(UsageError, match="unknown suffix"):
        write_to(tmp_path / "answer.xlsx")


@pytest.mark.parametrize(
    "endless",
    [
        "SELECT count(*) FROM range(100000000000) a, range(100000) b",
        "SELECT a.range FROM range(100000000000) a, range(100000) b WHERE a.range + b.range < 0",
    ],
)
def test_a_query_that_never_ends_ends_with_ctrl_c(run, tmp_path, endless):
    run.freeze()
    words = [sys.executable, "-m", "vmafarm", "sql", "--run", "demo", "--set", f"run.root={run.folder.root}"]
    with subprocess.Popen([*words, endless], stderr=subprocess.PIPE, text=True) as process:
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
    code = "".join((folder / name).read_text() for name in ("database.py", "reference_tables.py"))
    used = re.findall(r'"query/(\w+)"', code)
    assert set(used) == {path.stem for path in (sql.sql_folder() / "query").glob("*.sql")}


# At a prompt


def converse(run: Run, *lines: str | type[BaseException]) -> tuple[list[list[tuple]], list[str]]:
    """Answers, and what was said, to lines typed at the prompt; a type of error is that key."""
    typed = iter(lines)
    answers: list[list[tuple]] = []
    said: list[str] = []

    def read(_: str) -> str:
        line = next(typed, EOFError)
        if isinstance(line, str):
            return line
        raise line

    run_prompt(run.config, lambda _, batches: answers.append([*chain(*batches)]), said.append, read=read)
    return answers, said


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_prompt_answers_queries_of_several_lines_and_several_in_one(run):
    answers, _ = converse(run, "SELECT count(*)", "FROM features;", "SELECT 1; SELECT 2;", "", ";")
    assert answers == [[(2,)], [(1,)], [(2,)]]


def test_a_prompt_goes_on_after_errors_and_what_would_write(run):
    answers, said = converse(run, "SELECT nothing;", "DROP TABLE features;", "SELECT count(*) FROM features;")
    assert answers == [[(2,)]]
    assert any("nothing" in line for line in said)
    assert "error: a statement that does not only read: DROP" in said


def test_ctrl_c_drops_what_was_typed(run):
    assert converse(run, "SELECT", KeyboardInterrupt, "SELECT 3;")[0] == [[(3,)]]


def test_the_prompt_tells_its_tables_and_commands(run):
    (tables,), said = converse(run, ".tables", ".help", ".nothing")
    columns = dict(tables)
    assert {"features", "clips", "failures", "manifest", "columns", "run"} <= columns.keys()
    assert columns["features"].startswith("clip_name, mos, width, height, adm2_mean")
    assert sum(".tables" in line for line in said) == 3


def test_at_a_terminal_keys_work_and_what_was_typed_comes_again(run, tmp_path):
    run.freeze()
    words = ("sql", "--set", f"run.root={run.folder.root}", "--run", "demo")

    def asked_again_after(text: str) -> Callable[[list[str]], bool]:
        def seen(lines: list[str]) -> bool:
            shown = [line for line in lines if line]
            return shown[-1:] == ["vmafarm>"] and any(line.startswith(text) for line in shown)

        return seen

    with Terminal(*words, cwd=tmp_path, columns=60) as terminal:
        terminal.wait(asked_again_after("a query ends with a semicolon"))
        terminal.type("SELECT count(*) AS clips\nFROM features;\n")
        lines = [line.strip() for line in terminal.wait(asked_again_after("(1 row)"))]
        assert lines[lines.index("...> FROM features;") + 1 :][:3] == ["clips", "2", "(1 row)"]
        terminal.type("SELECT wrong")
        terminal.wait(lambda lines: "vmafarm> SELECT wrong" in lines)
        terminal.type("\x03")
        terminal.wait(asked_again_after("vmafarm> SELECT wrong"))
        terminal.type("SELECT nothing;\n")
        terminal.wait(asked_again_after("error: "))
        terminal.type("\x04")
        terminal.end()
    assert terminal.process.exitstatus == 0
    with Terminal(*words, cwd=tmp_path) as terminal:
        terminal.wait(asked_again_after("a query ends with a semicolon"))
        terminal.type("\x1b[A")
        terminal.wait(lambda lines: "vmafarm> SELECT nothing;" in lines)
        terminal.type("\x03")
        terminal.wait(asked_again_after("vmafarm> SELECT nothing;"))
        terminal.type("\x04")
        terminal.end()
    assert terminal.process.exitstatus == 0


def test_what_was_typed_is_kept_for_this_user_alone(run, tmp_path):
    converse(run, "SELECT 1;")
    history = tmp_path / "state" / "vmafarm" / "sql_history"
    assert history.stat().st_mode & 0o077 == 0
    (tmp_path / "state" / "vmafarm").chmod(0o700)


def test_a_history_that_cannot_be_kept_hinders_nobody(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert converse(run, "SELECT 1;")[0] == [[(1,)]]


def test_parquet_keeps_types_and_is_written_whole(run, tmp_path):
    path = tmp_path / "answer.parquet"
    write = write_to(path)
    run_query(run.config, "SELECT clip_name, width, [1.5] AS list FROM features ORDER BY 1", write, print)
    with pq.ParquetFile(path) as file:
        table = file.read()
    assert [table.schema.field(name).type for name in ("clip_name", "width")] == [pa.string(), pa.int32()]
    assert table["clip_name"].to_pylist() == [CLIPS[0], CLIPS[2]]
    before = path.read_bytes()
    with pytest.raises(UsageError):
        run_query(run.config, "SELECT nothing", write, print)
    assert path.read_bytes() == before


def test_a_full_scratch_folder_is_named_and_not_the_memory_blamed(run, tmp_path, monkeypatch):
    def fail(connection, config, folder, *_, **__):
        raise duckdb.IOException(f'Could not write file "{folder}/run.duckdb": No space left on device')

    monkeypatch.setattr(database, "_fill", fail)
    with pytest.raises(UnavailableError, match=f"the scratch folder {tmp_path} has no space left"):
        ask(run, "SELECT 1")
