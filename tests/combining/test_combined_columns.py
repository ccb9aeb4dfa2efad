"""Tables side by side: every value stands beside its own clip, and what does not fit is refused."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.combined import document, publish_run, put_together, rows
from support.errors_document import documented
from support.merge_helpers import NAN

from vmafarm.common.errors import UsageError
from vmafarm.schema.features import COLUMNS

CLIPS = ["a.mp4", "b.mp4", "ä.mp4"]
DOVER = 'clip_name,dover,note\nä.mp4,0.75,\nb.mp4,1e-3,"good, or not"\na.mp4, ,007\n'


def beside(runs: Path, *given: str | Path, **options: object) -> Path:
    put_together(runs / "side.parquet", *given, columns=True, **options)
    return runs / "side.parquet"


def scores_file(runs: Path, text: str | bytes = DOVER, name: str = "dover.csv") -> Path:
    path = runs / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_csv_of_another_scorer_stands_beside_its_clips(runs: Path) -> None:
    file = scores_file(runs)
    out = beside(runs, "k150k", file)
    schema = pq.read_schema(out)
    assert schema.names == [*COLUMNS, "dover", "note"]
    found = rows(out, "clip_name", "dover", "note")
    assert [(name, note) for name, _, note in found] == [
        ("a.mp4", "007"),
        ("b.mp4", "good, or not"),
        ("ä.mp4", None),
    ]
    assert np.array_equal([dover for _, dover, _ in found], [NAN, 1e-3, 0.75], equal_nan=True)
    assert not schema.field("dover").nullable
    assert schema.field("note").nullable, "a field without text has no value"
    before = rows(runs / "full_features_k150k.parquet", *COLUMNS)
    assert str(rows(out, *COLUMNS)) == str(before)


def test_the_metadata_names_the_file_that_is_no_table_of_ours(runs: Path) -> None:
    file = scores_file(runs)
    found = document(beside(runs, "k150k", file))
    base, other = found["combined"]["sources"]
    assert base["provenance"]["engine"] == found["engine"] == "ffmpeg"
    assert (other["file"], other["provenance"]) == ("dover.csv", {})
    assert other["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert [(one["name"], one["type"], one["source"]) for one in found["combined"]["added"]] == [
        ("dover", "double", "dover"), ("note", "string", "dover"),
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("begin", [b"", b"\xef\xbb\xbf"])
def test_names_are_in_the_first_column_if_none_is_called_so(runs: Path, begin: bytes, end: str) -> None:
    text = end.join(["video,dover", '"a.mp4",1', "b.mp4, 2 ", "ä.mp4,nan", ""])
    out = beside(runs, "k150k", scores_file(runs, begin + text.encode()))
    assert str(rows(out, "clip_name", "dover")) == "[('a.mp4', 1.0), ('b.mp4', 2.0), ('ä.mp4', nan)]"


def test_a_parquet_file_of_another_scorer_keeps_its_types(runs: Path) -> None:
    table = pa.table(
        {
            "id": pa.array(CLIPS).dictionary_encode(),
            "score": pa.array([0.5, None, NAN], pa.float32()),
            "votes": pa.array([1, 2, 3], pa.int16()),
            "hdr": pa.array([True, None, False]),
        }
    )
    pq.write_table(table, runs / "other.parquet")
    out = beside(runs, "k150k", runs / "other.parquet")
    schema = pq.read_schema(out)
    assert [str(schema.field(name).type) for name in ("score", "votes", "hdr")] == ["double", "int64", "bool"]
    assert [schema.field(name).nullable for name in ("score", "votes", "hdr")] == [False, False, True]
    assert str(rows(out, "score", "votes", "hdr")) == "[(0.5, 1, True), (nan, 2, None), (nan, 3, False)]"


def test_a_later_feature_set_adds_what_the_table_lacks(runs: Path) -> None:
    path = runs / "full_features_k150k.parquet"
    table = pq.ParquetFile(path).read().append_column("dover_mean", pa.array([1.0, 2.0, 3.0]))
    metadata = pq.read_metadata(path).metadata
    pq.write_table(table.replace_schema_metadata(metadata), runs / "later.parquet")
    out = beside(runs, "k150k", runs / "later.parquet")
    assert pq.read_schema(out).names == [*COLUMNS, "dover_mean"]
    assert document(out)["combined"]["sources"][1]["provenance"]["engine"] == "ffmpeg"


def test_features_of_another_engine_need_names_of_their_own(runs: Path) -> None:
    documented("a column to add that is there already with other values")
    publish_run(runs / "fork", "fork", dict(zip(CLIPS, (1.0, 3.0, 5.0), strict=True)), engine="vmaf")
    fork = runs / "fork" / "full_features_fork.parquet"
    table = pq.ParquetFile(fork).read()
    at = table.schema.get_field_index("vmaf_mean")
    changed = table.set_column(at, table.schema.field(at), [[1.0, 2.0, 3.0]])
    pq.write_table(changed.replace_schema_metadata(pq.read_metadata(fork).metadata), fork)
    fork.with_suffix(".merge.json").unlink()
    with pytest.raises(UsageError, match=r"vmaf_mean, which is there already with other values in 3 clips"):
        beside(runs, "k150k", fork)
    out = beside(runs, "k150k", fork, prefixes={"fork": "fork_"})
    assert rows(out, "clip_name", "fork_vmaf_mean") == list(zip(CLIPS, (1.0, 2.0, 3.0), strict=True))
    names = pq.read_schema(out).names
    assert len(names) == 48 + 44
    assert not {"fork_mos", "fork_width", "fork_clip_name"} & set(names)


def test_columns_can_be_added_to_a_combined_table_by_corpus_and_name(runs: Path) -> None:
    put_together(runs / "all.parquet", "k150k", "live", mos_scale=(0, 10))
    lines = ["corpus,clip_name,dover", "live,B.mp4,1", "live,b.mp4,2", "live,c.mp4,3"]
    lines += ["k150k,b.mp4,4", "k150k,a.mp4,5", "k150k,ä.mp4,6", ""]
    file = scores_file(runs, "\n".join(lines))
    out = beside(runs, runs / "all.parquet", file)
    assert rows(out, "corpus", "clip_name", "dover") == [
        ("k150k", "a.mp4", 5.0), ("k150k", "b.mp4", 4.0), ("k150k", "ä.mp4", 6.0),
        ("live", "B.mp4", 1.0), ("live", "b.mp4", 2.0), ("live", "c.mp4", 3.0),
    ]  # fmt: skip
    assert [one["name"] for one in document(out)["combined"]["added"]] == ["corpus", "mos_native", "dover"]
    named = scores_file(runs, DOVER, "named.csv")
    with pytest.raises(UsageError, match=r"1 clip with several rows, or without a name: b\.mp4") as caught:
        beside(runs, runs / "all.parquet", named, min_coverage=0.1)
    assert "needs a column corpus" in caught.value.hint


def test_any_name_of_a_column_is_data(runs: Path) -> None:
    odd = """'"); DROP TABLE raw; --{{ 7*7 }} $x é"""
    quoted = odd.replace('"', '""')
    lines = [f'corpus,video,"{quoted}",{"y" * 200}', "x,a.mp4,1,p", "x,b.mp4,2,p", "x,ä.mp4,3,p", ""]
    out = beside(runs, "k150k", scores_file(runs, "\n".join(lines)), prefixes={"dover": "-- "})
    assert pq.read_schema(out).names[48:] == ["corpus", f"-- {odd}", f"-- {'y' * 200}"]
    assert rows(out, "clip_name", f"-- {odd}") == list(zip(CLIPS, (1.0, 2.0, 3.0), strict=True))


def test_several_tables_are_joined_in_their_order(runs: Path) -> None:
    one = scores_file(runs, "clip_name,x\na.mp4,1\nb.mp4,2\nä.mp4,3\n", "one.csv")
    two = scores_file(runs, "clip_name,y,x\na.mp4,4,1\nb.mp4,5,2\nä.mp4,6,3\n", "two.csv")
    out = beside(runs, "k150k", one, two)
    assert pq.read_schema(out).names[-2:] == ["x", "y"]
    assert rows(out, "x", "y") == [(1.0, 4.0), (2.0, 5.0), (3.0, 6.0)]
    other = scores_file(runs, "clip_name,x\na.mp4,1\nb.mp4,2\nä.mp4,4\n", "other.csv")
    with pytest.raises(UsageError, match=r"x, which is there already .* in 1 clip: ä\.mp4 has 3\.0 and 4\.0"):
        beside(runs, "k150k", one, other)
    beside(runs, "k150k", one, other, prefixes={"other": "other "})
    assert pq.read_schema(out).names[-2:] == ["x", "other x"]


def test_rows_are_in_the_order_of_the_bytes_whatever_their_order_was(runs: Path) -> None:
    path = runs / "full_features_k150k.parquet"
    table = pq.ParquetFile(path).read().take([2, 0, 1])
    metadata = pq.read_metadata(path).metadata
    pq.write_table(table.replace_schema_metadata(metadata), runs / "shuffled.parquet")
    out = beside(runs, runs / "shuffled.parquet", scores_file(runs))
    assert [name for (name,) in rows(out, "clip_name")] == CLIPS


def test_the_same_tables_give_the_same_bytes(runs: Path) -> None:
    file = scores_file(runs)
    first = beside(runs, "k150k", file).read_bytes()
    assert beside(runs, "k150k", file).read_bytes() == first


# What matches on one side only


def test_rows_that_match_on_one_side_only_are_refused_with_counts_and_names(runs: Path) -> None:
    documented("columns of clips that do not match")
    file = scores_file(runs, "clip_name,dover,n\na.mp4,1,x\nA.MP4,2,y\nz.mp4,3,z\n")
    with pytest.raises(UsageError) as caught:
        beside(runs, "k150k", file)
    assert caught.value.message.splitlines()[1:] == [
        "  k150k: 1 of 3 clips match; not b.mp4; ä.mp4",
        f"  {file}: 1 of 3 clips match; not A.MP4; z.mp4",
    ]
    assert "--min-coverage 0.3333" in caught.value.hint
    out = beside(runs, "k150k", file, min_coverage=0.3333)
    assert str(rows(out, "clip_name", "dover", "n")) == (
        "[('a.mp4', 1.0, 'x'), ('b.mp4', nan, None), ('ä.mp4', nan, None)]"
    )
    combined = document(out)["combined"]
    assert [(one["rows"], one["used"]) for one in combined["sources"]] == [(3, 3), (3, 1)]
    assert math.isclose(combined["min_coverage"], 0.3333)


@pytest.mark.parametrize("least", [0.6, 0.7])
def test_the_smaller_share_of_both_sides_counts(runs: Path, least: float) -> None:
    """Two of three rows of the base match, and all of the other's."""
    file = scores_file(runs, "clip_name,dover\na.mp4,1\nb.mp4,2\n")
    if least > 2 / 3:
        with pytest.raises(UsageError, match=r"dover\.csv: 2 of 2 clips match"):
            beside(runs, "k150k", file, min_coverage=least)
    else:
        assert len(rows(beside(runs, "k150k", file, min_coverage=least), "dover")) == 3


REFUSED = {
    "another score": (
        "clip_name,mos,x\na.mp4,1,0\nb.mp4,3.5,0\nä.mp4,5,0\n",
        r"mos, .* b\.mp4 has 3\.0 and",
    ),
    "a name twice": ("clip_name,x\na.mp4,1\na.mp4,1\nb.mp4,1\nä.mp4,1\n", r"1 clip with several .*: a\.mp4"),
    "no name": ("clip_name,x\na.mp4,1\n,1\nb.mp4,1\nä.mp4,1\n", "or without a name: no name"),
    "nothing new": ("clip_name,mos\na.mp4,1\nb.mp4,3\nä.mp4,5\n", "has no column that k150k lacks"),
    "text for numbers": ("clip_name,mos,x\na.mp4,high,0\nb.mp4,3,0\nä.mp4,5,0\n", "column mos, which is"),
    "a name in capitals": ("clip_name,VMAF_mean\na.mp4,1\nb.mp4,3\nä.mp4,5\n", "VMAF_mean, which is there"),
    "a name without end": (f"clip_name,{'x' * 300}\na.mp4,1\n", "names of up to 300 characters"),
    "two columns of a name": ("clip_name,x,X\na.mp4,1,1\n", "several columns are called x"),
    "a field too few": ("clip_name,x\na.mp4\n", r"cannot be read as CSV: .* on Line: 2"),
    "another encoding": ("clip_name,x\n\xe9.mp4,1\n".encode("latin-1"), "cannot be read as CSV"),
    "another encoding above": ("clip_name,\xe9\na.mp4,1\n".encode("latin-1"), "cannot be read as CSV"),
    "nothing": (b"", "its first line is no header"),
    "bytes": (bytes(100), "its first line is no header"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_one_message(runs: Path, what: str) -> None:
    text, told = REFUSED[what]
    with pytest.raises(UsageError, match=told) as caught:
        beside(runs, "k150k", scores_file(runs, text))
    assert caught.value.hint
    assert not (runs / "side.parquet").exists()


def test_columns_of_lists_are_refused(runs: Path) -> None:
    pq.write_table(pa.table({"clip_name": CLIPS, "x": [[1], [2], [3]]}), runs / "other.parquet")
    with pytest.raises(UsageError, match=r"x is list<"):
        beside(runs, "k150k", runs / "other.parquet")
    pq.write_table(pa.table({"number": [1, 2, 3], "x": [1, 2, 3]}), runs / "other.parquet")
    with pytest.raises(UsageError, match="number is int64, expected text"):
        beside(runs, "k150k", runs / "other.parquet")


def test_an_integer_that_does_not_fit_is_the_fault_of_its_column(runs: Path) -> None:
    table = pa.table({"clip_name": CLIPS, "x": pa.array([2**64 - 1, 1, 2], pa.uint64())})
    pq.write_table(table, runs / "other.parquet")
    with pytest.raises(UsageError, match=r"a value cannot be taken: .* 18446744073709551615") as caught:
        beside(runs, "k150k", runs / "other.parquet")
    assert "cast that column" in caught.value.hint
