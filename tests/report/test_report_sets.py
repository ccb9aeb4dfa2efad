"""What people read of a table of another feature set: its own columns, and no other's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from support.feature_sets import small_set
from support.merge_helpers import Run, make_row, plan_run
from support.merges import CLIPS, finish

from vmafarm.query.checks import run_checks
from vmafarm.query.database import open_run
from vmafarm.query.lone_table import open_table
from vmafarm.report.card import as_card
from vmafarm.report.info import opened_info, read_info, tell
from vmafarm.report.loading import read_table
from vmafarm.report.page import render

MINE = small_set({"cambi": {"window_size": 63}, "psnr": {}}, cambi="cambi_ws_63", psnr_y="psnr_y")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A merged run of two features, psnr_y being 60 in all rows."""
    run = plan_run(tmp_path, CLIPS, constant=())
    run.provenance = dataclasses.replace(run.provenance, constant=(), model="", feature_set=MINE)
    run.folder.provenance.write_text(run.provenance.as_json())
    rows = []
    for clip in CLIPS:
        value = make_row(clip)["cambi_mean"]
        rows.append(
            {name: make_row(clip)[name] for name in MINE.columns[:4]}
            | {"cambi_mean": value, "cambi_p05": value / 2, "psnr_y_mean": 60.0, "psnr_y_p05": 60.0}
        )
    run.shard(rows, schema=MINE.arrow_schema)
    finish(run)
    return run


def test_info_and_card_tell_the_columns_of_the_set(run: Run) -> None:
    info = read_info(run.folder.table)
    assert info.problems == []
    assert ("columns", "the 8 of the schema") in tell(info)
    card = as_card(info)
    assert [line.split("`")[1] for line in card.splitlines() if line.startswith("| `")] == list(MINE.columns)
    assert "mean and p05 of 2 libvmaf" in card
    assert "`cambi_*` are NaN below 216 pixels" in card
    for other in ("float_ms_ssim", "ciede2000", "infinite"):
        assert other not in card


def test_columns_without_information_are_those_of_the_set(run: Run) -> None:
    found = read_table(run.folder.table, drop_constant=True)
    assert list(found.columns) == [name for name in MINE.columns if not name.startswith("psnr_y")]


def test_the_report_shows_the_features_of_the_set(run: Run, undrawn: None) -> None:
    with open_run(run.config, lambda line: None) as connection:
        page = render(run.config, connection, run_checks(connection))
    assert "one row per clip, 8 columns" in page
    assert "cambi" in page
    assert "adm_scale0" not in page


def test_a_table_alone_is_checked_by_its_own_columns(run: Run) -> None:
    with opened_info(run.folder.table) as (info, file):
        given = file, info.schema.names, info.combined, info.metadata
        with open_table(run.config, *given, lambda line: None) as connection:
            (schema,) = run_checks(connection, ["schema"])
            columns = connection.execute("SELECT name FROM columns ORDER BY position").fetchall()
    assert schema.ok
    assert [name for (name,) in columns] == list(MINE.columns)
