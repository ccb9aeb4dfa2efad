"""The checks of sql/qa that refuse a merge: those of severity ``error``, on the draft of the table."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import duckdb

from vmafarm.common.errors import show
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.query.check_needs import keeps_frames
from vmafarm.query.checks import Outcome, list_checks, run_check, stepping
from vmafarm.query.clips_table import add_clips
from vmafarm.query.reference_tables import add_facts, add_rows
from vmafarm.shards.completeness import FailedClip, History
from vmafarm.shards.footers import SHOWN, Finding, examples
from vmafarm.sql import templates as sql

_KNOWN = ("duplicates", "missing")
"""Known before the draft is finished, from the names of its rows: its metadata lists what is missing."""


def check_rows(
    connection: duckdb.DuckDBPyConnection, config: Config, slices: Collection[int], history: History,
    failed: Mapping[str, FailedClip], record: Mapping[str, Any],
) -> list[Finding]:  # fmt: skip
    """Run the checks on what would be published.

    Parameters
    ----------
    connection
        Holds ``features``, the rows that would be published, and the table ``entries``.
    config
        The run's; ``merge.allow`` names the checks that may find something.
    slices
        Slices of the manifest.
    history, failed
        Failed tries, and the clips that have failed for good.
    record
        ``findings``, ``conflicts`` and ``frames`` of this merge.
    """
    checks = [check for check in list_checks() if check.severity == "error" and check.name not in _KNOWN]
    manifest = sql.render("merge/shards", files=[sql.exact(config.folder.manifest)], planned=False)
    connection.execute(sql.render("merge/view", name="manifest", shards=manifest))
    # As large as the corpus: made only if a check names them. Ours do not; one that a user added may.
    asked = set(re.findall(r"\w+", " ".join(check.query for check in checks)))
    if "failures" in asked:
        add_rows(connection, "failures", (failure.as_dict() for failure in history.records))
    if "clips" in asked:
        add_clips(connection, config.folder, slices, lambda _: None)
    add_facts(connection, config, failed, record, draft=True)
    if not keeps_frames(connection):
        checks = [check for check in checks if not check.is_about_frames]
    outcomes = [run_check(connection, check, SHOWN) for check in stepping(checks)]
    return [_explain(outcome, config.merge.allow) for outcome in outcomes if outcome.is_error]


def _explain(outcome: Outcome, allowed: Collection[str]) -> Finding:
    check = outcome.check
    if outcome.failure:
        message = f"the check could not be run: {outcome.failure}"
    else:
        told = examples((_describe(outcome.columns, row) for row in outcome.rows), outcome.count)
        message = f"{counted(outcome.count, 'row')}: {told}. Expected {check.expected}"
    severity = "warn" if check.name in allowed else "error"
    return Finding(check.name, severity, message, max(outcome.count, 1), check.name)


def _describe(columns: tuple[str, ...], row: tuple[Any, ...]) -> str:
    first, *rest = zip(columns, row, strict=True)
    return show(
        " ".join([str(first[1]), *(f"{name}={value}" for name, value in rest if value not in ("", None))])
    )
