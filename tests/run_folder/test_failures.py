"""Records of failures as they are written and read again."""

from __future__ import annotations

import dataclasses
import json

import pytest

from vmafarm.disk.jsonl import json_line
from vmafarm.run_folder.failures import FailureRecord, read_failures


def failed(clip="a.mp4", failure="decode_error", host="node1", attempt=1, at="2026-01-01T00:00:00+00:00"):
    return FailureRecord(clip, failure, "message", ["last line"], attempt, 3, host, f"w-{host}", at)


def test_records_of_earlier_versions_have_no_limit(tmp_path):
    document = failed().as_dict()
    del document["limit"], document["limit_was"]
    (tmp_path / "w.jsonl").write_bytes(json_line(document))
    assert read_failures(tmp_path) == [failed()]


def test_records_of_all_writers_are_read_in_the_order_of_time(tmp_path):
    early = failed("b", at="2026-01-01T00:00:00+00:00")
    middle = failed("a\n'); DROP TABLE", at="2026-01-01T00:00:01+00:00")
    late = failed("ä", at="2026-01-02T00:00:00+00:00", host="node2")
    (tmp_path / "w1.jsonl").write_bytes(json_line(early.as_dict()) + json_line(late.as_dict()))
    (tmp_path / "w2.jsonl").write_bytes(json_line(middle.as_dict()))
    (tmp_path / "w3.txt").write_text("not of ours")
    assert read_failures(tmp_path) == [early, middle, late]
    assert read_failures(tmp_path / "none yet") == []


def test_a_last_line_that_its_writer_did_not_finish_is_ignored(tmp_path):
    whole = json_line(failed().as_dict())
    for end in range(len(whole)):
        (tmp_path / "w.jsonl").write_bytes(whole + whole[:end])
        assert read_failures(tmp_path) == [failed()]


def test_a_record_says_all_that_is_known():
    record = failed()
    assert json.loads(json_line(record.as_dict())) == dataclasses.asdict(record)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.failure = "timeout"
