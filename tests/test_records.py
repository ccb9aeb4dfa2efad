"""Records, one a line: what comes back is what was written, and torn ones show."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.records import checked_line, json_line, read_checked, read_lines

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
