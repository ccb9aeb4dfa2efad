"""When a clip has failed for good, and which clips are worth a try on another host."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.merge_helpers import make_row, plan_run

from vmafarm.config.load import load
from vmafarm.disk.jsonl import json_line
from vmafarm.run_folder.failures import CLIP_FAULTS, ENGINE_FAULTS, FAILURE_CLASSES, FailureRecord
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.shards.completeness import FailedClip, Gaps, History, failures_allowed, read_history, read_states
from vmafarm.shards.writer import DoneReader


def failed(clip="a.mp4", failure="decode_error", host="node1", attempt=1, message="message"):
    at = "2026-01-01T00:00:00+00:00"
    return FailureRecord(clip, failure, message, ["last line"], attempt, 3, host, f"w-{host}", at)


def sort_out(records, tries=2, hosts=(), limits=None, clips=None) -> Gaps:
    """Sort out the clips of these records, which have no row."""
    clips = sorted({record.clip_name for record in records}) if clips is None else clips
    return History(records, lambda: hosts, tries, limits or {}).sort_out(clips)


def test_a_clip_has_failed_for_good_after_its_tries_and_not_before():
    records = [failed(attempt=1, message="first"), failed(attempt=2, message="second")]
    assert sort_out(records[:1]).missing == ("a.mp4",)
    assert sort_out(records).failed == {"a.mp4": FailedClip("decode_error", "second", 2, ("node1",))}
    assert sort_out(records).missing == ()
    assert sort_out(records, tries=3).missing == ("a.mp4",)
    assert sort_out(records[:1], tries=1).failed.keys() == {"a.mp4"}


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_clip_gets_as_many_more_tries_as_are_configured_before_it_is_set_aside(tmp_path, retries):
    config, _ = load(None, [f"extract.retries={retries}", "run.name=r", f"run.root={tmp_path}"])
    config.folder.failures.mkdir(parents=True)
    path = config.folder.failures / "w-node1.jsonl"
    for attempt in range(1, retries + 2):
        assert not read_history(config.folder, config).sort_out(["a.mp4"]).failed
        with path.open("ab") as file:
            file.write(json_line(failed(attempt=attempt).as_dict()))
    assert read_history(config.folder, config).sort_out(["a.mp4"]).failed.keys() == {"a.mp4"}


@pytest.mark.parametrize("failure", sorted(set(FAILURE_CLASSES) - set(CLIP_FAULTS)))
def test_what_is_not_the_fault_of_the_clip_is_never_for_good(failure):
    other = [failed(failure=failure, attempt=i, host=f"node{i % 3}") for i in range(1, 99)]
    assert sort_out(other).failed == {}
    assert sort_out([failed(), *other]).failed == {}


@pytest.mark.parametrize("failure", CLIP_FAULTS)
def test_each_fault_of_the_clip_counts_and_they_add_up(failure):
    records = [failed(), failed(), failed(failure=failure, attempt=2)]
    assert sort_out(records).failed["a.mp4"].failure == "decode_error"
    assert sort_out([failed(failure=failure)] * 2).failed["a.mp4"].failure == failure


def test_the_reason_is_the_same_in_whatever_order_the_tries_were_made():
    records = [failed(failure="no_frames", host="node1"), failed(failure="decode_error", host="node2")]
    assert sort_out(records).failed["a.mp4"].failure == "decode_error"
    assert sort_out(records[::-1]).failed["a.mp4"].failure == "decode_error"


def test_a_clip_that_was_too_large_for_a_lower_limit_counts_no_more():
    record = dataclasses.replace(failed(failure="too_large"), limit="max_frames", limit_was=100)
    for limit, final in ((50, True), (100, True), (101, False)):
        found = sort_out([record] * 2, limits={"max_frames": limit, "max_pixels": 10**9})
        assert ("a.mp4" in found.failed) is final
        assert ("a.mp4" in found.missing) is not final
    other = failed()
    assert "a.mp4" in sort_out([record, other, other], limits={"max_frames": 101}).failed


def test_where_two_hosts_took_part_two_see_the_fault_or_one_tries_once_more():
    here, there = failed(host="node1"), failed(host="node2")
    both = {"node1", "node2"}
    assert sort_out([here] * 2, hosts={"node1"}).failed.keys() == {"a.mp4"}
    waiting = sort_out([here] * 2, hosts=both)
    assert waiting.waiting == {"a.mp4": "node1"}
    assert waiting.undecided == {"a.mp4"}
    assert sort_out([here] * 3, hosts=both).failed.keys() == {"a.mp4"}
    assert sort_out([here, there]).failed["a.mp4"].hosts == ("node1", "node2")
    assert sort_out([here, here, failed("b", host="node2")], clips=["a.mp4"]).undecided == {"a.mp4"}


def test_hosts_are_asked_for_only_where_the_answer_depends_on_them():
    def never():
        raise AssertionError

    History([failed(), failed("b", "timeout")], never, 2).sort_out(["a.mp4", "b", "c"])
    History([failed(), failed(host="node2")], never, 2).sort_out(["a.mp4"])


def test_a_fault_of_the_engine_on_the_second_host_does_not_confirm_that_of_the_clip():
    records = [failed(host="node1"), failed(host="node1"), failed(host="node2", failure="engine_error")]
    found = sort_out(records)
    assert found.missing == ("a.mp4",)
    assert found.one_host == {}
    assert found.undecided == {"a.mp4"}


@pytest.mark.parametrize("failure", ENGINE_FAULTS)
def test_a_clip_on_which_the_engine_fails_is_worth_another_host_and_never_decided(failure):
    found = sort_out([failed(failure=failure)] * 2, hosts={"node1", "node2"})
    assert found.waiting == {"a.mp4": "node1"}
    assert found.undecided == frozenset()
    assert sort_out([failed(failure=failure), failed(failure=failure, host="node2")]).waiting == {}


def test_a_clip_that_failed_for_good_where_one_host_took_part_is_still_worth_another():
    found = sort_out([failed()] * 2, hosts={"node1"})
    assert found.failed.keys() == {"a.mp4"}
    assert found.one_host == {"a.mp4": "node1"}
    assert found.waiting == {}


def test_tries_that_ended_in_different_ways_are_decided_by_a_last_look():
    mixed = [failed(failure="out_of_memory"), failed()]
    assert sort_out(mixed, hosts={"node1"}).undecided == {"a.mp4"}
    assert sort_out(mixed[::-1], hosts={"node1"}).undecided == frozenset()
    assert sort_out(mixed[1:], hosts={"node1"}).undecided == frozenset()  # its tries are not used up
    assert sort_out([*mixed, failed(), failed()], hosts={"node1"}).failed.keys() == {"a.mp4"}


def test_time_and_memory_send_no_clip_to_another_host():
    assert sort_out([failed(failure="timeout")] * 9, hosts={"node1", "node2"}).one_host == {}


def test_missing_clips_keep_their_order_and_have_their_last_failure():
    records = [failed("c"), failed("a"), failed("b", "timeout"), failed("a"), failed("c", "changed")]
    found = sort_out(records, clips=["d", "c", "b", "a"])
    assert found.missing == ("d", "c", "b")
    assert {name: record.failure for name, record in found.tried.items()} == {"c": "changed", "b": "timeout"}
    assert found.failed.keys() == {"a"}
    assert sort_out([], clips=[]).missing == ()


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
    st.sampled_from(FAILURE_CLASSES),
)
def test_more_records_never_take_a_verdict_back(records, tries, more):
    hosts = {"node1", "node2"}
    before = sort_out(records, tries, hosts, clips="ab")
    after = sort_out([*records, failed("a", failure=more)], tries, hosts, clips="ab")
    assert before.failed.keys() <= after.failed.keys()
    assert sorted([*before.missing, *before.failed]) == ["a", "b"]


@pytest.mark.parametrize(
    ("clips", "allowed"),
    [(1, 0), (19, 0), (20, 1), (40, 2), (199, 9), (200, 10), (5_000, 10), (10_000, 10), (10_001, 10),
     (20_000, 20), (152_265, 152)],
)  # fmt: skip
def test_ten_clips_or_five_percent_of_a_small_corpus_may_fail(clips, allowed):
    assert failures_allowed(clips, 0.001) == allowed


@pytest.mark.parametrize(
    ("clips", "share", "allowed"),
    [(100, 0.0, 0), (100, 1.0, 100), (100, 0.29, 29), (40, 0.2, 8), (152_265, 0.0, 0), (10, 0.1, 1)],
)
def test_a_share_above_that_counts_and_none_means_none(clips, share, allowed):
    assert failures_allowed(clips, share) == allowed


def test_a_share_of_a_corpus_above_ten_thousand_clips_counts_alone():
    assert failures_allowed(10_000, 1e-6) == 10
    assert failures_allowed(10_001, 1e-6) == 0
    assert failures_allowed(10_001, 0.01) == 100


def test_one_try_on_one_host_sends_no_clip_to_another():
    assert sort_out([failed()]).one_host == {}
    assert sort_out([failed(), failed()]).one_host == {"a.mp4": "node1"}
    assert sort_out([failed(), failed(host="node2")]).one_host == {}


def test_whether_a_second_host_took_part_is_known_from_another_clips_failure_or_from_elements():
    twice = [failed(), failed()]
    assert sort_out(twice, clips=["a.mp4"]).failed.keys() == {"a.mp4"}
    assert sort_out([*twice, failed("b.mp4", host="node2")], clips=["a.mp4"]).undecided == {"a.mp4"}
    assert sort_out(twice, hosts=["node2"], clips=["a.mp4"]).undecided == {"a.mp4"}
    assert sort_out(twice, hosts=["node1"], clips=["a.mp4"]).failed.keys() == {"a.mp4"}


def test_states_of_a_run_have_the_order_of_the_manifest_or_of_the_slices_that_are_asked_for(tmp_path):
    names = [f"{letter}.mp4" for letter in "abcdef"]
    run = plan_run(tmp_path / "runs", names, slices=2)
    run.shard([make_row("c.mp4")])
    manifest = load_manifest(run.folder)
    assert read_states(run.folder, run.config, manifest).gaps.missing == tuple(
        "abdef"[i] + ".mp4" for i in range(5)
    )
    found = read_states(run.folder, run.config, manifest, (1, 0))
    assert found.gaps.missing == ("b.mp4", "d.mp4", "f.mp4", "a.mp4", "e.mp4")
    assert found.done == {"c.mp4"}
    assert read_states(run.folder, run.config, manifest, (1,)).gaps.missing == ("b.mp4", "d.mp4", "f.mp4")


class OnceReader(DoneReader):
    """Counts what it is asked for."""

    asked = 0

    def read(self, *arguments):
        self.asked += 1
        return super().read(*arguments)


def test_states_are_read_again_with_what_was_read_before(tmp_path):
    run = plan_run(tmp_path / "runs", ["a.mp4"])
    reader = OnceReader()
    for _ in range(2):
        read_states(run.folder, run.config, load_manifest(run.folder), reader=reader)
    assert reader.asked == 2
