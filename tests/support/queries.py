"""A run to query, and what a query answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.merge_helpers import NAN, Run, make_row, plan_run

from vmafarm.common.errors import UsageError
from vmafarm.query.answers import run_query

CLIPS = ["a.mp4", "b'; DROP TABLE features; --.mp4", "c\n\x1b[31m{{ 7*7 }}.mp4", "d.mp4"]


def query_run(folder: Path) -> Run:
    """Four clips: two with rows, one of them NaN in one column, one that failed."""
    run = plan_run(folder / "runs", CLIPS, scratch=folder)
    run.shard([make_row(CLIPS[0]), make_row(CLIPS[2], cambi_mean=NAN, cambi_std=NAN)])
    run.fail(CLIPS[1])
    return run


def ask(run: Run, query: str, **options) -> tuple[list[tuple], list[str]]:
    """Rows, and what was said of where they come from."""
    found: list[tuple] = []
    said: list[str] = []
    run_query(run.config, query, lambda answer: found.extend(answer.rows()[1]), said.append, **options)
    return found, said


def refuse(run: Run, query: str, kind: type[Exception] = UsageError) -> str:
    """What is said to a query that is refused."""
    with pytest.raises(kind) as caught:
        ask(run, query)
    return str(caught.value)
