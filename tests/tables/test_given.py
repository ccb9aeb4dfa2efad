"""What is no table is one message for both verbs, and nothing is written."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.command import call
from support.errors_document import documented
from support.merge_helpers import plan_run
from support.tables import write_rows

from vmafarm import VmafarmError, compare, split
from vmafarm.run_folder.provenance import METADATA_KEY

CLIPS = ["a.mp4", "b.mp4", "c.mp4"]


def table(*columns: tuple[str, list], metadata: bytes | None = None) -> Callable[[Path], object]:
    """Write a Parquet file of these columns."""
    names, values = zip(*columns, strict=True)
    made = pa.Table.from_arrays([pa.array(one) for one in values], names=list(names))
    keys = {} if metadata is None else {METADATA_KEY: metadata}
    return lambda path: pq.write_table(made.replace_schema_metadata(keys), path)


def _flipped(path: Path) -> None:
    write_rows(path, CLIPS)
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)


NAME = ("clip_name", ["a", "b"])
BAD = {
    "a table that is not there": (lambda path: None, "is not there"),
    "a pipe in the place of a table": (os.mkfifo, "this is a FIFO, expected a regular file"),
    "a file that is not Parquet": (lambda path: path.write_text("clip_name\na\n"), "read as Parquet"),
    "a table without the column clip_name": (table(("x", [1]), ("y", [2])), "its columns are x, y"),
    "a clip_name that is not text": (table(("clip_name", [1])), "is int64, expected text"),
    "two columns of one name": (table(NAME, ("a", [1, 2]), ("A", [1, 2])), "called a and A"),
    "a clip with two rows in a table": (
        table(("clip_name", ["x\n\x1b[31m", "b", "x\n\x1b[31m"])),
        "3 rows of 2 clips, expected one row per clip; several have x\\n\\x1b[31m",
    ),
    "a row without a name": (table(("clip_name", ["a", None])), "1 row without a name"),
    "a table with damaged metadata": (table(NAME, metadata=b"{"), "the key vmafarm in its metadata"),
}  # fmt: skip


@pytest.mark.parametrize("row", BAD)
@pytest.mark.parametrize("verb", ["compare", "split"])
def test_what_is_no_table_is_one_message(tmp_path: Path, row: str, verb: str) -> None:
    make, told = BAD[row]
    make(tmp_path / "bad.parquet")
    write_rows(tmp_path / "good.parquet", CLIPS)
    documented(row)
    before = sorted(os.listdir(tmp_path))
    words = ("good.parquet", "bad.parquet") if verb == "compare" else ("bad.parquet",)
    refused = call(verb, *words, cwd=tmp_path, status=2)
    assert refused.stdout == ""
    assert refused.stderr.startswith("error: bad.parquet")
    assert told in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("  "), "what to do"
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("verb", ["compare", "split"])
def test_pages_that_are_damaged_are_one_message(tmp_path: Path, verb: str) -> None:
    _flipped(tmp_path / "bad.parquet")
    write_rows(tmp_path / "good.parquet", CLIPS)
    words = ("good.parquet", "bad.parquet") if verb == "compare" else ("bad.parquet",)
    refused = call(verb, *words, cwd=tmp_path, status=2)
    assert "bad.parquet cannot be read: " in refused.stderr
    assert "/proc/" not in refused.stderr
    assert sorted(os.listdir(tmp_path)) == ["bad.parquet", "good.parquet"], "no half of a file is left"


@pytest.mark.full
def test_random_damage_is_one_message_or_nothing(tmp_path: Path) -> None:
    good, bad = write_rows(tmp_path / "good.parquet", CLIPS), tmp_path / "bad.parquet"
    content, chance = good.read_bytes(), random.Random(0)
    said = []
    for _ in range(80):
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 3, 30])):
            damaged[chance.randrange(4, len(damaged) - 8)] = chance.randrange(256)
        bad.write_bytes(damaged)
        for verb in (
            lambda: compare(good, bad),
            lambda: split(bad, by="fingerprint", test=0, val=1 / 3, train=2 / 3),
        ):
            try:
                verb()
            except VmafarmError as error:
                said.append(str(error))
    assert len(said) > 80
    assert not [text for text in said if "/proc/" in text], "a file is named as the user named it"
    assert any("can't decode" in text or "codec" in text for text in said), "a name of a column was hit"
    assert any('read file "bad.parquet"' in text for text in said)


@pytest.mark.parametrize("document", [b"[]", b"NaN", b'{"a": 1} x', b"\xff", b'"text"'])
def test_metadata_that_is_no_object_is_damaged(tmp_path: Path, document: bytes) -> None:
    table(NAME, metadata=document)(tmp_path / "bad.parquet")
    assert "is damaged" in call("split", "bad.parquet", cwd=tmp_path, status=2).stderr


def test_a_table_that_this_user_may_not_read(tmp_path: Path, as_ordinary_user: None) -> None:
    write_rows(tmp_path / "bad.parquet", CLIPS).chmod(0)
    refused = call("split", "bad.parquet", cwd=tmp_path, status=3)
    assert "no permission to read bad.parquet" in refused.stderr


def test_a_name_that_is_neither_a_file_nor_a_run(tmp_path: Path) -> None:
    row = "neither a table nor a run"
    documented(row)
    write_rows(tmp_path / "good.parquet", CLIPS)
    refused = call("compare", "good.parquet", "k150k", cwd=tmp_path, status=2)
    assert "k150k is neither a file nor a run in runs" in refused.stderr
    (tmp_path / "demo").mkdir()
    assert "this is a folder" in call("split", "demo", cwd=tmp_path, status=2).stderr


def test_a_run_without_a_table(tmp_path: Path) -> None:
    documented("a run without a table")
    plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path)
    refused = call("split", "demo", cwd=tmp_path, status=2)
    assert refused.stderr.splitlines() == [
        'error: the run "demo" has no table yet', "  publish it: vmafarm merge --run demo",
    ]  # fmt: skip


def test_names_are_data(tmp_path: Path) -> None:
    names = ["it's.mp4", 'say "hi".mp4', "two\nlines.mp4", "'); DROP TABLE a; --", "{{ 7*7 }}", "ünï😀", "$x"]
    write_rows(tmp_path / "it's; a 'table'.parquet", names)
    write_rows(tmp_path / "b.parquet", names[1:])
    said = call("compare", "--json", "it's; a 'table'.parquet", "b.parquet", cwd=tmp_path, status=1).stdout
    document = json.loads(said)
    assert document["a"]["only_clips_examples"] == ["it's.mp4"]
    assert document["clips"] == len(names) - 1
    said = call("split", "it's; a 'table'.parquet", "--by", "fingerprint", "--test", "0", "--val", "0.2",
                cwd=tmp_path).stdout  # fmt: skip
    assert f"\nwritten: it's; a 'table'.split.parquet, {len(names)} rows, " in said
