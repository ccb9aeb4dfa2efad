"""What cannot be combined is refused with one clear message, before anything is written."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.combined import publish_run, put_together, rows
from support.command import call
from support.errors_document import documented
from support.merge_helpers import plan_run

from vmafarm import combine as combine_tables
from vmafarm import load_config, read_table
from vmafarm.combining.options import parse_pairs, parse_range
from vmafarm.common.errors import IncompleteError, UnavailableError, UsageError, VmafarmError
from vmafarm.common.package import PACKAGE
from vmafarm.sql import templates as sql


def _nothing(runs: Path) -> tuple[str, ...]:
    (runs / "x.parquet").write_bytes(b"")
    return ("x.parquet",)


def _text(runs: Path) -> tuple[str, ...]:
    (runs / "x.parquet").write_text("clip_name,mos\n")
    return ("k150k", "x.parquet")


def _foreign(runs: Path) -> tuple[str, ...]:
    table = pq.ParquetFile(runs / "full_features_live.parquet").read().replace_schema_metadata(None)
    pq.write_table(table, runs / "x.parquet")
    return ("k150k", "x.parquet")


def _other_columns(runs: Path) -> tuple[str, ...]:
    path = runs / "full_features_live.parquet"
    table = pq.ParquetFile(path).read().drop_columns(["vmaf_std"])
    pq.write_table(table.replace_schema_metadata(pq.read_metadata(path).metadata), runs / "x.parquet")
    return ("k150k", "x.parquet")


def _combined(runs: Path) -> tuple[str, ...]:
    put_together(runs / "x.parquet", "live")
    return ("k150k", "x.parquet")


def _unmerged(runs: Path) -> tuple[str, ...]:
    plan_run(runs, ["a.mp4"])
    return ("k150k", "demo")


def _same_bytes(runs: Path) -> tuple[str, ...]:
    shutil.copy(runs / "full_features_live.parquet", runs / "x.parquet")
    return ("live", "x.parquet")


def _linked(runs: Path) -> tuple[str, ...]:
    (runs / "x.parquet").symlink_to("full_features_live.parquet")
    return ("live", "x.parquet")


def _same_clip(runs: Path) -> tuple[str, ...]:
    publish_run(runs / "again", "k150k", {"b.mp4": 2.0, "z.mp4": 2.0})
    return ("k150k", "again/full_features_k150k.parquet")


def _fork(runs: Path) -> tuple[str, ...]:
    publish_run(runs, "fork", {"f.mp4": 2.0}, engine="vmaf")
    return ("k150k", "fork")


def _pipe(runs: Path) -> tuple[str, ...]:
    os.mkfifo(runs / "x.parquet")
    return ("k150k", "x.parquet")


REFUSED: dict[str, tuple[Callable[[Path], tuple[str, ...]], str]] = {
    "a table to combine that is not there": (lambda runs: ("k150k", "x.parquet"), "x.parquet is not there"),
    "an empty file among the tables": (_nothing, "cannot be read as Parquet"),
    "a text file among the tables": (_text, "cannot be read as Parquet"),
    "a pipe among the tables": (_pipe, "this is a FIFO, expected a regular file"),
    "a Parquet file of another program": (_foreign, "is not a file of vmafarm"),
    "a table of another schema": (_other_columns, "column vmaf_std is missing"),
    "a combined table under another": (_combined, "x.parquet is a combined table"),
    "a run without a published table": (_unmerged, "the run demo has no published table"),
    "one table named twice": (lambda runs: ("k150k", "full_features_k150k.parquet"), "are the same file"),
    "one table under two names": (_linked, "are the same file"),
    "a copy of a table beside it": (_same_bytes, "have the same bytes"),
    "one clip of one corpus in two tables": (_same_clip, "b.mp4 in k150k and again/full_features_k150k"),
    "tables of two engines": (_fork, "engine: ffmpeg (k150k) and vmaf (fork)"),
    "a folder among the tables": (lambda runs: ("again", "k150k"), "again is not there, neither a file nor"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_with_one_message(runs: Path, what: str) -> None:
    spoil, told = REFUSED[what]
    words = spoil(runs)
    said = call("combine", "all.parquet", *words, "--set", "run.root=.", cwd=runs, status=2)
    lines = said.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert told in said.stderr
    assert lines[-1].startswith("  "), "what to do"
    assert not (runs / "all.parquet").exists()
    assert not list(runs.glob(".*.tmp"))


ROWS = {
    "a table to combine that is no published table": "a text file among the tables",
    "a table to combine that has other columns": "a table of another schema",
    "tables to combine that were made by different engines or versions": "tables of two engines",
    "a clip that a corpus has in two tables": "one clip of one corpus in two tables",
    "a run to combine that has no table": "a run without a published table",
}


@pytest.mark.parametrize("row", ROWS)
def test_the_document_has_it(row: str) -> None:
    documented(row)
    assert ROWS[row] in REFUSED


def test_a_table_that_does_not_match_its_record_is_refused(runs: Path) -> None:
    documented("a table to combine that was changed since it was published")
    path = runs / "full_features_live.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    for given in ("live", path):
        with pytest.raises(IncompleteError, match=r"live\.parquet was changed since it was published"):
            put_together(runs / "all.parquet", "k150k", given)
    assert not (runs / "all.parquet").exists()


def test_a_table_that_is_written_to_meanwhile_is_not_combined(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vmafarm.combining import write

    real = write.cut

    def touched(*given: object):
        os.utime(runs / "full_features_live.parquet", (1, 1))
        return real(*given)

    monkeypatch.setattr(write, "cut", touched)
    with pytest.raises(IncompleteError, match="was written to while it was read"):
        put_together(runs / "all.parquet", "k150k", "live")
    assert not (runs / "all.parquet").exists()


@pytest.mark.parametrize("how", ["itself", "a link", "by force"])
def test_a_source_is_never_overwritten(runs: Path, how: str) -> None:
    documented("a new table in the place of one that it is made of")
    source = runs / "a.parquet"
    shutil.copy(runs / "full_features_live.parquet", source)
    out = source
    if how == "a link":
        out = runs / "link.parquet"
        out.symlink_to("a.parquet")
    before = source.read_bytes()
    with pytest.raises(UsageError, match=r"is to be written, and is .*a\.parquet as well"):
        put_together(out, "k150k", source, force=how == "by force")
    assert source.read_bytes() == before


def test_a_file_of_somebody_else_is_replaced_only_by_force(runs: Path) -> None:
    documented("a new table in the place of another file")
    out = runs / "mine.parquet"
    out.write_text("precious")
    with pytest.raises(UsageError, match="was not written by vmafarm combine") as caught:
        put_together(out, "k150k")
    assert "--force" in caught.value.hint
    assert out.read_text() == "precious"
    put_together(out, "k150k", force=True)
    assert len(rows(out, "clip_name")) == 3


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("all", "does not end with .parquet"),
        ("folder.parquet", "is a folder"),
        ("none/all.parquet", "its folder is not there"),
        ("full_features_k150k.parquet", "is where the run k150k publishes its table"),
    ],
)
def test_a_place_for_no_table_is_refused(runs: Path, out: str, told: str) -> None:
    (runs / "folder.parquet").mkdir()
    with pytest.raises(UsageError, match=re.escape(told)):
        put_together(runs / out, "live", root=runs, force=True)


def test_a_folder_that_cannot_be_written_is_one_message(runs: Path, as_ordinary_user: None) -> None:
    with pytest.raises(VmafarmError, match=r"cannot be written|no permission"):
        put_together(Path("/proc/all.parquet"), "k150k", root=runs)


SCALE = {"mos_scale": (0.0, 100.0)}

CHOICES: dict[str, tuple[dict, str]] = {
    "an unknown key": ({"allow_mixed": ["plan"]}, "--allow-mixed plan: no such key"),
    "a scale upside down": ({"mos_scale": (100.0, 0.0)}, "--mos-scale: the range 100 to 0"),
    "a scale without end": ({"mos_scale": (0.0, float("inf"))}, "--mos-scale: the range 0 to inf"),
    "a range without a scale": ({"mos_ranges": {"k150k": (1.0, 5.0)}}, "--mos-range without --mos-scale"),
    "a range of nothing": (
        SCALE | {"mos_ranges": {"other": (1.0, 5.0)}},
        "--mos-range other: no such corpus",
    ),
    "a range that scores exceed": (SCALE | {"mos_ranges": {"live": (0.0, 50.0)}}, "go from 20 to 80"),
    "a share above one": ({"columns": True, "min_coverage": 1.5}, "--min-coverage 1.5"),
    "a prefix without columns": ({"prefixes": {"live": "x"}}, "--prefix without --columns"),
    "a scale with columns": (SCALE | {"columns": True}, "--mos-scale with --columns"),
    "a name of nothing": ({"names": {"other": "x"}}, "--name other: no such table is given"),
    "a label with a slash": ({"names": {"live": "a/b"}}, "'a/b' is no label of a corpus"),
    "a prefix of nothing": ({"columns": True, "prefixes": {"other": "x"}}, "--prefix other: no such table"),
}


@pytest.mark.parametrize("what", CHOICES)
def test_a_choice_that_means_nothing_is_refused(runs: Path, what: str) -> None:
    options, told = CHOICES[what]
    with pytest.raises(UsageError, match=re.escape(told)) as caught:
        put_together(runs / "all.parquet", "k150k", "live", **options)
    assert caught.value.hint
    assert not (runs / "all.parquet").exists()


def test_a_corpus_with_one_score_needs_its_range(runs: Path) -> None:
    documented("a corpus of a single score, to be mapped to a scale")
    publish_run(runs, "flat", {"f.mp4": 4.0, "g.mp4": 4.0})
    with pytest.raises(UsageError, match=r"all scores of flat are 4, .*") as caught:
        put_together(runs / "all.parquet", "flat", "k150k", mos_scale=(0, 10))
    assert "--mos-range flat=LOW,HIGH" in caught.value.hint
    put_together(runs / "all.parquet", "flat", mos_scale=(0, 10), mos_ranges={"flat": (0.0, 5.0)})
    assert rows(runs / "all.parquet", "mos") == [(8.0,), (8.0,)]


def test_no_table_and_too_few_are_refused_and_one_is_enough_for_rows(runs: Path) -> None:
    with pytest.raises(UsageError, match="no table is given"):
        put_together(runs / "all.parquet")
    with pytest.raises(UsageError, match="--columns needs another one beside it"):
        put_together(runs / "all.parquet", "k150k", columns=True)
    assert call("combine", "all.parquet", cwd=runs, status=2).stderr.startswith("error: Missing argument")


def test_what_is_written_on_the_command_line_is_read() -> None:
    assert parse_pairs("--name", ["a=b.parquet=x"], "LABEL") == {"a=b.parquet": "x"}
    assert parse_range("--mos-scale", "-1,2.5") == (-1.0, 2.5)
    for wrong in ("a", "=x", "a="):
        with pytest.raises(UsageError, match="--name") as caught:
            parse_pairs("--name", [wrong], "LABEL")
        assert caught.value.hint == "expected --name NAME=LABEL"
    with pytest.raises(UsageError, match="given twice"):
        parse_pairs("--name", ["a=x", "a=y"], "LABEL")
    for wrong in ("1", "1,2,3", "a,b", ""):
        with pytest.raises(UsageError, match=r"--mos-scale"):
            parse_range("--mos-scale", wrong)


def test_the_verb_and_the_function_do_the_same(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--mos-scale", "0,1", "--mos-range", "L=0,80", "--name", "live=L", "--set", "run.root=."]
    said = call("combine", "verb.parquet", "k150k", "live", *words, cwd=runs)
    assert said.stdout.splitlines()[-1].startswith("written: verb.parquet, ")
    config = load_config(None, f"run.root={runs}")
    out = combine_tables(
        runs / "api.parquet", ["k150k", "live"], config=config, names={"live": "L"}, mos_scale=(0, 1),
        mos_ranges={"L": (0.0, 80.0)}, quiet=True,
    )  # fmt: skip
    assert capsys.readouterr().out == ""
    assert out.read_bytes() == (runs / "verb.parquet").read_bytes()
    assert list(read_table(out).columns[:4]) == ["clip_name", "corpus", "mos", "mos_native"]
    file = runs / "more.csv"
    file.write_text("clip_name,x\na.mp4,1\n")
    words = ["--columns", "--min-coverage", "0.3", "--prefix", "more=my_", "--set", "run.root=."]
    call("combine", "verb.parquet", "k150k", "more.csv", *words, cwd=runs)
    combine_tables(
        runs / "api.parquet", ["k150k", file], config=config, columns=True, min_coverage=0.3,
        prefixes={"more": "my_"}, quiet=True,
    )  # fmt: skip
    assert (runs / "api.parquet").read_bytes() == (runs / "verb.parquet").read_bytes()
    assert pq.read_schema(runs / "api.parquet").names[-1] == "my_x"


def test_a_table_that_is_damaged_behind_its_footer_is_one_message(runs: Path) -> None:
    """No record says so: it lies alone."""
    path = runs / "alone.parquet"
    shutil.copy(runs / "full_features_live.parquet", path)
    content = bytearray(path.read_bytes())
    group = pq.read_metadata(path).row_group(0)
    for name in ("clip_name", "vmaf_std"):
        (at,) = (n for n in range(48) if group.column(n).path_in_schema == name)
        damaged = content.copy()
        begin = group.column(at).data_page_offset
        damaged[begin : begin + 20] = bytes(20)
        path.write_bytes(damaged)
        said = call("combine", "all.parquet", "alone.parquet", cwd=runs, status=1).stderr
        assert "error: the tables cannot be read: " in said
        assert "/proc/self" not in said
        assert not (runs / "all.parquet").exists()
        assert not list(runs.glob(".*.tmp"))


@pytest.mark.parametrize("error", [OSError("Invalid Input Error: x"), pa.ArrowInvalid("x")])
def test_an_error_of_a_stream_of_rows_is_one_message(
    runs: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """DuckDB's stream raises OSError without a number, or errors of Arrow."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("vmafarm.combining.write.cut", fail)
    with pytest.raises(IncompleteError, match=r"the tables cannot be read: .*x"):
        put_together(runs / "all.parquet", "k150k")
    assert not list(runs.glob("*all.parquet*"))


def test_no_space_leaves_the_earlier_table(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = runs / "all.parquet"
    put_together(out, "k150k")
    before = out.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("vmafarm.disk.durable.write_all", full)
    with pytest.raises(UnavailableError, match="no space left"):
        put_together(out, "k150k", "live")
    assert out.read_bytes() == before
    assert not list(runs.glob(".*.tmp"))


def test_every_template_of_the_verb_is_used() -> None:
    code = "".join(path.read_text() for path in (PACKAGE / "combining").glob("*.py"))
    used = set(re.findall(r'"combine/(\w+)"', code))
    assert used == {path.stem for path in (sql.sql_folder() / "combine").glob("*.sql")}
