"""The table ``clips``: how each clip was scored, by the clip logs and by journals of what is not there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from vmafarm.common.errors import reason
from vmafarm.common.utf8 import is_utf8
from vmafarm.disk.arrow import make_table
from vmafarm.disk.file_stamp import Stamps
from vmafarm.disk.sealed_parquet import DamagedError, is_sealed, look_at_ends
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA, bounds, list_clip_logs, read_clip_log
from vmafarm.shards.footers import examples, short
from vmafarm.shards.journal import read_journals
from vmafarm.shards.listing import list_shards
from vmafarm.shards.outline import Outline
from vmafarm.sql import templates as sql
from vmafarm.sql.errors import is_outside


def add_clips(
    connection: duckdb.DuckDBPyConnection, folder: RunFolder, slices: Collection[int],
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Make the table ``clips``.

    DuckDB reads the logs that are sealed and have all columns, and only once; those of earlier versions, and
    what is damaged, go through `vmafarm.shards.clip_log.read_clip_log`, which says what is wrong.

    Parameters
    ----------
    connection
        Holds ``manifest``.
    folder, slices
        The run, and the numbers of its slices.
    say
        Told which logs are left out.
    """
    left_out: list[str] = []
    most = most_rows(folder)
    # Journals first: a writer that ends meanwhile moves its entries from its journal to its clip log.
    journals = _read_journals(folder, slices, left_out)
    logs, unreadable = list_clip_logs(folder)
    left_out += [f"{short(path, folder.clip_logs)}: {why}" for path, why in unreadable.items()]
    scanned = _scan(connection, logs, most)
    tables = [pa.Table.from_batches([], CLIP_LOG_SCHEMA)]
    for path in logs:
        if path not in scanned:
            try:
                tables.append(read_clip_log(path, most))
            except (OSError, DamagedError) as error:
                left_out.append(f"{short(path, folder.clip_logs)}: {reason(error)}")
    if left_out:
        say(f"clips: left out: {examples(left_out)}")
    found = {"other_logs": pa.concat_tables(tables), "journals": journals}
    for name, table in found.items():
        connection.register(name, table)
    bound = {"scanned": [str(path.absolute()) for path in logs if path in scanned]}
    clips = sql.render(
        "query/clips", columns=CLIP_LOG_SCHEMA.names, scanned=sql.Parameter("scanned"),
        planned=not folder.is_planned_once(),
    )  # fmt: skip
    connection.execute(clips, bound)
    for name in found:
        connection.unregister(name)
    connection.execute("DROP TABLE logged")


def _read_journals(folder: RunFolder, slices: Collection[int], left_out: list[str]) -> pa.Table:
    entries: list[dict[str, Any]] = []
    for path, journal in read_journals(list_shards(folder, slices).journals):
        if journal.wrong:
            left_out.append(f"{short(path, folder.shards)}: {journal.wrong}")
            continue
        entries += [entry for _, entry in journal.rows]
    return make_table([[entry[name] for entry in entries] for name in CLIP_LOG_SCHEMA.names], CLIP_LOG_SCHEMA)


def _scan(connection: duckdb.DuckDBPyConnection, logs: Sequence[Path], most: int) -> set[Path]:
    """Make the table ``logged`` of the usual logs; returns those that were read and are as expected."""
    stamps, outline = Stamps(), Outline(CLIP_LOG_SCHEMA)
    usual = {
        str(path.absolute()): path
        for path in logs
        if is_utf8(str(path.absolute())) and _is_usual(path, stamps, outline, most)
    }
    connection.register("no_entries", pa.Table.from_batches([], CLIP_LOG_SCHEMA))
    try:
        found = _read_logged(connection, list(usual.values())) if usual else {}
    except duckdb.Error as error:
        if is_outside(error):
            raise
        found = {"": True}  # one was replaced meanwhile, or holds text that is not UTF-8
    if not usual or not found.keys() <= usual.keys():
        connection.execute(sql.render("query/logged", columns=CLIP_LOG_SCHEMA.names, files=[]))
        usual = {}
    connection.unregister("no_entries")
    wrong = {path for name, path in usual.items() if found.get(name)}
    return set(usual.values()).difference(wrong, stamps.changed())


def _read_logged(connection: duckdb.DuckDBPyConnection, logs: Sequence[Path]) -> dict[str, bool]:
    """Files of the table ``logged``, and whether one has a value that no clip has."""
    scan = sql.render("query/logged", columns=CLIP_LOG_SCHEMA.names, files=sql.Parameter("files"))
    connection.execute(scan, {"files": [sql.exact(path) for path in logs]})
    return dict(connection.execute(sql.render("query/impossible", columns=_LIMITS)).fetchall())


def _is_usual(path: Path, stamps: Stamps, outline: Outline, most: int) -> bool:
    """Whether a log has its seal, exactly the columns that it should have, and not too many rows."""
    try:
        content = stamps.read(path, look_at_ends)
        rows = outline.rows(content) if is_sealed(content) else None
    except (OSError, DamagedError):
        return False
    return rows is not None and rows <= most


def _limits(field: pa.Field) -> dict[str, Any]:
    """What a value of a column may be, for the template."""
    if pa.types.is_string(field.type) or pa.types.is_boolean(field.type):
        return {"name": field.name, "kind": "any"}
    lowest, highest = bounds(field)
    kinds = {pa.float64(): "float"}
    kind = "time" if pa.types.is_timestamp(field.type) else kinds.get(field.type, "integer")
    if kind != "float":
        lowest, highest = int(lowest), int(highest)
    return {"name": field.name, "kind": kind, "lowest": lowest, "highest": highest}


_LIMITS = [_limits(field) for field in CLIP_LOG_SCHEMA]
