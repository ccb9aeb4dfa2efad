"""Merges of made-up runs: those that publish, and those that are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.merge_helpers import Run

from vmafarm.common.errors import IncompleteError
from vmafarm.merging.merge import merge
from vmafarm.merging.result import MergeResult
from vmafarm.publish import examine
from vmafarm.shards.footers import Finding

CLIPS = [f"clip_{i:02}.mp4" for i in range(10)]


def finish(run: Run, *, allow_missing: bool = False, **options: Any) -> MergeResult:
    """Merge, with keys of the section ``merge`` of the configuration."""
    changed = {"merge": run.config.merge.model_copy(update=options)}
    return merge(run.folder, run.config.model_copy(update=changed), allow_missing=allow_missing)


def refuse(run: Run, *names: str, **options: Any) -> list[dict]:
    """Merge, expect exactly these errors and no new table; returns them."""
    before = run.folder.table.read_bytes() if run.folder.table.exists() else None
    with pytest.raises(IncompleteError) as caught:
        finish(run, **options)
    report = json.loads(run.folder.merge_record.read_text())
    errors = [finding for finding in report["findings"] if finding["severity"] == "error"]
    assert sorted(error["name"] for error in errors) == sorted(names)
    assert report["published"] is False
    assert (run.folder.table.read_bytes() if run.folder.table.exists() else None) == before
    for error in errors:
        assert error["message"] in caught.value.message
    assert not list(run.folder.root.glob(".*"))
    return errors


def shown(run: Run, error: dict) -> list[dict]:
    """The rows that the check shows to which a refusal points."""
    assert error["check"]
    (outcome,) = examine(run.config, lambda _: None, [error["check"]], limit=None)
    assert outcome.failure == ""
    return [dict(zip(outcome.columns, row, strict=True)) for row in outcome.rows]


def clips_shown(run: Run, error: dict) -> list[str]:
    """Names of the clips in those rows."""
    return [row["clip_name"] for row in shown(run, error)]


def find(result: MergeResult, name: str) -> list[Finding]:
    """Findings of one name."""
    return [finding for finding in result.findings if finding.name == name]
