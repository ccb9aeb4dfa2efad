"""Several rows of one clip: equal ones are one, others a conflict."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from support.merge_helpers import NAN, make_row, plan_run
from support.merges import CLIPS, find, finish, refuse, shown

from vmafarm.disk.jsonl import checked_line, read_checked
from vmafarm.merging.result import summarise
from vmafarm.run_folder.provenance import METADATA_KEY


def test_rows_equal_within_a_millionth_collapse_to_the_same_one_for_any_writers(tmp_path):
    contents = []
    for order in ("vw", "wv"):
        run = plan_run(tmp_path / order, CLIPS)
        run.shard([make_row(clip) for clip in CLIPS], writer=order[0])
        run.shard([make_row(CLIPS[0], vmaf_mean=make_row(CLIPS[0])["vmaf_mean"] - 9e-7)], writer=order[1])
        result = finish(run)
        (finding,) = find(result, "duplicate")
        assert (finding.severity, finding.count) == ("info", 1)
        contents.append(run.folder.table.read_bytes())
    assert contents[0] == contents[1]


def test_zeros_of_either_sign_collapse_to_the_same_bytes(tmp_path):
    contents = []
    for first, second in ((0.0, -0.0), (-0.0, 0.0)):
        run = plan_run(tmp_path / str(first), CLIPS)
        run.shard([make_row(clip, vmaf_std=first) for clip in CLIPS], writer="v")
        run.shard([make_row(clip, vmaf_std=second) for clip in CLIPS], writer="w")
        finish(run)
        contents.append(run.folder.table.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("column", "change"),
    [("vmaf_mean", 2e-6), ("motion2_std", 1.0), ("width", 1), ("height", -1), ("cambi_mean", NAN)],
)
def test_rows_that_disagree_stop_the_merge(run, column, change):
    row = make_row(CLIPS[0])
    other = row | {column: row[column] + change}
    if column == "cambi_mean":
        other |= {"cambi_std": NAN}
    run.shard([make_row(clip) for clip in CLIPS])
    run.shard([other], writer="v")
    (error,) = refuse(run, "conflict")
    assert f"{CLIPS[0]}: {'cambi_mean; cambi_std' if column == 'cambi_mean' else column}" in error["message"]
    (row,) = shown(run, error)
    assert (row["clip_name"], row["copies"], len(row["files"])) == (CLIPS[0], 2, 2)
    assert column in row["columns"]


def test_three_rows_must_all_agree_with_each_other(run):
    row = make_row(CLIPS[0])
    run.shard([make_row(clip) for clip in CLIPS])
    for number in (1, 2):
        run.shard([row | {"vmaf_mean": row["vmaf_mean"] + number * 8e-7}], writer=f"v{number}")
    refuse(run, "conflict")


@pytest.mark.parametrize("late", ["v", "w"])
def test_latest_row_is_taken_on_demand_and_the_table_says_so(run, late):
    run.shard([make_row(clip, vmaf_std=1.0) for clip in CLIPS], writer="v")
    run.shard([make_row(CLIPS[0], vmaf_std=2.0)], writer="w")
    for writer in ("v", "w"):
        run.clip_log(CLIPS[:1], 5 if writer == late else 1, writer=writer)
    result = finish(run, on_conflict="latest")
    assert run.table()["vmaf_std"].to_pylist()[0] == (1.0 if late == "v" else 2.0)
    assert result.counts["conflicts"] == 1
    assert [f.severity for f in find(result, "conflict")] == ["warn"]
    metadata = json.loads(pq.read_metadata(run.folder.table).metadata[METADATA_KEY])
    assert metadata["conflicts"] == {"clips": 1, "taken": "latest"}


@pytest.mark.parametrize("minutes", [{"v": 3, "w": 3}, {"v": 9}, {}])
def test_where_time_does_not_decide_values_do(run, minutes):
    run.shard([make_row(clip, vmaf_std=2.0) for clip in CLIPS], writer="v")
    run.shard([make_row(CLIPS[0], vmaf_std=1.0)], writer="w")
    for writer, minute in minutes.items():
        run.clip_log(CLIPS[:1], minute, writer=writer)
    result = finish(run, on_conflict="latest")
    assert run.table()["vmaf_std"].to_pylist()[0] == 1.0
    assert "1 undecided by time" in find(result, "conflict")[0].message


def test_journal_tells_the_time_of_its_rows(run):
    run.shard([make_row(clip, vmaf_std=1.0) for clip in CLIPS], writer="v")
    run.clip_log(CLIPS[:1], -5, writer="v")
    run.journal([make_row(CLIPS[0], vmaf_std=2.0)], writer="w")
    result = finish(run, on_conflict="latest")
    assert run.table()["vmaf_std"].to_pylist()[0] == 2.0
    assert "0 undecided" in find(result, "conflict")[0].message


def damaged(run, writers, clip=CLIPS[0], repeatable=False):
    """Clip logs that say of a clip that another decode of it may give other values."""
    for writer in writers:
        run.log_clips({clip: 1.0}, writer=writer, repeatable=repeatable)


@pytest.mark.parametrize("writers", ["v", "w", "vw"])
@pytest.mark.parametrize("options", [{}, {"on_conflict": "latest"}])
def test_rows_of_a_clip_that_cannot_repeat_stop_no_merge(run, writers, options):
    run.shard([make_row(clip, vmaf_std=2.0) for clip in CLIPS], writer="v")
    run.shard([make_row(CLIPS[0], vmaf_std=1.0)], writer="w")
    damaged(run, writers)
    result = finish(run, **options)
    assert run.table()["vmaf_std"].to_pylist()[0] == 1.0  # by value: times and writers decide nothing
    assert (result.counts["conflicts"], result.counts["not_repeatable"]) == (0, 1)
    assert result.counts["duplicate_rows"] == 0
    (finding,) = find(result, "not_repeatable")
    assert (finding.severity, finding.count) == ("warn", 1)
    assert f"differ, because each decode conceals the damage in its own way: {CLIPS[0]}." in finding.message
    assert "conflicts" not in json.loads(pq.read_metadata(run.folder.table).metadata[METADATA_KEY])
    assert "not repeatable   1 damaged clip: rows differ, one of each is taken" in summarise(result)


def test_a_clip_that_cannot_repeat_excuses_no_other(run):
    run.shard([make_row(clip, vmaf_std=2.0) for clip in CLIPS], writer="v")
    run.shard([make_row(clip, vmaf_std=1.0) for clip in CLIPS[:2]], writer="w")
    damaged(run, "v")
    (error,) = refuse(run, "conflict")
    assert (error["count"], CLIPS[1] in error["message"]) == (1, True)


@pytest.mark.parametrize("column", ["width", "height"])
def test_another_size_is_no_matter_of_damage(run, column):
    run.shard([make_row(clip) for clip in CLIPS], writer="v")
    row = make_row(CLIPS[0])
    run.shard([row | {column: row[column] + 1, "vmaf_std": 3.0}], writer="w")
    damaged(run, "vw")
    refuse(run, "conflict")


def test_equal_rows_of_a_clip_that_cannot_repeat_are_one_row(run):
    run.shard([make_row(clip) for clip in CLIPS], writer="v")
    run.shard([make_row(CLIPS[0])], writer="w")
    damaged(run, "vw")
    result = finish(run)
    assert (result.counts["duplicate_rows"], result.counts["not_repeatable"]) == (1, 0)
    assert find(result, "not_repeatable") == []


def test_a_journal_tells_that_its_row_cannot_repeat(run):
    run.shard([make_row(clip, vmaf_std=2.0) for clip in CLIPS], writer="v")
    run.clip_log(CLIPS, 1, writer="v")
    path = run.journal([make_row(CLIPS[0], vmaf_std=1.0)], writer="w")
    refuse(run, "conflict")
    lines, _ = read_checked(path)
    records = [json.loads(line) for line in lines]
    records[1]["log"]["repeatable"] = False
    path.write_bytes(b"".join(map(checked_line, records)))
    assert finish(run).counts["not_repeatable"] == 1


# Clips that a GPU and the CPU have scored


def by(run, backend, writer, clips=(CLIPS[0],)):
    """The clip log of a writer that scored there."""
    run.log_clips(dict.fromkeys(clips, 1.0), writer=writer, backend=backend)


@pytest.mark.parametrize("options", [{}, {"on_conflict": "latest"}])
@pytest.mark.parametrize(("by_v", "by_w", "taken"), [("cuda", "cpu", 2.0), ("cpu", "cuda", 1.0)])
def test_of_a_row_by_a_gpu_and_one_by_the_cpu_that_of_the_cpu_is_taken(run, options, by_v, by_w, taken):
    run.shard([make_row(clip, vmaf_std=1.0) for clip in CLIPS], writer="v")
    run.shard([make_row(CLIPS[0], vmaf_std=2.0)], writer="w")
    by(run, by_v, "v")
    by(run, by_w, "w")
    result = finish(run, **options)
    assert run.table()["vmaf_std"].to_pylist()[0] == taken
    assert (result.counts["conflicts"], result.counts["not_repeatable"]) == (0, 0)
    (finding,) = find(result, "scored_on_both")
    assert (finding.severity, finding.count) == ("info", 1)


@pytest.mark.parametrize("backends", [("cuda", "cuda"), ("cpu", "cpu"), ("cpu", ""), ("cuda", "cpu", "cpu")])
def test_rows_that_no_cpu_decides_are_a_conflict(run, backends):
    run.shard([make_row(clip) for clip in CLIPS], writer="v0")
    by(run, backends[0], "v0")
    for number, backend in enumerate(backends[1:], 1):
        run.shard([make_row(CLIPS[0], vmaf_std=float(number))], writer=f"v{number}")
        by(run, backend, f"v{number}")
    refuse(run, "conflict")


def test_a_cpu_decides_nothing_about_another_size(run):
    run.shard([make_row(clip) for clip in CLIPS], writer="v")
    run.shard([make_row(CLIPS[0]) | {"width": 400}], writer="w")
    by(run, "cuda", "v")
    by(run, "cpu", "w")
    refuse(run, "conflict")


def test_clips_of_a_run_on_gpus_that_the_cpu_scored_are_counted(run):
    run = replace(run, provenance=replace(run.provenance, backend="cuda"))
    run.folder.provenance.write_text(run.provenance.as_json())
    run.shard([make_row(clip) for clip in CLIPS])
    by(run, "cuda", "w", CLIPS)
    assert "rows_elsewhere" not in finish(run).counts
    by(run, "cpu", "v", CLIPS[:3])
    by(run, "", "u", CLIPS[:5])  # an earlier version, which did not say
    result = finish(run)
    assert result.counts["rows_elsewhere"] == 3
    assert "on the CPU       3 clips on which a GPU failed; see the clip logs" in summarise(result)
