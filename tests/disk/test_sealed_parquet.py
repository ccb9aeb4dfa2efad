"""Sealed Parquet files: what is refused before it is expanded, and which digest they contain."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vmafarm.disk import sealed_blocks
from vmafarm.disk import sealed_parquet as sealed
from vmafarm.disk.sealed_blocks import stated_digest
from vmafarm.disk.sealed_parquet import (
    BLANK,
    DIGITS,
    DamagedError,
    SealedFile,
    find_digest,
    is_sealed,
    open_sealed,
    write_sealed,
)

TABLE = pa.table({"name": ["a", "bb", None, "bb"], "value": [1.0, float("nan"), 3.0, 4.0], "word": ["x"] * 4})


def content_of(table: pa.Table, **options: object) -> bytes:
    file = io.BytesIO()
    write_sealed(table, file, **options)
    return file.getvalue()


def unsealed(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def test_a_file_states_the_digest_of_its_bytes_with_zeros_in_its_place(tmp_path: Path) -> None:
    content = bytearray(content_of(TABLE))
    (tmp_path / "x").write_bytes(content)
    assert is_sealed(bytes(content))
    at = find_digest(bytes(content))
    stated, content[at : at + DIGITS] = bytes(content[at : at + DIGITS]), BLANK
    assert stated.decode() == hashlib.sha256(content).hexdigest() == stated_digest(tmp_path / "x")


def test_the_stated_digest_of_a_long_file_is_read_from_its_end(tmp_path: Path) -> None:
    """More bytes than are read, and a text at its beginning that looks like a digest."""
    mark = sealed._MARK + b"1" * DIGITS
    table = pa.table({"text": [mark.decode("latin-1"), *(f"{at:06}" * 40 for at in range(2000))]})
    path = tmp_path / "long"
    path.write_bytes(content_of(table, compression="none", use_dictionary=False))
    assert path.stat().st_size > sealed_blocks._LARGEST_FOOTER
    assert stated_digest(path) == path.read_bytes()[find_digest(path.read_bytes()) :][:DIGITS].decode()


def test_a_file_without_a_seal_states_nothing_and_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(unsealed(TABLE))
    assert not is_sealed(path.read_bytes())
    assert stated_digest(path) == ""
    with pytest.raises(DamagedError, match=r"no digest in its footer \(.* bytes\)"):
        open_sealed(path)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no end", b"no beginning PAR1"])
def test_what_is_not_parquet_by_its_ends_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    for read in (open_sealed, stated_digest):
        with pytest.raises(DamagedError, match=r"empty|begins and ends with PAR1"):
            read(path)


def test_too_many_rows_are_refused_before_any_is_read() -> None:
    assert SealedFile(content_of(TABLE), 4).rows == 4
    with pytest.raises(DamagedError, match="4 rows, expected at most 3: none are read"):
        SealedFile(content_of(TABLE), 3)


def test_too_many_bytes_for_the_number_of_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row adds to what a file may have."""
    monkeypatch.setattr(sealed, "_BYTES_OF_A_FILE", 1000)
    monkeypatch.setattr(sealed, "_BYTES_OF_A_ROW", 100)
    plain = {"compression": "none", "use_dictionary": False}
    fits = pa.table({"text": [f"{at:090}" for at in range(100)]})  # 100 rows of some 94 bytes
    assert SealedFile(content_of(fits, **plain)).read() == fits
    for texts in (["x" * 1200], ["y" * 200] * 20):  # in one row, and in many
        with pytest.raises(DamagedError, match=r"bytes in \d+ rows, expected at most"):
            SealedFile(content_of(pa.table({"text": texts}), **plain))


@pytest.mark.parametrize(("rows", "length"), [(1, 100_000), (200, 10_000)])
def test_long_notes_are_accepted_in_one_row_and_in_each_of_many(rows: int, length: int) -> None:
    table = pa.table({"notes": [f"{at:0{length}}" for at in range(rows)]})
    assert SealedFile(content_of(table, use_dictionary=False)).read() == table


@pytest.mark.parametrize("at_once", [0, sealed._BYTES_AT_ONCE])
@pytest.mark.parametrize("columns", [None, ["name"], ["value"], ["word", "value"]])
def test_columns_are_the_same_read_at_once_or_text_by_text(
    monkeypatch: pytest.MonkeyPatch, at_once: int, columns: list[str] | None
) -> None:
    monkeypatch.setattr(sealed, "_BYTES_AT_ONCE", at_once)
    found = SealedFile(content_of(TABLE)).read(columns)
    expected = TABLE if columns is None else TABLE.select(columns)
    assert found.schema.remove_metadata() == expected.schema
    assert str(found.to_pydict()) == str(expected.to_pydict())  # NaN is not equal to itself


def test_text_that_is_repeated_too_often_is_refused_before_it_is_expanded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sealed, "_BYTES_AT_ONCE", 0)
    monkeypatch.setattr(sealed, "_BYTES_OF_A_FILE", 4000)
    monkeypatch.setattr(sealed, "_BYTES_OF_A_ROW", 0)
    content = content_of(pa.table({"text": pa.array(["x" * 1000] * 3 + [None])}))
    assert len(SealedFile(content).read()) == 4
    content = content_of(pa.table({"text": pa.array(["x" * 1000] * 5 + [None])}))
    with pytest.raises(DamagedError, match="5,000 bytes in 6 rows, expected at most 4,000"):
        SealedFile(content).read()
