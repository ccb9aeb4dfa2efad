"""Clips without a row: missing, or failed for good."""

from __future__ import annotations

import json
import re

import pyarrow.parquet as pq
import pytest
from support.merge_helpers import make_row, plan_run
from support.merges import CLIPS, clips_shown, find, finish, refuse

from vmafarm.run_folder.provenance import METADATA_KEY
from vmafarm.shards.completeness import FailedClip


def test_missing_clips_stop_the_merge_with_their_last_failures(run):
    run.shard([make_row(clip) for clip in CLIPS[:7]])
    run.fail(CLIPS[8], "timeout", tries=3)
    run.fail(CLIPS[9], "decode_error", tries=1)
    run.fail(CLIPS[0], "decode_error", tries=2)
    (error,) = refuse(run, "missing")
    assert f"3 of 10 clips are missing: {CLIPS[7]}, {CLIPS[8]}, {CLIPS[9]}" in error["message"]
    assert f"timeout 1 (last: {CLIPS[8]}: cannot take {CLIPS[8]})" in error["message"]
    assert clips_shown(run, error) == CLIPS[7:]


def test_missing_clips_may_be_allowed_and_the_table_says_so(run):
    run.shard([make_row(clip) for clip in CLIPS[:7]])
    run.fail(CLIPS[9])
    result = finish(run, allow_missing=True)
    assert (result.counts["missing"], result.counts["failed_for_good"], result.counts["rows"]) == (2, 1, 7)
    metadata = json.loads(pq.read_metadata(run.folder.table).metadata[METADATA_KEY])
    assert metadata["incomplete"] == {"missing": 2, "failed_for_good": 1}
    assert metadata["left_out"] == {CLIPS[7]: "missing", CLIPS[8]: "missing", CLIPS[9]: "decode_error"}


def test_few_clips_failed_for_good_are_published_without_and_counted(run):
    run.shard([make_row(clip) for clip in CLIPS[:9]])
    run.fail(CLIPS[9], "no_video")
    result = finish(run, max_failed_share=0.1)
    assert result.failed_classes == {"no_video": 1}
    assert result.failed_for_good == {CLIPS[9]: FailedClip("no_video", f"cannot take {CLIPS[9]}", 2, ("h1",))}
    assert [f.severity for f in find(result, "failed_for_good")] == ["warn"]
    metadata = json.loads(pq.read_metadata(run.folder.table).metadata[METADATA_KEY])
    assert metadata["incomplete"] == {"missing": 0, "failed_for_good": 1}
    assert metadata["left_out"] == {CLIPS[9]: "no_video"}


def test_too_many_clips_failed_for_good_stop_the_merge(run):
    run.shard([make_row(clip) for clip in CLIPS[:8]])
    run.fail(CLIPS[8])
    run.fail(CLIPS[9])
    (error,) = refuse(run, "failed_for_good", max_failed_share=0.1)
    assert "2 of 10 clips (20.000%)" in error["message"]
    assert clips_shown(run, error) == CLIPS[8:]
    assert finish(run, max_failed_share=0.1, allow_missing=True).published


@pytest.mark.parametrize("clips", [3, 7, 11])
def test_the_suggested_share_of_failed_clips_publishes_without_them(tmp_path, clips):
    names = [f"{number:02}.mp4" for number in range(clips)]
    run = plan_run(tmp_path / "runs", names)
    run.shard([make_row(names[0])])
    for name in names[1:]:
        run.fail(name)
    (error,) = refuse(run, "failed_for_good")
    (told,) = re.findall(r"--max-failed-share ([\d.]+)\. ", error["message"])
    assert "change the files, then vmafarm run --update" in error["message"]
    assert finish(run, max_failed_share=float(told)).counts["failed_for_good"] == clips - 1


def test_fault_seen_on_one_of_two_hosts_is_not_for_good(run):
    run.shard([make_row(clip) for clip in CLIPS[:9]])
    run.take_part("h2")
    run.fail(CLIPS[9], host="h1")
    (error,) = refuse(run, "missing", max_failed_share=1)
    assert "vmafarm retry tries another" in error["message"]
    run.fail(CLIPS[9], host="h2")
    assert finish(run, max_failed_share=1).counts["failed_for_good"] == 1


def test_unreadable_clip_logs_and_failures_are_reported(run):
    run.shard([make_row(clip) for clip in CLIPS[:9]])
    run.clip_log(CLIPS, 1).write_bytes(b"PAR1")
    run.fail(CLIPS[9])
    assert find(finish(run, max_failed_share=1), "clip_log")
    (run.folder.failures / "z.jsonl").write_text('{"clip": 1}\nno JSON\n{"cut": ')
    (finding,) = find(finish(run, max_failed_share=1), "failures")
    assert (finding.severity, finding.count) == ("warn", 2)
    (run.folder.failures / "h1.jsonl").write_text("[]\n" * 9)
    refuse(run, "missing", max_failed_share=1)
