"""Which clips are set aside for good, and whose fault a failure is."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.failures import CLIP_FAULTS, FAILURE_CLASSES, FailureRecord, read_failures, set_aside
from jobs.records import json_line


def failed(clip="a.mp4", failure="decode_error", host="node1", attempt=1, at="2026-01-01T00:00:00+00:00"):
    return FailureRecord(clip, failure, "message", ["last line"], attempt, 3, host, f"w-{host}", at)


def test_a_clip_is_set_aside_after_its_tries_and_not_before():
    records = [failed(attempt=1), failed(attempt=2)]
    assert set_aside(records[:1], 2, {"node1"}) == {}
    assert set_aside(records, 2, {"node1"}) == {"a.mp4": records[1]}
    assert set_aside(records, 3, {"node1"}) == {}


@pytest.mark.parametrize("failure", sorted(set(FAILURE_CLASSES) - set(CLIP_FAULTS)))
def test_what_is_not_the_clip_s_fault_never_sets_it_aside(failure):
    assert set_aside([failed(failure=failure, attempt=i) for i in range(1, 99)], 2, {"node1"}) == {}
    assert set_aside([failed(), *(failed(failure=failure) for _ in range(9))], 2, {"node1"}) == {}


@pytest.mark.parametrize("failure", CLIP_FAULTS)
def test_each_fault_of_the_clip_counts_and_they_add_up(failure):
    records = [failed(failure="decode_error"), failed(failure=failure, attempt=2)]
    assert set_aside(records, 2, {"node1"})["a.mp4"].failure == failure


def test_clip_that_was_too_large_for_a_lower_limit_counts_no_more():
    record = dataclasses.replace(failed(failure="too_large"), limit="max_frames", limit_was=100)
    for limit, aside in ((50, True), (100, True), (101, False)):
        found = set_aside([record] * 2, 2, {"node1"}, {"max_frames": limit, "max_pixels": 10**9})
        assert ("a.mp4" in found) is aside
    assert "a.mp4" in set_aside([record] * 2, 2, {"node1"})
    other = failed(failure="decode_error")
    assert "a.mp4" in set_aside([record, other, other], 2, {"node1"}, {"max_frames": 101})


def test_records_of_earlier_versions_have_no_limit(tmp_path):
    document = failed().as_dict()
    del document["limit"], document["limit_was"]
    (tmp_path / "w.jsonl").write_bytes(json_line(document))
    assert read_failures(tmp_path) == [failed()]


def test_where_there_are_two_hosts_two_must_have_seen_the_fault():
    here, there = failed(host="node1"), failed(host="node2")
    assert set_aside([here] * 9, 2, {"node1", "node2"}) == {}
    assert set_aside([here, there], 2, {"node1", "node2"}) == {"a.mp4": there}
    assert set_aside([here, there], 2, ["node1", "node2", "node3", "node1"]) == {"a.mp4": there}
    assert set_aside([here, here], 2, ["node1", "node1"]) == {"a.mp4": here}


def test_an_engine_s_fault_on_the_second_host_does_not_confirm_the_clip_s():
    records = [failed(host="node1"), failed(host="node1"), failed(host="node2", failure="engine_error")]
    assert set_aside(records, 2, {"node1", "node2"}) == {}


def test_one_clip_does_not_take_another_along():
    records = [failed("a"), failed("b"), failed("a", attempt=2), failed("c", failure="timeout")]
    assert set_aside(records, 2, {"node1"}) == {"a": records[2]}
    assert set_aside([], 2, set()) == {}


@given(
    st.lists(
        st.builds(
            failed,
            clip=st.sampled_from("ab"),
            failure=st.sampled_from(FAILURE_CLASSES),
            host=st.sampled_from(["node1", "node2"]),
        )
    ),
    st.integers(1, 3),
)
def test_more_records_never_take_a_clip_back(records, tries):
    hosts = {"node1", "node2"}
    before = set_aside(records, tries, hosts)
    for more in FAILURE_CLASSES:
        assert before.keys() <= set_aside([*records, failed("a", failure=more)], tries, hosts).keys()


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
