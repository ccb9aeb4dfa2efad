"""Checks of severity error refuse a merge by their names, and show the rows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.kept_frames import keep_frames, rows_for, set_frames
from support.merge_helpers import NAN, Run, make_row, plan_run
from support.merges import CLIPS, clips_shown, find, finish, refuse, shown

from vmafarm.common.errors import IncompleteError
from vmafarm.disk.jsonl import checked_line, read_checked
from vmafarm.merging.result import summarise
from vmafarm.publish import examine
from vmafarm.query.checks import list_checks
from vmafarm.run_folder.provenance import METADATA_KEY
from vmafarm.schema.features import ARROW_SCHEMA


def test_row_of_an_unplanned_clip_is_refused(run):
    run.shard([make_row(clip) for clip in [*CLIPS, "other.mp4"]])
    (error,) = refuse(run, "not_in_manifest")
    assert "other.mp4" in error["message"]
    assert clips_shown(run, error) == ["other.mp4"]


def test_score_that_differs_from_the_manifest_is_refused(run):
    run.shard([make_row(clip, mos=3.0 + (clip == CLIPS[2]) * 1e-9) for clip in CLIPS])
    (error,) = refuse(run, "not_in_manifest")
    assert clips_shown(run, error) == [CLIPS[2]]


def test_score_that_is_nan_in_both_is_equal(tmp_path):
    scores = dict.fromkeys(CLIPS, 3.0) | {CLIPS[0]: NAN}
    run = plan_run(tmp_path, scores, corpus={"missing_mos": "nan"})
    run.shard([make_row(clip, mos=mos) for clip, mos in scores.items()])
    result = finish(run)
    assert result.nan["mos"] == 1


def test_score_that_is_nan_needs_leave(tmp_path):
    run = plan_run(tmp_path, dict.fromkeys(CLIPS, NAN), corpus={"scores": "scores.csv"})
    run.shard([make_row(clip, mos=NAN) for clip in CLIPS])
    (error,) = refuse(run, "impossible_mos")
    assert "missing_mos" in error["message"]


def test_without_a_file_of_scores_nan_is_what_is_expected(tmp_path):
    run = plan_run(tmp_path, dict.fromkeys(CLIPS, NAN))
    run.shard([make_row(clip, mos=NAN) for clip in CLIPS])
    finish(run)
    assert all(math.isnan(mos) for mos in run.table()["mos"].to_pylist())


@pytest.mark.parametrize("mos", [0.99, 5.01, float("inf")])
def test_score_outside_the_possible_is_refused(tmp_path, mos):
    run = plan_run(tmp_path, dict.fromkeys(CLIPS, 3.0) | {CLIPS[0]: mos})
    run.shard([make_row(clip, mos=mos if clip == CLIPS[0] else 3.0) for clip in CLIPS])
    (error,) = refuse(run, "impossible_mos")
    assert clips_shown(run, error) == [CLIPS[0]]


def test_scores_at_the_limits_pass(tmp_path):
    scores = {"a": 1.0, "b": 5.0}
    run = plan_run(tmp_path, scores)
    run.shard([make_row(clip, mos=mos) for clip, mos in scores.items()])
    assert finish(run).published


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ("mean_and_std", {"vmaf_mean": float("inf")}),
        ("mean_and_std", {"vmaf_std": float("-inf")}),
        ("mean_and_std", {"motion3_std": NAN}),
        ("mean_and_std", {"motion3_mean": NAN}),
        ("mean_and_std", {"vmaf_std": -1e-12}),
        ("numbers_where_nan", {"ciede2000_mean": 90.0, "ciede2000_std": 1.0}),
        ("identity_constants", {"psnr_y_mean": 60.5}),
        ("identity_constants", {"psnr_y_std": 1e-9}),
        ("identity_constants", {"float_ms_ssim_mean": 0.9999}),
        ("too_small", {"height": 17}),
    ],
)
def test_row_that_breaks_a_rule_is_shown(run, rule, values):
    rows = [make_row(clip) for clip in CLIPS]
    rows[6] |= values
    run.shard(rows)
    with pytest.raises(IncompleteError):
        finish(run)
    findings = json.loads(run.folder.merge_record.read_text())["findings"]
    (error,) = [f for f in findings if f["name"] == rule and f["severity"] == "error"]
    rows = shown(run, error)
    assert {row["clip_name"] for row in rows} == {CLIPS[6]}
    assert error["count"] == len(rows)


def test_all_reasons_are_reported_at_once(run):
    run.shard([make_row(clip, vmaf_std=-1.0) for clip in CLIPS[:5]])
    refuse(run, "missing", "mean_and_std")


@pytest.mark.parametrize("mos", ["error", "nan"])
def test_what_is_nan_in_all_rows_is_summed_up_by_columns(tmp_path, mos):
    scores = dict.fromkeys(CLIPS, NAN if mos == "nan" else 3.0)
    run = plan_run(tmp_path, scores, corpus={"missing_mos": mos})
    run.shard([make_row(clip, mos) for clip, mos in scores.items()])
    lines = summarise(finish(run))
    (at,) = (at for at, line in enumerate(lines) if line.startswith("as expected "))
    told = " ".join(" ".join(lines[at : at + 2]).split())
    columns = "ciede2000_mean, ciede2000_std, psnr_hvs_mean, psnr_hvs_std"
    assert told == f"as expected NaN in all rows: {'mos, ' if mos == 'nan' else ''}{columns}"


def test_column_that_is_nan_in_every_row_is_refused(run):
    run.shard([make_row(clip, motion2_mean=NAN, motion2_std=NAN) for clip in CLIPS])
    (error,) = refuse(run, "all_nan")
    assert "2 rows: motion2_mean rows=10; motion2_std rows=10. Expected" in error["message"]


def test_one_nan_of_ssimulacra2_is_refused(tmp_path):
    run = plan_run(tmp_path, CLIPS, constant=())
    rows = [make_row(clip) for clip in CLIPS]
    rows[0] |= {"ssimulacra2_mean": NAN, "ssimulacra2_std": NAN}
    run.shard(rows)
    (error,) = refuse(run, "identity_constants")
    assert clips_shown(run, error) == [CLIPS[0]] * 2


def test_small_clips_have_no_ms_ssim_and_no_cambi(run):
    run.shard([make_row(clip, width=160, height=120) for clip in CLIPS])
    result = finish(run)
    assert result.nan["cambi_mean"] == result.nan["float_ms_ssim_std"] == len(CLIPS)
    assert result.of("warn") == find(result, "not_audited")


@pytest.mark.parametrize(("width", "height"), [(4096, 2160), (1920, 144), (144, 1920)])
def test_clips_of_sizes_that_cambi_refuses_have_none(run, width, height):
    run.shard([make_row(clip, width=width, height=height) for clip in CLIPS])
    result = finish(run)
    assert result.nan["cambi_std"] == len(CLIPS)
    (line,) = [line for line in summarise(result) if line.startswith("NaN in all rows")]
    assert "cambi_mean, cambi_std" in line


def test_an_extractor_that_was_left_out_of_every_clip_is_reported_and_blocks_nothing(run):
    run.shard([make_row(clip, cambi_mean=NAN, cambi_std=NAN) for clip in CLIPS])
    lines = summarise(finish(run))
    assert any(line.startswith("NaN in all rows  cambi_mean, cambi_std: ") for line in lines)
    assert not any("as expected" in line and "cambi" in line for line in lines)
    (outcome,) = examine(run.config, lambda _: None, ["unexpected_nan"], limit=None)
    assert outcome.count == 2 * len(CLIPS)


def test_constant_of_a_clip_that_is_too_small_is_nan(run):
    rows = [make_row(clip) for clip in CLIPS]
    rows[0] = make_row(CLIPS[0], width=160, height=120, float_ms_ssim_mean=1.0, float_ms_ssim_std=0.0)
    run.shard(rows)
    (error,) = refuse(run, "identity_constants")
    assert clips_shown(run, error) == [CLIPS[0]] * 2


def test_constants_of_ten_bits_pass(run):
    rows = [make_row(clip) for clip in CLIPS]
    rows[0] |= {f"psnr_{plane}_mean": 72.0 for plane in ("y", "cb", "cr")}
    run.shard(rows)
    assert finish(run).published


def test_measured_features_may_differ_from_their_constants_by_a_millionth(tmp_path):
    run = plan_run(tmp_path, CLIPS, constant=())
    run.shard([make_row(clip, psnr_y_mean=60 + 9e-7, psnr_y_std=5e-7) for clip in CLIPS])
    assert finish(run).published
    run.shard([make_row(clip, psnr_y_mean=60 + 2e-6) for clip in CLIPS])
    (error,) = refuse(run, "identity_constants")
    assert clips_shown(run, error) == CLIPS


@pytest.mark.parametrize("finite", [0, 119, 120, -1])
@pytest.mark.parametrize("where", ["clip log", "journal"])
def test_a_row_whose_log_lacks_values_of_frames_is_refused(run, finite, where):
    """-1: its writer did not count, as earlier versions did not."""
    rows = [make_row(clip) for clip in CLIPS]
    run.shard(rows[1:])
    if where == "clip log":
        run.shard(rows[:1], writer="v")
        run.log_clips({CLIPS[0]: 1.0}, writer="v", finite_frames=finite)
    else:
        path = run.journal(rows[:1], writer="v")
        records = [json.loads(line) for line in read_checked(path)[0]]
        records[1]["log"]["finite_frames"] = finite
        path.write_bytes(b"".join(map(checked_line, records)))
    if finite in (120, -1):
        assert finish(run).published
        return
    (error,) = refuse(run, "finite_frames")
    assert f"{CLIPS[0]} frames=120 finite_frames={finite} host=h1. Expected a finite" in error["message"]
    assert clips_shown(run, error) == [CLIPS[0]]


def test_an_allowed_check_refuses_nothing_and_the_table_says_so(tmp_path):
    run = plan_run(tmp_path, CLIPS, constant=())
    run.shard([make_row(clip, psnr_y_mean=61.0) for clip in CLIPS])
    refuse(run, "identity_constants")
    result = finish(run, allow=["identity_constants"])
    assert [finding.count for finding in find(result, "identity_constants")] == [len(CLIPS)]
    metadata = json.loads(pq.read_metadata(run.folder.table).metadata[METADATA_KEY])
    assert metadata["allowed"] == ["identity_constants"]


# Every check of severity error


def audited(run: Run, _: list[dict]) -> None:
    run.log_clips({CLIPS[0]: 1.0}, audit="differs")


def bad_frames(run: Run, _: list[dict]) -> None:
    run.log_clips({CLIPS[0]: 1.0}, finite_frames=119)


def gpu_audited(run: Run, _: list[dict]) -> None:
    run.log_clips({CLIPS[0]: 1.0}, audit="differs", audit_feature="adm2", audit_difference=1e-3)


def lost_frames(run: Run, rows: list[dict]) -> None:
    set_frames(run, True)
    keep_frames(run, CLIPS, logged={CLIPS[0]: 99})
    rows[:] = rows_for(CLIPS)


def other_frames(run: Run, rows: list[dict]) -> None:
    lost_frames(run, rows)
    keep_frames(run, CLIPS)
    rows[0]["vmaf_mean"] += 1e-11


def unfit(run: Run, _: list[dict]) -> None:
    pq.write_table(pa.table({"a": [1]}), run.shard([], writer="v"))


def change(at: int | slice, **values: object) -> Callable[[Run, list[dict]], None]:
    def apply(_: Run, rows: list[dict]) -> None:
        for row in rows[at] if isinstance(at, slice) else [rows[at]]:
            row |= values

    return apply


REFUSES: dict[str, Callable[[Run, list[dict]], None]] = {
    "schema": unfit,  # of a shard: the draft has the columns that its writer gives it
    "missing": lambda _, rows: rows.pop() and None,
    "not_in_manifest": change(0, mos=3.5),
    "nulls": change(0, vmaf_mean=None),
    "all_nan": change(slice(None), vmaf_mean=NAN, vmaf_std=NAN),
    "numbers_where_nan": change(0, ciede2000_mean=90.0, ciede2000_std=0.0),
    "identity_constants": change(0, float_ssim_mean=0.5),
    "mean_and_std": change(0, vmaf_std=NAN),
    "audits": audited,
    "finite_frames": bad_frames,
    "gpu_differences": gpu_audited,
    "frames_kept": lost_frames,
    "frame_pools": other_frames,
    "impossible_mos": change(0, mos=9.0),
    "too_small": lambda _, rows: rows[0].update(make_row(CLIPS[0], width=10)),
}
"""Check of severity error to what makes it fire."""


def test_each_check_of_severity_error_is_tried_on_a_merge():
    names = {check.name for check in list_checks() if check.severity == "error"}
    assert REFUSES.keys() == names - {"duplicates"}, "a draft holds one row per clip"


@pytest.mark.parametrize("name", REFUSES)
@pytest.mark.parametrize("checks", [True, False])
def test_every_check_of_severity_error_refuses_the_merge_by_its_name(tmp_path, name, checks):
    """Also where the configuration leaves out the checks behind the merge."""
    run = plan_run(tmp_path, dict.fromkeys(CLIPS, 9.0 if name == "impossible_mos" else 3.0))
    rows = [make_row(clip, 9.0 if name == "impossible_mos" else 3.0) for clip in CLIPS]
    REFUSES[name](run, rows)
    run.shard(rows, schema=pa.schema([pa.field(field.name, field.type) for field in ARROW_SCHEMA]))
    (error,) = refuse(run, name, checks=checks)
    if name == "schema":
        return
    assert shown(run, error)
    with pytest.raises(IncompleteError, match=f"vmafarm qa --run demo --check {name}"):
        finish(run)


OWN = """-- name: {name}
-- severity: error
-- returns: offenders
-- expected: {name}
-- why: {name}
SELECT clip_name FROM {table} WHERE clip_name = 'clip_03.mp4'
"""


@pytest.mark.parametrize("table", ["clips", "failures", "features", "manifest", "feature_values"])
def test_a_file_in_sql_qa_is_all_that_a_new_check_needs_to_refuse_a_merge(run, tmp_path, monkeypatch, table):
    folder = tmp_path / "sql" / "qa"
    folder.mkdir(parents=True)
    (folder / "99_own.sql").write_text(OWN.format(name="own", table=table))
    monkeypatch.setattr("vmafarm.query.checks.sql_folder", lambda: folder.parent)
    run.shard([make_row(clip) for clip in CLIPS])
    run.clip_log(CLIPS, 1)
    run.fail(CLIPS[3], tries=1)
    (error,) = refuse(run, "own")
    assert {*clips_shown(run, error)} == {CLIPS[3]}
    assert finish(run, allow=["own"]).published


def test_rows_that_blocked_a_merge_are_shown_beside_the_table_of_an_earlier_one(run):
    run.shard([make_row(clip) for clip in CLIPS])
    finish(run)
    run.shard([make_row(clip, vmaf_std=-1.0) for clip in CLIPS])
    (error,) = refuse(run, "mean_and_std")
    assert clips_shown(run, error) == CLIPS
    said: list[str] = []
    examine(run.config, said.append, ["mean_and_std"])
    assert f"features: the last merge was refused; {run.folder.table} is of an earlier one" in said
    run.shard([make_row(clip) for clip in CLIPS])
    finish(run)
    assert clips_shown(run, error) == []
