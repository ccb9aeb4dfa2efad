"""The report counts the rows per value of a carried column."""

from __future__ import annotations

import html

import pyarrow as pa
from support.merge_helpers import Run, make_row, plan_run

from vmafarm.disk import durable
from vmafarm.disk.sealed_parquet import write_sealed
from vmafarm.query.checks import run_checks
from vmafarm.query.database import open_run
from vmafarm.report.page import render

CLIPS = [f"c{number:02}.mp4" for number in range(22)]
EVIL = "<b>\x1b[31m"


def labelled(folder, columns: dict[str, list], carry: list[str]) -> Run:
    run = plan_run(folder / "runs", CLIPS, corpus={"carry": carry}, scratch=folder)
    run.shard([make_row(clip) for clip in CLIPS])
    table = pa.table({"clip_name": CLIPS, **columns})
    durable.replace(run.folder.labels, lambda file: write_sealed(table, file))
    return run


def page(run: Run) -> str:
    with open_run(run.config, lambda _: None) as connection:
        return render(run.config, connection, run_checks(connection, limit=5))


def cells(text: str) -> list[str]:
    part = text.partition('<h3 id="labels">')[2].partition("<h3")[0]
    return [
        html.unescape(cell.partition("<")[0]) for cell in part.split(">") if cell.partition("<")[0].strip()
    ]


def test_each_value_of_a_carried_column_is_counted(tmp_path, undrawn):
    split = ["train"] * 15 + [None] * 2 + ["val"] * 5
    run = labelled(tmp_path, {"split": split, EVIL: [EVIL] * 22, "other": ["x"] * 22}, ["split", EVIL])
    found = cells(page(run))
    assert found[1:] == [
        "split", "value", "clips", "train", "15", "val", "5", "none", "2",
        "<b>\\x1b[31m", "value", "clips", "<b>\\x1b[31m", "22",
    ]  # fmt: skip


def test_a_column_with_many_values_or_none_is_left_out(tmp_path, undrawn):
    run = labelled(tmp_path, {"content": CLIPS, "split": ["a"] * 22}, ["content", "gone"])
    assert 'id="labels"' not in page(run)
