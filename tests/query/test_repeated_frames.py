"""The figures of repeated frames, from the clip logs."""

from __future__ import annotations

from pathlib import Path

from support.merge_helpers import make_row, plan_run

from vmafarm.query.checks import run_checks
from vmafarm.query.database import open_run


def test_repeated_frames_are_counted_by_clip_and_by_frame(tmp_path: Path) -> None:
    names = [f"{letter}.mp4" for letter in "abcdef"]
    run = plan_run(tmp_path / "runs", names, scratch=tmp_path)
    run.shard([make_row(name) for name in names[:5]])
    repeated = {
        "a.mp4": 30,
        "b.mp4": 60,
        "c.mp4": 0,
        "d.mp4": 0,
        "e.mp4": -1,
        "f.mp4": 119,
    }  # e: nobody knows
    for name, count in repeated.items():
        run.log_clips({name: 1.0}, writer=f"of-{name[0]}", zero_motion=count)
    run.log_clips({"a.mp4": 1.0}, writer="again", zero_motion=30)
    with open_run(run.config, lambda _: None) as connection:
        (outcome,) = run_checks(connection, ["zero_motion"])
    assert (outcome.failure, outcome.check.severity, outcome.check.returns) == ("", "info", "figures")
    (row,) = outcome.rows
    assert dict(zip(outcome.columns, row, strict=True)) == {
        "clips": 4, "with_repeated_frames": 2, "share_of_clips": 0.5, "share_of_frames": 0.1875,
        "mostly_repeated": 1, "most_in": "b.mp4",
    }  # fmt: skip
