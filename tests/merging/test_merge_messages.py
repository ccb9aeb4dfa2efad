"""What a merge says of its findings: each once, with its numbers, and with what helps."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import NoReturn

import duckdb
import pytest
from support.merge_helpers import KNOWN, NOW, Run, make_row, plan_run
from support.merges import finish

from vmafarm.cluster.status import read_status
from vmafarm.common.errors import IncompleteError
from vmafarm.merging.audits import count_audits, judge_constants, tell_audits
from vmafarm.merging.complete import describe_failed, describe_left_out, judge_gaps
from vmafarm.merging.merge import merge
from vmafarm.merging.result import list_failed, summarise
from vmafarm.query.database import open_run
from vmafarm.run_folder.failures import FailureRecord
from vmafarm.run_folder.paths import RunFolder
from vmafarm.shards.completeness import FailedClip, Gaps, History
from vmafarm.shards.remarks import RemarkReader

CLIPS = [f"{letter}.mp4" for letter in "abcdefghijklmn"]


def failed(clip: str, failure: str, host: str = "h1", message: str = "why") -> FailureRecord:
    return FailureRecord(clip, failure, message, [], 1, 0, host, host, NOW.isoformat())


def gaps(*records: FailureRecord, untried: tuple[str, ...] = (), hosts: tuple[str, ...] = ()) -> Gaps:
    names = [*dict.fromkeys(record.clip_name for record in records), *untried]
    return History(records, lambda: hosts, 2).sort_out(names)


def judge(
    found: Gaps, clips: int = 100, share: float = 0.0, allow: bool = False
) -> dict[str, tuple[str, str]]:
    """Name of each finding to its severity and message."""
    findings = judge_gaps(found, clips, max_failed_share=share, allow_missing=allow)
    return {finding.name: (finding.severity, finding.message) for finding in findings}


def test_clips_that_were_not_tried_are_named_with_what_to_run() -> None:
    what = "Not tried yet: 2: run the extraction (vmafarm run; on SLURM vmafarm retry)"
    found = gaps(untried=("a.mp4", "b.mp4"))
    assert judge(found) == {
        "missing": (
            "error",
            f"2 of 100 clips are missing: a.mp4, b.mp4. {what}. To publish without them: --allow-missing",
        )
    }
    severity, message = judge(found, allow=True)["missing"]
    assert severity == "warn"
    assert message.endswith("vmafarm retry). Published without them")


def test_of_many_missing_clips_the_first_ones_are_named() -> None:
    assert (
        "5 of 100 clips are missing: a.mp4, b.mp4, c.mp4, d.mp4, e.mp4. "
        in judge(gaps(untried=tuple(CLIPS[:5])))["missing"][1]
    )
    assert (
        "6 of 100 clips are missing: a.mp4, b.mp4, c.mp4, d.mp4, e.mp4, .... "
        in judge(gaps(untried=tuple(CLIPS[:6])))["missing"][1]
    )


def test_reasons_for_missing_clips_are_grouped_most_frequent_first_with_a_remedy() -> None:
    found = gaps(
        failed("a.mp4", "timeout", message="too slow"), failed("b.mp4", "unreadable"),
        failed("c.mp4", "unreadable", message="no permission"), failed("d.mp4", "decode_error"),
        failed("d.mp4", "decode_error"), failed("e.mp4", "engine_error"), failed("e.mp4", "engine_error"),
        untried=("f.mp4",), hosts=("h1", "h2"),
    )  # fmt: skip
    said = judge(found)["missing"][1].partition(". ")[2]
    assert said == (
        "Not tried yet: 1: run the extraction (vmafarm run; on SLURM vmafarm retry); "
        "unreadable 2 (last: b.mp4: why): make the files readable; "
        "decode_error 1 (last: d.mp4: why): tried on one of several hosts: vmafarm retry tries another, "
        "vmafarm run decides here; "
        "engine_error 1 (last: e.mp4: why): the engine fails on these clips alone: try another build of it; "
        "timeout 1 (last: a.mp4: too slow): raise extract.timeout, or free the machine. "
        "To publish without them: --allow-missing"
    )


def test_tries_that_ended_in_different_ways_are_reported_as_such() -> None:
    found = gaps(failed("a.mp4", "timeout"), failed("a.mp4", "decode_error"))
    assert (
        "decode_error 1 (last: a.mp4: why): its tries ended in different ways" in judge(found)["missing"][1]
    )


@pytest.mark.parametrize(
    ("clips", "share", "allow", "severity", "words", "hint"),
    [
        (100, 0.0, False, "error", "(2.000%) have failed for good, more than the 0 that", True),
        (100, 0.0, True, "warn", "more than the 0 that merge.max_failed_share = 0.000% allows", False),
        (100, 0.02, False, "warn", "within the 5 that merge.max_failed_share = 2.000% allows", False),
        (40, 0.02, False, "warn", "(5.000%) have failed for good, within the 2 that", False),
    ],
)
def test_clips_that_failed_for_good_are_counted_against_what_is_allowed(
    clips: int, share: float, allow: bool, severity: str, words: str, hint: bool
) -> None:
    records = [failed("a.mp4", "decode_error"), failed("b.mp4", "no_frames", message="empty")]
    found, said = judge(gaps(*records, *records), clips, share, allow)["failed_for_good"]
    assert found == severity
    assert words in said
    assert "decode_error 1 (first: a.mp4: why), no_frames 1 (first: b.mp4: empty)" in said
    assert ("To publish without them: --max-failed-share" in said) == hint


def test_faults_are_listed_most_frequent_first_with_their_first_clip() -> None:
    clips = {
        name: FailedClip(fault, f"of {name}", 2, ("h1",))
        for name, fault in (("a", "no_frames"), ("b", "decode_error"), ("c", "decode_error"))
    }
    assert describe_failed(clips) == "decode_error 2 (first: b: of b), no_frames 1 (first: a: of a)"
    found = Gaps(("z", "d"), clips, {}, {}, frozenset())
    assert describe_left_out(found) == {
        "a": "no_frames", "b": "decode_error", "c": "decode_error", "d": "missing", "z": "missing"
    }  # fmt: skip


def test_a_merge_that_publishes_nothing_says_why_with_the_check_that_shows_it(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", CLIPS)
    run.shard([make_row("a.mp4")])
    for clip in CLIPS[1:13]:
        run.fail(clip)
    with pytest.raises(IncompleteError) as caught:
        merge(run.folder, run.config)
    lines = caught.value.message.splitlines()
    assert lines[0] == 'merge of "demo": nothing published, 2 reasons:'
    assert lines[1].startswith("1. [missing] 1 of 14 clips are missing: n.mp4. Not tried yet: 1")
    assert lines[2] == "   to see the rows: vmafarm qa --run demo --check missing"
    at = lines.index("Failed for good:")
    assert lines[at + 1] == "  b.mp4: decode_error: cannot take b.mp4"
    assert lines[at + 10] == "  k.mp4: decode_error: cannot take k.mp4"
    assert lines[at + 11 :] == [f"  and 2 more: see {run.folder.merge_record}"]
    assert caught.value.hint == f"All counts and findings are in {run.folder.merge_record}"


def test_ten_clips_that_failed_are_all_listed(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", CLIPS[:11])
    run.shard([make_row(CLIPS[0])])
    for clip in CLIPS[1:11]:
        run.fail(clip)
    result = finish(run, max_failed_share=1.0)
    assert len(list_failed(result)) == 10
    said = "\n".join(summarise(result))
    assert "failed for good  10 clips: decode_error 10\n" in said
    assert " more: see" not in said


def test_a_summary_tells_what_is_constant_and_what_warnings_there_are(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", ["a.mp4", "b.mp4"])
    run.shard([make_row("a.mp4")])
    lines = summarise(merge(run.folder, run.config, allow_missing=True))
    assert lines[0] == "rows             1 of 2 clips, 48 columns"
    assert "missing          1 clip, published without" in lines
    assert [
        line
        for line in lines
        if line.startswith("constant         known on an identity pair, filled in: psnr_y")
    ]
    assert "warnings         2: missing, not_audited; see the record" in lines
    assert lines[-2:] == [
        f"record           {run.folder.merge_record}",
        f"table            {run.folder.table}",
    ]
    assert all(len(line) <= 80 for line in lines[:-2])


def columns_told(run: Run, column: str) -> list[tuple[str, str]]:
    """Severity and message of all findings that name a column."""
    try:
        findings = merge(run.folder, run.config).findings
    except IncompleteError as error:
        return [
            ("error", line) for line in error.message.splitlines() if column in line and line[:1].isdigit()
        ]
    return [(one.severity, one.message) for one in findings if column in one.message]


@pytest.mark.parametrize(
    ("column", "clips", "told"),
    [
        ("ssimulacra2_mean", 1, "[identity_constants] 2 rows: a.mp4 name=ssimulacra2_mean value=nan"),
        ("vmaf_mean", 2, "[all_nan] 2 rows: vmaf_mean rows=2; vmaf_std rows=2"),
    ],
)
def test_a_missing_value_is_reported_once(tmp_path: Path, column: str, clips: int, told: str) -> None:
    measured = [name for name in KNOWN if name != "ssimulacra2"]
    run = plan_run(tmp_path / "runs", ["a.mp4", "b.mp4"], constant=measured)
    nan = dict.fromkeys((column, column.replace("_mean", "_std")), float("nan"))
    run.shard([make_row(name, **(nan if at < clips else {})) for at, name in enumerate(("a.mp4", "b.mp4"))])
    found = columns_told(run, column)
    assert len(found) == 1, found
    assert told in found[0][1]


AUDITS = {"clips": 0, "differ": 0, "seconds_scoring": 400.0}


@pytest.mark.parametrize(
    ("audits", "plan", "told"),
    [
        ({}, "full", []),
        (
            {"clips": 3, "differ": 1}, "full",
            [("audited", "1 of 3 clips scored by both plans differ; see merge.json")],
        ),
        (
            {"clips": 1}, "identity",
            [("audited", "1 clip by all the engine's extractors: all constants were as expected")],
        ),
        ({"clips": 1}, "full", []),
    ],
)  # fmt: skip
def test_audits_tell_whether_constants_hold(
    audits: dict[str, float], plan: str, told: list[tuple[str, str]]
) -> None:
    assert tell_audits(AUDITS | audits, plan) == told


def test_rows_of_another_manifest_are_reported(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", ["a.mp4"])
    run.shard([make_row("a.mp4")])
    other = plan_run(tmp_path / "other", ["a.mp4", "b.mp4"])
    run.folder.provenance.write_text(other.provenance.as_json())
    with pytest.raises(
        IncompleteError, match=r"\[provenance\] .*: the rows are those of manifest sha256:"
    ) as caught:
        merge(run.folder, run.config)
    assert f"the run's is {run.provenance.manifest}: restore the first one" in caught.value.message


def test_a_merge_sweeps_old_drafts_of_all_that_it_delivers(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", ["a.mp4"])
    run.shard([make_row("a.mp4")])
    paths = [*run.folder.delivered(), run.folder.provenance]
    drafts = [path.with_name(f".{path.name}.1.ab.tmp") for path in paths]
    assert len(drafts) == 8
    for draft in drafts:
        draft.touch()
        os.utime(draft, (0, 0))
    merge(run.folder, run.config)
    assert [draft for draft in drafts if draft.exists()] == []


def test_a_value_that_was_measured_to_be_another_one_stops_the_merge_whatever_came_of_its_clip() -> None:
    """The last record of each clip is reported; this rule ignores other failures."""
    folder = RunFolder(Path("runs"), "demo")
    assert judge_constants([failed("a.mp4", "timeout")], folder) == []
    records = [
        failed("a.mp4", "wrong_constant", "h1", "first"),
        failed("b.mp4", "timeout", "h1", "slow"),
        failed("a.mp4", "wrong_constant", "h2", "vif_scale0 is 0.5"),
    ]
    (finding,) = judge_constants(records, folder)
    assert (finding.name, finding.severity, finding.count) == ("wrong_constant", "error", 1)
    assert "measured to be others: a.mp4 on h2: vif_scale0 is 0.5. " in finding.message
    assert f"move its shards and its records in {folder.failures} away" in finding.message
    assert finding.check == "failures"


@pytest.mark.parametrize(
    "how",
    ["line wrong_conttant", "line wRong_constant", "file that cannot be read", "folder that cannot be read"],
)
@pytest.mark.parametrize("plan", ["identity", "full"])
def test_a_record_that_may_say_that_a_value_is_wrong_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, plan: str
) -> None:
    """Where the plan fills in values, one of them could be known to be wrong by that record alone."""
    run = plan_run(tmp_path / "runs", ["a.mp4"], constant=KNOWN if plan == "identity" else ())
    run = dataclasses.replace(run, provenance=dataclasses.replace(run.provenance, plan=plan))
    run.folder.provenance.write_text(run.provenance.as_json())
    run.shard([make_row("a.mp4")])
    run.fail("a.mp4", "wrong_constant", tries=1)
    (path,) = run.folder.failures.iterdir()
    if how.startswith("line"):
        path.write_bytes(path.read_bytes().replace(b"wrong_constant", how.split()[1].encode()))

    def closed(name: Path, *_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(name))

    if how == "file that cannot be read":
        monkeypatch.setattr("vmafarm.run_folder.failures.read_records", closed)
    if how == "folder that cannot be read":
        monkeypatch.setattr("vmafarm.run_folder.failures.list_files", closed)
    if plan == "identity":
        told = r"\[failures\] .* cannot be read do not count; one of them may"
        with pytest.raises(IncompleteError, match=told):
            merge(run.folder, run.config)
    else:
        (finding,) = [one for one in merge(run.folder, run.config).findings if one.name == "failures"]
        assert (finding.severity, finding.count) == ("warn", 1)


@pytest.mark.parametrize("closed", ["clip_log", "clip_log/slice-00009"])
def test_clip_logs_in_an_unreadable_folder_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    run = plan_run(tmp_path / "runs", ["a.mp4"])
    run.shard([make_row("a.mp4")])
    run.clip_log(["a.mp4"], 1)
    (run.folder.clip_logs / "slice-00009").mkdir()  # of an earlier version
    real = os.listdir

    def listdir(path: Path) -> list[str]:
        if path == run.folder.path / closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    (finding,) = [one for one in merge(run.folder, run.config).findings if one.name == "clip_log"]
    assert (finding.severity, finding.count) == ("warn", 1)
    said: list[str] = []
    with open_run(run.config, said.append):
        pass
    assert any(line.startswith("clips: left out: ") and "Permission denied" in line for line in said), said
    reader = RemarkReader(run.folder)
    reader.read()
    assert reader.problems == {run.folder.path / closed: "Permission denied"}
    monkeypatch.setattr(os, "listdir", real)
    reader.read()
    assert reader.problems == {}


def test_audits_are_counted_by_what_came_of_them() -> None:
    """A clip whose audit failed, or that has none, counts in the sum of seconds alone."""
    with duckdb.connect() as connection:
        connection.execute("""
            CREATE TABLE problems AS SELECT 'd.mp4' AS clip_name, true AS missing;
            CREATE TABLE entries AS FROM (VALUES
                ('a.mp4', 'equal', '', 'nan'::DOUBLE, 4.0), ('b.mp4', 'failed', '', 'nan'::DOUBLE, 2.0),
                ('c.mp4', '', '', 'nan'::DOUBLE, 1.0), ('d.mp4', 'differs', 'adm2', 0.5::DOUBLE, 5.0)
            ) AS _(clip_name, audit, audit_feature, audit_difference, seconds)
        """)
        counts = {"clips": 1, "differ": 0, "failed": 1, "seconds_scoring": 7.0, "gpu": {}}
        assert count_audits(connection) == counts


def test_a_gpu_is_counted_by_the_feature_that_is_farthest_apart() -> None:
    """Of two entries the worse one counts; a clip without a row does not, nor one that the CPU refused."""
    with duckdb.connect() as connection:
        connection.execute("""
            CREATE TABLE problems AS SELECT 'd.mp4' AS clip_name, true AS missing;
            CREATE TABLE entries AS FROM (VALUES
                ('a.mp4', 'equal', 'adm2', 1e-5::DOUBLE, 4.0), ('a.mp4', 'differs', 'adm2', 1e-3, 4.0),
                ('b.mp4', 'differs', 'motion', 'nan'::DOUBLE, 2.0), ('c.mp4', 'equal', 'adm2', 2e-5, 1.0),
                ('d.mp4', 'differs', 'vmaf', 0.5, 5.0), ('e.mp4', 'failed', '', 'nan', 5.0)
            ) AS _(clip_name, audit, audit_feature, audit_difference, seconds)
        """)
        found = count_audits(connection)
    assert found["gpu"] == {
        "adm2": {"clips": 2, "beyond": 1, "largest": 1e-3},
        "motion": {"clips": 1, "beyond": 1, "largest": None},
    }
    told = [("audited", "3 clips by GPU and CPU: 2 beyond tolerance, at most adm2 0.001, motion NaN")]
    assert tell_audits(found, "full") == told
    within = {"adm2": {"clips": 2, "beyond": 0, "largest": 2e-5}}
    told = [("audited", "2 clips by GPU and CPU: all within tolerance, at most adm2 2e-05")]
    assert tell_audits(found | {"gpu": within}, "identity") == told


def test_status_says_that_rows_have_come_since_the_table_was_published(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", ["a.mp4", "b.mp4"])
    run.shard([make_row("a.mp4")])
    merge(run.folder, run.config, allow_missing=True)
    assert not any("scored since" in note for note in read_status(run.config, None).notes)
    run.shard([make_row("b.mp4")], writer="late")
    assert "the table lacks 1 clip scored since: vmafarm merge" in read_status(run.config, None).notes
    merge(run.folder, run.config)
    assert not any("scored since" in note for note in read_status(run.config, None).notes)
