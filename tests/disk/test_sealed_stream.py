"""Sealed files larger than memory: the same seal as others, verified before the first row."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vmafarm.disk.arrow import make_table
from vmafarm.disk.sealed_parquet import (
    BLANK,
    DIGITS,
    DamagedError,
    find_digest,
    is_sealed,
    open_sealed,
    seal,
    sealed_digest,
    write_sealed,
)
from vmafarm.disk.sealed_stream import open_stream, write_stream

SCHEMA = pa.schema(
    [pa.field("name", pa.string(), nullable=False), pa.field("x", pa.float64(), nullable=False)]
)


def group(name: str, rows: int) -> pa.Table:
    return make_table([[name] * rows, np.random.default_rng(rows).random(rows)], SCHEMA)


def written(*tables: pa.Table) -> bytes:
    file = io.BytesIO()
    write_stream(
        SCHEMA.with_metadata({b"k": b"v"}), [t.replace_schema_metadata({b"k": b"v"}) for t in tables], file
    )
    return file.getvalue()


def test_it_is_a_sealed_file_like_others_with_each_table_as_a_row_group(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(written(group("a", 300), group("b", 2), group("", 0), group("c", 5)))
    assert is_sealed(path.read_bytes())
    assert open_sealed(path).read()["name"].to_pylist() == ["a"] * 300 + ["b"] * 2 + ["c"] * 5
    with open_stream(path) as file:
        assert [table.num_rows for table in file.tables()] == [300, 2, 5]
        assert file.rows == 307
        assert file.schema.metadata[b"k"] == b"v"
        assert file.digest == sealed_digest(path.read_bytes())


def test_each_flipped_bit_is_found(tmp_path: Path) -> None:
    content, path = written(group("a", 50), group("b", 2)), tmp_path / "f"
    for at in range(0, len(content), 13):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(DamagedError), open_stream(path):
            pass


@pytest.mark.parametrize("size", [0, 3, 8, 11, 500, -1])
def test_a_cut_file_is_damaged(tmp_path: Path, size: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(written(group("a", 50))[:size])
    with pytest.raises(DamagedError), open_stream(path):
        pass


def test_the_file_of_another_program_says_that_it_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "f"
    pq.write_table(group("a", 5), path)
    with pytest.raises(DamagedError, match="not written by vmafarm"), open_stream(path):
        pass


def test_a_seal_anywhere_in_a_block_of_the_hash_is_blanked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digits may lie across two blocks of the bytes that are hashed."""
    path = tmp_path / "f"
    path.write_bytes(written(group("a", 50)))
    for block in range(60, 140):
        monkeypatch.setattr("vmafarm.disk.sealed_stream._AT_ONCE", block)
        with open_stream(path) as file:
            assert file.rows == 50


@pytest.mark.full
def test_a_row_group_that_would_take_all_memory_is_not_read(tmp_path: Path) -> None:
    """A text that occurs a million times takes little space in a file."""
    path = tmp_path / "f"
    with path.open("wb") as file:
        write_sealed(group("x" * 2000, 1 << 17), file)
    with open_stream(path) as found:
        assert sum(table.num_rows for table in found.tables()) == 1 << 17
    with path.open("wb") as file:
        write_sealed(group("x" * 60_000, 1 << 15), file)
    with open_stream(path) as found, pytest.raises(DamagedError, match="expected at most"):
        list(found.tables())


def test_memory_does_not_grow_with_the_number_of_row_groups() -> None:
    """100 groups of 2 MB each way: by its peak, the process holds no more than a few at a time."""
    grown = run_here(
        """
        write_stream(SCHEMA, (one for _ in range(100)), file, use_dictionary=False)
        file.flush()
        with open_stream(Path(file.name)) as found:
            assert sum(table.num_rows for table in found.tables()) == 100 << 17
        """
    )
    assert grown < 60 << 20


def run_here(work: str) -> int:
    """Bytes by which the peak of a new process grows in this work, after some of the same kind."""
    script = f"""
import resource, tempfile
from pathlib import Path
import numpy as np, pyarrow as pa
from vmafarm.disk.arrow import make_table
from vmafarm.disk.sealed_stream import open_stream, write_stream
SCHEMA = pa.schema({{"name": pa.string(), "x": pa.float64()}})
one = make_table([["a"] * (1 << 17), np.random.default_rng(0).random(1 << 17)], SCHEMA)
with tempfile.NamedTemporaryFile() as file:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
{textwrap.indent(textwrap.dedent(work), "    ")}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return 1024 * int(done.stdout)


def test_a_sealed_file_that_is_no_parquet_is_damaged_and_an_error_of_the_disk_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    content = bytearray(written(group("a", 50)))
    at = content.rfind(b"name")  # in the footer
    content[at - 8 : at + 4] = b"\xff" * 12
    place = find_digest(content)
    content[place : place + DIGITS] = BLANK
    seal(content)
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"cut or damaged \([\d,]+ bytes\)"), open_stream(path):
        pass
    path.write_bytes(written(group("a", 50)))
    with open_stream(path) as file:

        def fail(*_: object, **__: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(file, "_read", fail)
        with pytest.raises(OSError, match="Input/output error"):
            list(file.tables())
