"""Records, one a line: what comes back is what was written, and torn ones show."""

from __future__ import annotations

import json
import os
import tracemalloc
from datetime import UTC, datetime
from typing import Annotated

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmafarm.disk.jsonl import (
    MOST_DAMAGED,
    Count,
    Flag,
    Moment,
    Name,
    Number,
    Seconds,
    Size,
    Text,
    Time,
    Word,
    checked_line,
    json_line,
    parse_json,
    read_checked,
    read_lines,
    read_records,
    why,
)

RECORDS = [{"name": "a\nb\r\u2028'); DROP TABLE x", "n": i, "x": 0.1 * i, "none": None} for i in range(4)]


def checked(path):
    lines, torn = read_checked(path)
    return [json.loads(line) for line in lines], torn


def test_checked_records_come_back_as_they_were(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b"".join(map(checked_line, RECORDS)))
    assert checked(path) == (RECORDS, 0)
    path.write_bytes(b"")
    assert read_checked(path) == ([], 0)


def test_a_last_record_cut_at_any_byte_is_left_out(tmp_path):
    path = tmp_path / "j"
    whole = b"".join(map(checked_line, RECORDS))
    last = len(checked_line(RECORDS[-1]))
    for left in range(1, last):
        path.write_bytes(whole[: len(whole) - last + left])
        assert checked(path) == (RECORDS[:-1], 1)


def test_a_flipped_bit_never_makes_another_record(tmp_path):
    path = tmp_path / "j"
    lines = [checked_line({"i": i}) for i in range(3)]
    middle, offset = lines[1], len(lines[0])
    for i in range(8 * len(middle)):
        data = bytearray(b"".join(lines))
        data[offset + i // 8] ^= 1 << i % 8
        path.write_bytes(data)
        records, torn = checked(path)
        # A line end that is gone takes the next record along.
        assert records == ([{"i": 0}] if i // 8 == len(middle) - 1 else [{"i": 0}, {"i": 2}])
        assert torn >= 1


def test_a_record_after_a_torn_one_is_read(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(checked_line(1) + checked_line(2)[:-4] + b"\n" + checked_line(3))
    assert checked(path) == ([1, 3], 1)


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read_as_records(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / f"bytes-{os.getpid()}"
    path.write_bytes(checked_line("before") + data)
    records, _ = read_checked(path)
    assert records[:1] == [b'"before"\n']
    list(read_lines(path))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_name_is_one_line_of_json_whatever_it_holds(name):
    line = json_line(name)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line) == name


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_json_is_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        json_line({"x": value})


def test_a_last_line_of_json_that_was_cut_is_left_out(tmp_path):
    path = tmp_path / "f.jsonl"
    whole = json_line({"a": 1}) + json_line({"b": "é"})
    first = len(json_line({"a": 1}))
    for end in range(first, len(whole)):
        path.write_bytes(whole[:end])
        assert list(map(json.loads, read_lines(path))) == [{"a": 1}]
    path.write_bytes(whole)
    assert list(map(json.loads, read_lines(path))) == [{"a": 1}, {"b": "é"}]


NOW = "2026-11-27T12:00:00+00:00"


@pytest.mark.parametrize(
    ("kind", "within", "outside"),
    [
        (Word, ["", "x" * 1024], ["x" * 1025, 1, None]),
        (Name, ["é" * 4096], ["é" * 4097, ["a"]]),
        (Text, ["x" * (1 << 20)], ["x" * ((1 << 20) + 1)]),
        (Count, [0, 2**31 - 1], [-1, 2**31, 1.0, "1", True]),
        (Size, [0, 2**63 - 1], [-1, 2**63, 10**30]),
        (Seconds, [0, 0.0, 1e9], [-1e-9, 1.1e9, "1"]),
        (Number, [-1e300, 1e30, 1], ["1", True]),
        (Flag, [True, False], [0, 1, "true"]),
        (
            Moment,
            [NOW, "1970-01-01T00:00:00+00:00", "2199-12-31T23:59:59.999999+00:00", "2026-01-01T00:00:00Z"],
            [
                "1969-12-31T23:59:59+00:00", "1970-01-01T00:00:00+01:00", "2200-01-01T00:00:00+00:00",
                "2026-11-27T12:00:00", "2026-11-27", "now", "", 0, None,
            ],
        ),
    ],
    ids=["word", "name", "text", "count", "size", "seconds", "number", "flag", "moment"],
)  # fmt: skip
def test_a_value_is_read_by_its_type_and_within_its_bounds(kind, within, outside):
    adapter = pydantic.TypeAdapter(kind)
    for value in within:
        assert adapter.validate_json(json.dumps(value)) == value
    for value in outside:
        with pytest.raises(pydantic.ValidationError):
            adapter.validate_json(json.dumps(value))


def test_a_moment_is_read_as_a_time_by_the_same_bounds():
    adapter = pydantic.TypeAdapter(Time)
    assert adapter.validate_json(json.dumps(NOW)) == datetime(2026, 11, 27, 12, tzinfo=UTC)
    for wrong in ("2026-11-27T12:00:00", "2200-01-01T00:00:00+00:00", 0, None):
        with pytest.raises(pydantic.ValidationError, match="expected a time from 1970 on, with its zone"):
            adapter.validate_json(json.dumps(wrong))


@pytest.mark.parametrize("wrong", [b"NaN", b"Infinity", b'"\\ud800"', b"[" * 10_000, b"{", b""])
def test_what_is_not_strict_json_is_refused(wrong):
    with pytest.raises(ValueError):
        parse_json(wrong)
    with pytest.raises(ValueError):
        json_line(float("nan"))


def test_a_validation_error_is_described_in_one_printable_line():
    with pytest.raises(pydantic.ValidationError) as nested:
        pydantic.TypeAdapter(dict[str, Count]).validate_python({"\x1b": -1})
    assert why(nested.value) == r"\x1b: Input should be greater than or equal to 0"
    with pytest.raises(pydantic.ValidationError) as plain:
        pydantic.TypeAdapter(Count).validate_python(-1)
    assert why(plain.value) == "Input should be greater than or equal to 0"
    assert why(ValueError("one\x1b\ntwo")) == r"one\x1b"


def test_records_of_one_type_are_read_in_order_and_the_others_counted(tmp_path):
    path = tmp_path / "r"
    path.write_bytes(b"1\n2\nx\n-3\n\n4\n5")
    assert read_records(path, pydantic.TypeAdapter(Count)) == ([1, 2, 4], 3)


def test_of_a_file_of_nothing_but_damaged_lines_few_are_looked_at_and_all_are_counted(tmp_path):
    """Each takes its time, and a file of 40 MB has 20 million of them."""
    path = tmp_path / "r"
    looked: list[object] = []

    def look(line: object) -> object:
        looked.append(line)
        return line

    kind = pydantic.TypeAdapter(Annotated[int, pydantic.BeforeValidator(look)])
    path.write_bytes(b"1\n" + b'"a"\n' * (MOST_DAMAGED + 100) + b"2\n")
    assert read_records(path, kind) == ([1], MOST_DAMAGED + 101)
    assert len(looked) == 1 + MOST_DAMAGED


@pytest.mark.parametrize(
    "read", [lambda path: read_checked(path)[0], lambda path: sum(1 for _ in read_lines(path))]
)
def test_a_file_of_nothing_but_short_lines_takes_little_more_memory_than_its_bytes(tmp_path, read):
    path = tmp_path / "r"
    path.write_bytes(b"a\n" * 500_000)
    tracemalloc.start()
    try:
        read(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * path.stat().st_size
    finally:
        tracemalloc.stop()
