"""The queries of docs/queries.md, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support.kept_frames import keep_frames, keep_run
from support.merge_helpers import NAN, Run, make_row, plan_run
from support.merges import finish

from vmafarm.query.answers import run_query
from vmafarm.schema.features import FULL

TEXT = (Path(__file__).parents[2] / "docs" / "queries.md").read_text()
QUERIES = re.findall(r"^(\S[^\n]*):\n\n```sql\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL)
EXPECTED = {
    "The clips with the lowest vmaf": ("c.mp4", 0.5),
    "Correlation of vmaf with": (960, 540, 3, None),
    "Failed tries by class": ("decode_error", "h1", 2, 1),
    "What the first failure": ("decode_error", "d.mp4", "cannot take d.mp4"),
    "Slow clips": ("b.mp4", "h1", 120, 9.0),
    "Clips that repeat frames": ("b.mp4", 60, 120, 0.5),
    "Clips without a row": ("d.mp4", 1),
    "Progress by slice": (0, 2, 2),
    "Clips whose measured values": ("a.mp4", "b.mp4"),
    "Columns that are NaN": (None, 3),
    "Clips done by hour": (None, 3, 360),
    "The frames of one clip": (0, 2.0, 100.0),
    "Other pools than": ("a.mp4", 2.0, 28.0),
    "The moving mean of motion": ("a.mp4", 0, 2.0),
    "Scene cuts": ("a.mp4", 20, 30.0),
    "The worst second": ("a.mp4", 5, 98.0),
}


def run_with_frames(folder: Path) -> Run:
    """A clip of 31 frames: a cut at frame 20, and 25 frames in a row with a lower score."""
    run = keep_run(folder / "frames", ["a.mp4"])
    values = {name: np.full(31, 1.5) for name in FULL.must_measure}
    values |= {"motion": np.full(31, 2.0), "vmaf": np.full(31, 100.0)}
    values["motion"][20] = 30.0
    values["vmaf"][5:30] = 98.0
    keep_frames(run, ["a.mp4"], values=values)
    finish(run)
    return run


def test_every_query_of_the_page_is_expected_here():
    assert len(QUERIES) == TEXT.count("```sql") == len(EXPECTED)


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[title[:24] for title, _ in QUERIES])
def test_a_query_of_the_page_finds_what_is_there(tmp_path, title, query):
    run = plan_run(tmp_path / "runs", {"a.mp4": 1.0, "b.mp4": 2.0, "c.mp4": 4.0, "d.mp4": 3.0}, slices=2)
    twin = {"motion_mean": 1.5, "cambi_mean": 1.25}
    rows = [make_row("a.mp4", 1.0, **twin), make_row("b.mp4", 2.0, **twin)]
    run.shard([*rows, make_row("c.mp4", 4.0, vmaf_mean=0.5, vmaf_std=NAN)])
    run.fail("d.mp4")
    run.log_clips({"a.mp4": 1.0, "c.mp4": 2.0})
    run.log_clips({"b.mp4": 9.0}, writer="v", zero_motion=60)
    if "FROM frames" in query:
        run = run_with_frames(tmp_path)
    found: list[tuple] = []
    run_query(run.config, query, lambda answer: found.extend(answer.rows()[1]), lambda _: None)
    (expected,) = [row for start, row in EXPECTED.items() if title.startswith(start)]
    assert len(found[0]) == len(expected)
    assert all(want is None or value == want for value, want in zip(found[0], expected, strict=True)), found
