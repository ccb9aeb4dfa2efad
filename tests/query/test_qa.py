"""Checks of a run: each one fires, and each one keeps silent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from support.command import vmafarm
from support.merge_helpers import NAN, Run, make_row, plan_run

from vmafarm.common.errors import IncompleteError, UsageError
from vmafarm.publish import deliver, examine, require_sound
from vmafarm.published.up_to_date import read_delivered, read_errors
from vmafarm.query.checks import Outcome, as_markdown, list_checks, run_checks, summarise, usual_checks
from vmafarm.query.database import open_run
from vmafarm.schema.columns import TABLE
from vmafarm.schema.features import ARROW_SCHEMA, INFORMATIVE

pytestmark = pytest.mark.usefixtures("undrawn")

ROOT = Path(__file__).parents[2]
CLIPS = [
    "a.mp4", "it's.mp4", "two\nlines.mp4", "'); DROP TABLE features; --.mp4", "{{ 7*7 }}.mp4", "😀/é.mp4",
    "g.mp4", "h.mp4", "i.mp4", "j.mp4",
]  # fmt: skip
NAMES = [check.name for check in usual_checks()]
"""Of a run that keeps no frames; those of frames: test_frames_view.py."""
MOS = {clip: 2.0 + 0.2 * place for place, clip in enumerate(CLIPS)}


def sound_row(clip: str, **values: object) -> dict:
    """What an engine might give: similarities near 1, motion2 below motion, a score that grows with cambi."""
    place = CLIPS.index(clip)
    near = {
        f"{feature}_mean": 1 + 1e-6 * place
        for feature in [
            "adm2",
            *(f"adm_scale{i}" for i in range(4)),
            *(f"vif_scale{i}" for i in range(4)),
        ]
    }
    motion = {"motion_mean": 3.0 + place, "motion2_mean": 2.5 + place, "motion3_mean": 2.5 + place}
    return make_row(
        clip,
        mos=MOS[clip],
        **{**near, **motion, "cambi_mean": 0.1 * place, "vmaf_mean": 98.0 + 0.1 * place, **values},
    )


def make_run(folder: Path, change: Callable[[Run, dict[str, dict]], None] | None = None) -> Run:
    """A run of ten clips, all scored and logged, as `change` leaves it."""
    run = plan_run(folder / "runs", MOS, scratch=folder)
    rows = {clip: sound_row(clip) for clip in CLIPS}
    if change:
        change(run, rows)
    run.shard(rows.values())
    if not any(run.folder.clip_logs.glob("*")):
        run.log_clips(dict.fromkeys(CLIPS, 2.0))
    return run


def ask(run: Run, name: str) -> Outcome:
    with open_run(run.config, lambda _: None) as connection:
        (outcome,) = run_checks(connection, [name], limit=None)
    assert outcome.failure == ""
    return outcome


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """The outcomes of a sound run, by name."""
    run = make_run(tmp_path_factory.mktemp("sound"))
    return {outcome.check.name: outcome for outcome in examine(run.config, lambda _: None)}


def records(outcome: Outcome) -> list[dict]:
    return [dict(zip(outcome.columns, row, strict=True)) for row in outcome.rows]


# Each offender is found, and nothing but it


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The database of a sound run, which tests change and roll back."""
    run = make_run(tmp_path_factory.mktemp("changed"))
    with open_run(run.config, lambda _: None, unsafe=True) as connection:
        yield connection


def where(change: str, clip: str = "a.mp4", table: str = "features") -> str:
    name = clip.replace("'", "''")
    return f"UPDATE {table} SET {change} WHERE clip_name = '{name}'"


FIRES = {
    "schema": (
        "ALTER TABLE features RENAME vmaf_std TO vmaf_dev",
        [{"position": 48, "expected_name": "vmaf_std", "found_name": "vmaf_dev"}],
    ),
    "duplicates": (
        "INSERT INTO features FROM features WHERE clip_name = 'a.mp4'",
        [{"clip_name": "a.mp4", "rows": 2}],
    ),
    "missing": (
        "DELETE FROM features WHERE clip_name = 'a.mp4'",
        [{"clip_name": "a.mp4", "slice": 0, "tries": 0}],
    ),
    "failed_for_good": (
        "DELETE FROM features WHERE clip_name = 'a.mp4'; "
        "INSERT INTO failed VALUES ('a.mp4', 'no_video', 'x', 2)",
        [{"clip_name": "a.mp4", "failure": "no_video", "tries": 2, "message": "x"}],
    ),
    "not_in_manifest": (where("mos = 4.9"), [{"clip_name": "a.mp4", "mos": 4.9, "planned_mos": 2.0}]),
    "nulls": (where("cambi_std = NULL"), [{"clip_name": "a.mp4", "name": "cambi_std"}]),
    "all_nan": ("UPDATE features SET motion_mean = 'nan'", [{"name": "motion_mean", "rows": 10}]),
    "numbers_where_nan": (
        where("psnr_hvs_mean = 99", "it's.mp4"),
        [{"clip_name": "it's.mp4", "name": "psnr_hvs_mean", "value": 99.0}],
    ),
    "unexpected_nan": (
        where("cambi_mean = 'nan'", "two\nlines.mp4"),
        [{"clip_name": "two\nlines.mp4", "name": "cambi_mean", "width": 960, "height": 540}],
    ),
    "identity_constants": (
        where("float_ssim_mean = 0.99"),
        [{"clip_name": "a.mp4", "name": "float_ssim_mean", "value": 0.99, "constants": [1.0]}],
    ),
    "informative_constant": (
        "UPDATE features SET motion3_mean = 2",
        [{"name": "motion3_mean", "rows": 10, "value": 2.0}],
    ),
    "out_of_range": (
        where("vmaf_mean = 100.5"),
        [{"clip_name": "a.mp4", "name": "vmaf_mean", "value": 100.5, "lowest": 0.0, "highest": 100.0}],
    ),
    "mean_and_std": (where("vmaf_std = -0.5"), [{"clip_name": "a.mp4", "feature": "vmaf", "std": -0.5}]),
    "motion2_above_motion": (
        where("motion2_mean = 3.1"),
        [{"clip_name": "a.mp4", "motion_mean": 3.0, "motion2_mean": 3.1}],
    ),
    "mos_outliers": (where("mos = 99"), [{"clip_name": "a.mp4", "mos": 99.0}]),
    "log_entries": ("DELETE FROM clips WHERE clip_name = 'a.mp4'", [{"clip_name": "a.mp4"}]),
    "frames": (
        where("frames = 1", table="clips") + "; " + where("short = true", "it's.mp4", table="clips"),
        [{"clip_name": "a.mp4", "frames": 1}, {"clip_name": "it's.mp4", "frames": 120, "declared_frames": 0}],
    ),
    "lengths": (where("frames = 20", table="clips"), [{"clip_name": "a.mp4", "typical_seconds": 4.8}]),
    "repeatable": (where("repeatable = false", table="clips"), [{"clip_name": "a.mp4", "notes": ""}]),
    "slow_clips": (
        where("seconds_scoring = 29.5", table="clips"),
        [{"clip_name": "a.mp4", "host": "h1", "times_the_expected": 15.0}],
    ),
    "several_engines": (where("engine = 'vmaf'", table="clips"), [{"clip_name": "a.mp4", "engine": "vmaf"}]),
    "scored_twice": (
        "INSERT INTO clips SELECT * REPLACE ('v' AS writer) FROM clips WHERE clip_name = 'a.mp4'",
        [{"clip_name": "a.mp4", "writers": 2, "hosts": ["h1"]}],
    ),
    "disagreeing_copies": (
        "INSERT INTO conflicts VALUES ('a.mp4', 2, ['vmaf_mean'], ['v.parquet', 'w.parquet'])",
        [{"clip_name": "a.mp4", "copies": 2, "columns": ["vmaf_mean"]}],
    ),
    "audits": (
        where("audit = 'differs', notes = 'motion_mean'", table="clips"),
        [{"clip_name": "a.mp4", "notes": "motion_mean"}],
    ),
    "finite_frames": (
        where("finite_frames = 119", table="clips") + "; " + where("finite_frames = -1", "g.mp4", "clips"),
        [{"clip_name": "a.mp4", "frames": 120, "finite_frames": 119, "host": "h1"}],
    ),
    "scored_elsewhere": (
        where("backend = 'cuda', notes = 'x'", table="clips")
        + "; "
        + where("backend = ''", "g.mp4", "clips"),
        [{"clip_name": "a.mp4", "backend": "cuda", "host": "h1", "notes": "x"}],
    ),
    "gpu_differences": (
        where("audit = 'differs', audit_feature = 'adm2', audit_difference = 0.001", table="clips"),
        [{"clip_name": "a.mp4", "feature": "adm2", "difference": 0.001}],
    ),
    "fingerprints": (
        "INSERT INTO features SELECT * REPLACE ('copy.mp4' AS clip_name, 4.5 AS mos) FROM features "
        "WHERE clip_name = 'a.mp4'",
        [{"clips": ["a.mp4", "copy.mp4"], "copies": 2, "mos_spread": 2.5}],
    ),
    "impossible_mos": (where("mos = 5.1"), [{"clip_name": "a.mp4", "mos": 5.1}]),
    "too_small": (where("height = 17"), [{"clip_name": "a.mp4", "width": 960, "height": 17}]),
}
"""Check to a change that makes it fire, and the rows that it then returns, in part."""


WITHOUT_VIEWS = "; ".join(
    f"DROP VIEW {name}" for name in ("suspect_values", "suspects", "refused", "feature_values")
)


@pytest.mark.parametrize("name", FIRES)
def test_offenders_are_found_and_nothing_else(sound: duckdb.DuckDBPyConnection, name: str) -> None:
    statement, expected = FIRES[name]
    (silent,) = run_checks(sound, [name])
    assert (silent.result, silent.count) == ("ok", 0)
    sound.begin()
    try:
        if name == "schema":  # no column of a table that has views can be changed
            sound.execute(WITHOUT_VIEWS)
        sound.execute(statement)
        (outcome,) = run_checks(sound, [name])
    finally:
        sound.rollback()
    assert (outcome.result, outcome.count) == ("found", len(expected))
    for row, wanted in zip(records(outcome), expected, strict=True):
        assert {key: row[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ("statement", "offender"),
    [
        ("ALTER TABLE features ALTER width TYPE BIGINT", (3, "width", "INTEGER", "width", "BIGINT")),
        ("ALTER TABLE features ADD COLUMN extra DOUBLE", (49, None, None, "extra", "DOUBLE")),
        ("ALTER TABLE features DROP vmaf_std", (48, "vmaf_std", "DOUBLE", None, None)),
    ],
)
def test_columns_of_another_type_too_many_and_too_few_are_named(sound, statement, offender) -> None:
    sound.begin()
    sound.execute(f"{WITHOUT_VIEWS}; {statement}")
    (outcome,) = run_checks(sound, ["schema"])
    sound.rollback()
    assert outcome.rows == (offender,)


def test_clips_that_failed_for_good_are_not_missing(tmp_path: Path) -> None:
    def change(run: Run, rows: dict[str, dict]) -> None:
        del rows["a.mp4"]
        run.fail("a.mp4")

    run = make_run(tmp_path, change)
    assert ask(run, "missing").count == 0
    (row,) = records(ask(run, "failed_for_good"))
    assert (row["clip_name"], row["failure"]) == ("a.mp4", "decode_error")


# Figures


def test_figures_of_a_sound_run(silent: dict[str, Outcome]) -> None:
    figures = {
        name: records(outcome) for name, outcome in silent.items() if outcome.check.returns == "figures"
    }
    assert {
        row["name"]: (row["nan"], row["expected_in_all"]) for row in figures["nan_share"]
    } == dict.fromkeys(["ciede2000_mean", "ciede2000_std", "psnr_hvs_mean", "psnr_hvs_std"], (10, True))
    constant = {row["name"]: (row["value"], row["expected"]) for row in figures["constant_columns"]}
    assert constant["ssimulacra2_mean"] == (100.0, True)
    assert "cambi_mean" not in constant
    (mos,) = figures["mos"]
    assert (mos["clips"], mos["without_score"], mos["lowest"], mos["highest"]) == (10, 0, 2.0, 3.8)
    assert mos["std"] == pytest.approx(np.std(list(MOS.values())))
    assert figures["geometry"] == [
        {
            "width": 960,
            "height": 540,
            "shape": "landscape",
            "clips": 10,
            "first_clip": "'); DROP TABLE features; --.mp4",
        }
    ]
    assert figures["failures"] == []
    assert figures["gpu_agreement"] == []
    (origin,) = figures["origin"]
    assert (origin["engine"], origin["host"], origin["clips"], origin["seconds"]) == (
        "ffmpeg",
        "h1",
        10,
        20.0,
    )
    correlation = {row["name"]: row for row in figures["correlation"]}
    assert set(correlation) == {f"{name}_mean" for name in INFORMATIVE}
    assert correlation["cambi_mean"]["spearman"] == correlation["cambi_mean"]["pearson"] == 1.0


def test_the_audits_of_a_gpu_are_counted_by_the_feature_that_is_farthest_apart(tmp_path: Path) -> None:
    def change(run: Run, _: dict[str, dict]) -> None:
        gpu = {"audit": "equal", "audit_feature": "adm2", "audit_difference": 2e-5}
        run.log_clips({"a.mp4": 1.0}, **gpu)
        run.log_clips({"it's.mp4": 1.0}, 0, "v", **(gpu | {"audit": "differs", "audit_difference": NAN}))

    (row,) = records(ask(make_run(tmp_path, change), "gpu_agreement"))
    assert row == {"feature": "adm2", "clips": 2, "beyond_tolerance": 1, "largest_difference": 2e-5}


def test_correlations_are_those_of_scipy_or_of_the_definition_with_ties(tmp_path: Path) -> None:
    """Ranks with ties share their mean: Spearman is Pearson of these ranks (Kendall and Gibbons, 1990)."""
    values = [5.0, 1.0, 1.0, 3.0, 3.0, 3.0, 9.0, 2.0, 8.0, 7.0]
    run = make_run(tmp_path, lambda _, rows: [
        row.update(cambi_mean=value) for row, value in zip(rows.values(), values, strict=True)
    ] and None)  # fmt: skip
    (found,) = [row for row in records(ask(run, "correlation")) if row["name"] == "cambi_mean"]

    def ranks(numbers: list[float]) -> list[float]:
        return [sum(b < a for b in numbers) + (sum(b == a for b in numbers) + 1) / 2 for a in numbers]

    mos = list(MOS.values())
    assert found["pearson"] == pytest.approx(np.corrcoef(values, mos)[0, 1], abs=5e-5)
    assert found["spearman"] == pytest.approx(np.corrcoef(ranks(values), ranks(mos))[0, 1], abs=5e-5)


def test_failures_are_counted_by_class_with_what_was_done_since(tmp_path: Path) -> None:
    def change(run: Run, rows: dict[str, dict]) -> None:
        del rows["a.mp4"]
        for clip in ("a.mp4", "it's.mp4"):
            run.fail(clip)

    (row,) = records(ask(make_run(tmp_path, change), "failures"))
    assert (row["failure"], row["tries"], row["clips"], row["clips_done_since"]) == ("decode_error", 4, 2, 1)


@pytest.mark.parametrize(("width", "height"), [(4096, 2160), (1920, 144), (144, 1920)])
def test_sizes_that_cambi_refuses_are_not_unexpected(tmp_path: Path, width: int, height: int) -> None:
    other = make_row("a.mp4", mos=2.0, width=width, height=height)
    run = make_run(tmp_path, lambda _, rows: rows.update({"a.mp4": other}))
    assert ask(run, "unexpected_nan").count == 0
    share = {row["name"]: row for row in records(ask(run, "nan_share"))}
    assert (share["cambi_mean"]["nan"], share["cambi_mean"]["expected_by_size"]) == (1, 1)


def test_small_frames_are_nan_by_size_and_not_unexpected(tmp_path: Path) -> None:
    small = make_row("a.mp4", mos=2.0, width=100, height=80)
    run = make_run(tmp_path, lambda _, rows: rows.update({"a.mp4": small}))
    assert ask(run, "unexpected_nan").count == 0
    share = {row["name"]: row for row in records(ask(run, "nan_share"))}
    assert (share["cambi_mean"]["nan"], share["cambi_mean"]["expected_by_size"]) == (1, 1)
    assert share["float_ms_ssim_std"]["expected_by_size"] == 1
    assert {row["width"] for row in records(ask(run, "geometry"))} == {100, 960}


# As a whole


def test_every_check_is_shown_to_fire_or_to_give_figures() -> None:
    figures = {check.name for check in list_checks() if check.returns == "figures"}
    assert {*FIRES, *figures} == set(NAMES)
    assert not figures & FIRES.keys()


def test_a_sound_run_has_no_errors_and_no_warnings(silent: dict[str, Outcome]) -> None:
    assert summarise(list(silent.values())) == f"{len(NAMES)} checks: nothing found"


def test_a_run_without_rows_is_still_checked(tmp_path: Path) -> None:
    run = plan_run(tmp_path / "runs", MOS, scratch=tmp_path)
    outcomes = {outcome.check.name: outcome for outcome in examine(run.config, lambda _: None)}
    assert [o.failure for o in outcomes.values() if o.failure] == []
    assert outcomes["missing"].count == 10


def test_a_check_that_cannot_be_run_is_an_error_and_says_why(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with open_run(run.config, lambda _: None, unsafe=True) as connection:
        connection.execute("ALTER TABLE features RENAME motion_mean TO other")
        (outcome,) = run_checks(connection, ["motion2_above_motion"])
    assert outcome.result == "failed"
    assert outcome.is_error
    assert "motion_mean" in outcome.failure


def test_the_database_is_kept_and_the_results_stand_in_the_merge_record(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    said: list[str] = []
    deliver(run.config, said.append)
    assert f"checks           {len(NAMES)} checks: nothing found" in said
    report = json.loads(run.folder.merge_record.read_text())
    assert report["qa"]["missing"] == {
        "severity": "error", "result": "ok", "count": 0,
        "message": "expected a row for each clip of the manifest that has not failed for good",
    }  # fmt: skip
    assert list(report["qa"]) == NAMES
    with duckdb.connect(str(run.folder.database), read_only=True) as connection:
        both = connection.sql("SELECT count(*) FROM features SEMI JOIN clips USING (clip_name)").fetchall()
        names = {name for (name,) in connection.sql("SELECT name FROM columns").fetchall()}
    assert both == [(10,)]
    assert names == set(ARROW_SCHEMA.names) == {column.name for column in TABLE}


def test_a_user_who_can_only_read_a_run_gets_its_outcomes(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = make_run(tmp_path)
    deliver(run.config, lambda _: None)
    kept = [run.folder.database, run.folder.merge_record]
    before = [(path.stat().st_ino, path.read_bytes()) for path in kept]
    request.getfixturevalue("as_ordinary_user")
    for folder in (run.folder.root, run.folder.path):
        assert not os.access(folder, os.W_OK, effective_ids=True)
    examine(run.config, lambda _: None, page=tmp_path / "page.html")
    assert "10 of 10 clips" in (tmp_path / "page.html").read_text()
    assert [(path.stat().st_ino, path.read_bytes()) for path in kept] == before


def test_clips_that_may_be_missing_are_no_error_of_a_delivery(tmp_path: Path) -> None:
    run = make_run(tmp_path, lambda _, rows: rows.pop("a.mp4") and None)
    said: list[str] = []
    deliver(run.config, said.append, allow_missing=True)
    assert any("1 error (missing)" in line for line in said)
    assert run.folder.table.exists()


def test_a_check_that_may_find_something_is_no_error_of_a_delivery(tmp_path: Path) -> None:
    audited = {"audit": "differs", "seconds_other_plan": 1.0}
    run = make_run(tmp_path, lambda run, _: run.log_clips(dict.fromkeys(CLIPS, 2.0), **audited) and None)
    with pytest.raises(
        IncompleteError, match=r"\[audits\] 10 rows: .* Expected equal values with both plans"
    ):
        deliver(run.config, lambda _: None)
    allowed = run.config.model_copy(
        update={"merge": run.config.merge.model_copy(update={"allow": ["audits"]})}
    )
    deliver(allowed, lambda _: None)
    assert read_delivered(allowed) is not None
    assert read_delivered(run.config) is None
    assert read_errors(run.folder) == {}
    with pytest.raises(IncompleteError, match="audits: expected equal values"):
        require_sound(examine(run.config, lambda _: None))


def test_rows_kept_are_bounded_and_counted_all(tmp_path: Path) -> None:
    run = make_run(tmp_path, lambda _, rows: [row.update(vmaf_mean=101.0) for row in rows.values()] and None)
    with open_run(run.config, lambda _: None) as connection:
        (outcome,) = run_checks(connection, ["out_of_range"], limit=3)
    assert (outcome.count, len(outcome.rows)) == (10, 3)


# Files that are no checks


def header(**changed: str) -> str:
    """A check that is right but for what is changed."""
    lines = {"name": "a", "severity": "warn", "returns": "figures", "expected": "x", "why": "y", **changed}
    return "\n".join([*(f"-- {key}: {value}" for key, value in lines.items()), "FROM run"])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("1.sql", "", "is not a check"),
        ("01_a.sql", "SELECT 1", "is not a check"),
        ("01_a.sql", header(severity="error"), "an error check returns figures, expected offenders"),
        ("01_a.sql", header(name="b"), "name 'b'"),
        ("01_a.sql", header(severity="fatal"), "'fatal'"),
        ("01_a.sql", header(returns="rows"), "'rows'"),
    ],
)
def test_a_file_that_is_not_a_check_is_refused_with_the_expected_format(
    tmp_path: Path, name, text, told
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=told):
        list_checks(tmp_path)


def test_two_checks_of_one_number_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"01_{name}.sql").write_text(header(name=name))
    with pytest.raises(UsageError, match="two checks have the number 1"):
        list_checks(tmp_path)


# The verb


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in which one clip is out of range, and another missing."""
    folder = tmp_path_factory.mktemp("verb")

    def change(_: Run, rows: dict[str, dict]) -> None:
        del rows["a.mp4"]
        rows["two\nlines.mp4"]["vmaf_mean"] = 100.5

    run = make_run(folder, change)
    run.freeze()
    return folder


def test_the_verb_prints_a_line_a_check_and_fails_on_errors_alone(folder: Path) -> None:
    said = vmafarm("qa", "--run", "demo", "--set", f"extract.scratch={folder}", cwd=folder, status=1)
    lines = said.stdout.splitlines()
    assert len(lines) == len(NAMES) + 2
    assert max(map(len, lines)) <= 80
    assert "missing               error     found    1" in lines
    assert lines[-1] == f"{len(NAMES)} checks: 1 error (missing), 1 warning (out_of_range)"
    assert "missing: expected a row for each clip" in said.stderr
    assert "vmafarm qa --check missing" in said.stderr


def test_one_check_shows_its_rows_escaped(folder: Path) -> None:
    said = vmafarm("qa", "--run", "demo", "--check", "out_of_range", cwd=folder)
    assert "two\\nlines.mp4" in said.stdout
    assert "100.5" in said.stdout
    wrong = vmafarm("qa", "--run", "demo", "--check", "out_of_rage", cwd=folder, status=2)
    assert "did you mean out_of_range" in wrong.stderr


def test_json_has_all_outcomes(folder: Path) -> None:
    said = vmafarm("qa", "--run", "demo", "--json", cwd=folder, status=1)
    outcomes = {outcome["name"]: outcome for outcome in json.loads(said.stdout)}
    assert list(outcomes) == NAMES
    assert outcomes["missing"]["rows"] == [{"clip_name": "a.mp4", "slice": 0, "tries": 0}]
    assert outcomes["nan_share"]["result"] == "figures"


def test_the_page_of_the_checks_is_as_their_headers_say() -> None:
    assert (ROOT / "docs" / "qa.md").read_text() == as_markdown(), "make docs"
