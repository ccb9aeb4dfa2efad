"""Checks of a table that lies alone, and the report on it: a combined table, or a copy without its run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path

import pyarrow as pa

from vmafarm.common.errors import IncompleteError, UsageError, VmafarmError, show
from vmafarm.common.steps import step, working
from vmafarm.config.sections import Config
from vmafarm.disk.durable import replace_text
from vmafarm.published.combined import Combined
from vmafarm.published.side_table import key_columns, read_side
from vmafarm.query.checks import Outcome, run_checks
from vmafarm.query.lone_table import absent_tables, open_table
from vmafarm.report.info import opened_info
from vmafarm.schema.feature_set import KEY_COLUMNS

_HINT = "name a table with one row per clip, such as runs/full_features_<run>.parquet"


@working("")
def examine_table(
    config: Config,
    table: Path,
    say: Callable[[str], None],
    names: Sequence[str] | None = None,
    *,
    limit: int | None = 20,
    page: Path | None = None,
) -> list[Outcome]:
    """Run the checks that need nothing else of a run.

    Parameters
    ----------
    config
        Limits of DuckDB.
    table
        A combined table, or any other one.
    say
        Called with what is to be known of the rows.
    names, limit
        As for `vmafarm.query.checks.run_checks`.
    page
        Where to write the report; None: no report.

    Returns
    -------
    list of Outcome
        Checks that need a run say so.

    Raises
    ------
    UsageError
        It is not a table of vmafarm, or lacks one of the columns that each has, as a table of frames does.
    IncompleteError
        It cannot be read, or is not the one that its record describes.
    UnavailableError
        Too little memory or disk space, or the page cannot be written.
    """
    with opened_info(table) as (info, content):
        if info.damage:
            raise IncompleteError(f"{show(str(table))}: {info.damage}")
        if not set(KEY_COLUMNS) <= set(info.schema.names):  # which nearly all checks and the page read
            raise UsageError(f"{show(str(table))}: {'; '.join(info.problems)}", _HINT)
        if info.problems:
            say(f"columns: {'; '.join(info.problems)}")
        given = content, info.schema.names, info.combined, info.metadata
        labels = _read_labels(table, content, info.combined, say)
        with open_table(config, *given, say, labels) as connection:
            outcomes = run_checks(connection, names, limit=limit, absent=absent_tables(info.combined))
            if page is not None:
                step("drawing the report")
                from vmafarm.report.page import render_table  # matplotlib takes long to import

                names = labels.schema.names[len(key_columns(info.combined)) :] if labels else []
                replace_text(page, render_table(info, connection, outcomes, names))
    return outcomes


def _read_labels(
    table: Path, content: FileIO, combined: Combined | None, say: Callable[[str], None]
) -> pa.Table | None:
    try:
        return read_side(table, content, combined)
    except VmafarmError as error:
        say(f"labels: left out: {error.message}")
        return None


def page_beside(table: Path) -> Path:
    """Where the report on a table alone stands; raises UsageError if that on a run does."""
    if table.with_suffix(".merge.json").exists():
        run = show(table.stem.removeprefix("full_features_"))
        raise UsageError(
            f"{show(str(table))} is the table of a run, whose report stands beside it",
            f"vmafarm report --run {run}; or name another page: --output",
        )
    return table.with_suffix(".report.html")
