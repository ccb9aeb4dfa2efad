"""What the audits of a run have found: whether constants are right, and a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from vmafarm.common.errors import show
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.disk.arrow import make_table
from vmafarm.disk.regular_files import read_regular
from vmafarm.disk.sealed_parquet import DamagedError, SealedFile, is_sealed, look_at_ends, require_rows
from vmafarm.run_folder.failures import WRONG_CONSTANT, FailureRecord, Unread
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.scoring.audit import OUTCOMES
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA, list_clip_logs, read_clip_log
from vmafarm.shards.completeness import History
from vmafarm.shards.footers import Finding, examples
from vmafarm.shards.outline import Outline
from vmafarm.shards.recovery import Recovered, entries_of_journals_alone
from vmafarm.sql import templates as sql
from vmafarm.sql.errors import is_outside

_COLUMNS = (
    "clip_name", "slice", "audit", "audit_feature", "audit_difference", "host", "seconds_scoring", "frames",
    "finite_frames", "backend",
)  # fmt: skip
_SCHEMA = pa.schema(
    [CLIP_LOG_SCHEMA.field(name).with_nullable(True) for name in CLIP_LOG_SCHEMA.names if name in _COLUMNS]
)


def read_entries(
    connection: duckdb.DuckDBPyConnection, folder: RunFolder, recovered: Recovered, *,
    only_planned: bool = False, backend: str = "cpu",
) -> int:  # fmt: skip
    """Make the table ``entries`` of all log entries; those with nothing to tell are one row per host.

    Told are audits, frames without a finite value, and another backend than the run's.

    Parameters
    ----------
    connection
        Where to make it.
    folder
        The run, for its clip logs.
    recovered
        What the journals held.
    only_planned
        Leave out entries that do not count, by `vmafarm.shards.planned_rows.add_planned`.
    backend
        The run's.

    Returns
    -------
    int
        Number of clip logs that cannot be read or lack a column; their entries do not count.
    """
    found, unreadable = list_clip_logs(folder)
    most = most_rows(folder)
    outline = Outline(CLIP_LOG_SCHEMA)
    logs = [path for path in found if _is_whole(path, outline, most)]
    alone = entries_of_journals_alone(folder, recovered)
    columns = [[entry[name] for entry in alone] for name in _SCHEMA.names]
    entries = make_table(columns, _SCHEMA)
    try:
        _make_entries(connection, logs, entries, only_planned, backend)
    except duckdb.Error as error:
        if is_outside(error):
            raise
        # One is of an earlier version, lacks a column, or has been replaced meanwhile.
        tables = [table for path in logs if (table := _read(path, most)) is not None]
        _make_entries(connection, [], pa.concat_tables([entries, *tables]), only_planned, backend)
        return len(unreadable) + len(found) - len(tables)
    return len(unreadable) + len(found) - len(logs)


def _make_entries(
    connection: duckdb.DuckDBPyConnection, logs: list[Path], others: pa.Table, only_planned: bool,
    backend: str,
) -> None:  # fmt: skip
    connection.register("recovered_entries", others)
    entries = sql.render(
        "merge/entries", recovered=bool(others.num_rows), files=sql.Parameter("files") if logs else [],
        planned=only_planned, columns=_COLUMNS, backend=backend,
    )  # fmt: skip
    files = {"files": [sql.exact(path) for path in logs]} if logs else {}
    connection.execute(f"CREATE OR REPLACE TEMP TABLE entries AS {entries}", files)


def _is_whole(path: Path, outline: Outline, most: int) -> bool:
    """Whether DuckDB can read a file: sealed, not more rows than allowed, and a name in UTF-8."""
    try:
        str(path).encode()
        content = read_regular(path, look=look_at_ends)
        if not is_sealed(content):
            return False
        rows = outline.rows(content)  # nearly all need not be parsed
        require_rows(SealedFile(content, most).rows if rows is None else rows, most)
    except (OSError, DamagedError, UnicodeEncodeError):
        return False
    return True


def _read(path: Path, most: int) -> pa.Table | None:
    try:
        return read_clip_log(path, most, _SCHEMA.names).cast(_SCHEMA)
    except (OSError, DamagedError, ValueError):
        return None


def read_hosts(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Hosts that scored clips, from the table ``entries``, sorted."""
    found = connection.execute("SELECT DISTINCT host FROM entries WHERE host <> '' ORDER BY host").fetchall()
    return [host for (host,) in found]


def count_audits(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Count the audited clips that have a row, and add up what scoring took.

    Parameters
    ----------
    connection
        Holds the tables ``problems`` and ``entries``.

    Returns
    -------
    dict
        ``clips``: scored with both plans; ``differ``: those of them with different values; ``failed``:
        clips that the other plan could not score; ``seconds_scoring``: of all entries, without audits;
        ``gpu``: a GPU's clips that the CPU scored too, by the feature that is the farthest apart: ``clips``,
        ``beyond`` its tolerance, and the ``largest`` absolute difference (None: no two values to compare).
    """
    counts = sql.one_row(connection, sql.render("merge/audits", outcomes=list(OUTCOMES)))
    found = connection.execute(sql.render("merge/gpu_audits", outcomes=list(OUTCOMES))).fetchall()
    gpu = {name: {"clips": n, "beyond": beyond, "largest": most} for name, n, beyond, most in found}
    return {**counts, "gpu": gpu}


def count_elsewhere(connection: duckdb.DuckDBPyConnection) -> int:
    """Count clips with a row that were scored elsewhere than the run's backend says.

    Parameters
    ----------
    connection
        As for `count_audits`.
    """
    clips: int = sql.one_row(connection, sql.render("merge/elsewhere"))["clips"]
    return clips


def count_beyond(audits: Mapping[str, Any]) -> tuple[int, int]:
    """Clips that GPU and CPU scored, and those of them that differ beyond a tolerance."""
    gpu = audits.get("gpu", {}).values()
    return sum(one["clips"] for one in gpu), sum(one["beyond"] for one in gpu)


def judge_audits(
    audits: Mapping[str, Any], metadata: Mapping[str, Any], config: Config, *, fills: bool
) -> list[Finding]:
    """Judge the counts of `count_audits`; the checks ``audits`` and ``gpu_differences`` report what differs.

    Parameters
    ----------
    audits
        What `count_audits` returned.
    metadata, config
        The run's.
    fills
        Whether its feature set has values that the plan ``identity`` fills in.
    """
    findings = []
    plan, backend = metadata["plan"], metadata["backend"]
    every = config.engine.audit_every
    if backend == "cuda" and not count_beyond(audits)[0]:
        why = ": the chosen clips have no row, or the CPU could not score them" if every else ""
        message = (
            f"no clip was scored by GPU and CPU (engine.audit_every = {every}){why}. Nothing here shows that "
            "the GPU's values are right; a small run with --limit 20 and engine.audit_every = 1 would"
        )
        findings.append(Finding("not_audited", "warn", message, 1))
    elif plan == "identity" and fills and every and not audits["clips"]:
        message = (
            f"no clip was scored by both plans although engine.audit_every = {every}: the chosen clips have "
            "no row, or the other plan could not score them. This run does not show that filled-in values "
            "are right; a small run with --limit 20 and engine.audit_every = 1 would"
        )
        findings.append(Finding("not_audited", "warn", message, 1))
    if failed := audits["failed"]:
        how = "by the CPU" if backend == "cuda" else "with the other plan"
        message = f"{counted(failed, 'clip')} could not be scored {how}, for comparison: their notes "
        findings.append(Finding("audit_failed", "warn", f"{message}in the clip log say why", failed))
    return findings


def judge_history(history: History, folder: RunFolder, plan: str) -> list[Finding]:
    """Find records of failures that contradict the values that the plan fills in, or that may."""
    return [*judge_constants(history.records, folder), *judge_unread(history.unread, folder, plan)]


def judge_constants(records: Iterable[FailureRecord], folder: RunFolder) -> list[Finding]:
    """Find the clips on which a measured value differs from the one that the plan fills in.

    No constant of the run can be trusted then, whether or not a later try gave the clip a row.
    """
    last = {record.clip_name: record for record in records if record.failure == WRONG_CONSTANT}
    if not last:
        return []
    told = examples(
        f"{show(name)} on {show(record.host)}: {show(record.message)}" for name, record in last.items()
    )
    message = (
        f"values that the plan fills in were measured to be others: {told}. Measure all features: plan "
        'another run with engine.plan = "full". Was it one faulty machine, then move its shards and its '
        f"records in {show(str(folder.failures))} away, and run the extraction again"
    )
    return [Finding(WRONG_CONSTANT, "error", message, len(last), "failures")]


def judge_unread(unread: Unread, folder: RunFolder, plan: str) -> list[Finding]:
    """Judge the records of failures that cannot be read.

    Parameters
    ----------
    unread
        How many there are, and how many of them could say that a value is wrong.
    folder, plan
        The run's.
    """
    if not unread.count:
        return []
    message = f"{show(str(folder.failures))}: records of failures that cannot be read do not count"
    if plan != "identity" or not unread.grave:
        return [Finding("failures", "warn", message, unread.count)]
    message += (
        "; one of them may say that a value which the plan fills in is wrong. Make them readable, or move "
        "the damaged files away"
    )
    return [Finding("failures", "error", message, unread.grave)]


def tell_gpu(audits: Mapping[str, Any]) -> str:
    """How far a GPU and the CPU are apart, in words; "" where they were not compared."""
    clips, beyond = count_beyond(audits)
    if not clips:
        return ""
    told = f"{counted(clips, 'clip')} by GPU and CPU: "
    features = {name: one for name, one in audits["gpu"].items() if one["beyond"] or not beyond}
    how_far = ", ".join(f"{show(name)} {_far(one['largest'])}" for name, one in features.items())
    return (
        told + (f"{beyond:,} beyond tolerance" if beyond else "all within tolerance") + f", at most {how_far}"
    )


def _far(largest: float | None) -> str:
    return "NaN" if largest is None else f"{largest:.2g}"


def tell_audits(audits: Mapping[str, Any], plan: str) -> list[tuple[str, str]]:
    """Label and text for the summary of a merge: whether the constants of the plan ``identity`` hold."""
    clips = audits["clips"]
    if told := tell_gpu(audits):
        return [("audited", told)]
    if audits["differ"]:
        text = f"{audits['differ']:,} of {counted(clips, 'clip')} scored by both plans differ; see merge.json"
        return [("audited", text)]
    if plan != "identity":
        return []
    if not clips:
        return [("audited", "no clip by both plans: nothing here shows that the constants are as expected")]
    text = f"{counted(clips, 'clip')} by all the engine's extractors: all constants were as expected"
    return [("audited", text)]
