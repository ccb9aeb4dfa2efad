"""Compares two tables: clips, values and provenance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from vmafarm.common.errors import UsageError
from vmafarm.common.steps import working
from vmafarm.config.sections import Config
from vmafarm.process.scratch import for_databases, scratch_folder
from vmafarm.schema.feature_set import KEY_COLUMNS
from vmafarm.sql import templates as sql
from vmafarm.tables.comparison import Comparison, Difference, Side
from vmafarm.tables.given import NAME, GivenTable, is_number, open_given, reading

_EXAMPLES = 5


@working("comparing the tables")
def compare_tables(a: Path, b: Path, *, tolerance: float, config: Config) -> Comparison:
    """Compare two tables, clip by clip; their order does not matter.

    Parameters
    ----------
    a, b
        Their files.
    tolerance
        Absolute: numbers that differ by no more are equal. Features may differ by a unit of the last decimal
        where the engine of a table rounded its values.
    config
        Its merge.memory and extract.scratch bound what DuckDB uses.

    Raises
    ------
    UsageError
        One is no table, has a clip twice, or the tolerance is not a number from 0 on.
    UnavailableError
        Too little memory or disk space.
    """
    if not 0 <= tolerance < math.inf:
        raise UsageError(f"--tolerance {tolerance:g}, expected a number from 0 on", "leave it out for 1e-6")
    with ExitStack() as stack:
        first, second = (stack.enter_context(open_given(path)) for path in (a, b))
        scratch = stack.enter_context(scratch_folder(for_databases(config.extract.scratch)))
        stack.enter_context(reading(first, second))
        connection = stack.enter_context(sql.connect(scratch / "spill", memory=config.merge.memory))
        for name, table in (("a", first), ("b", second)):
            connection.execute(sql.render("tables/table", name=name, file=table.source))
            _require_names(connection, name, table)
        sets = (first.features, second.features)
        known = {column for features in sets for column in features.feature_columns}
        rounding = max(_rounding(first), _rounding(second))
        columns = [_column(number, name, first, second)
                   | {"tolerance": max(tolerance, rounding) if name in known else tolerance}
                   for number, name in enumerate(_common(first, second))]  # fmt: skip
        clips, found = _differences(connection, columns)
        notes = [*first.notes, *second.notes, *_told(rounding, tolerance, first, second)]
        return Comparison(
            _side(connection, "a", "b", first, second),
            _side(connection, "b", "a", second, first),
            first.is_same_file(second),
            tolerance,
            clips,
            len(columns),
            tuple(one for one in found if one.column in known),
            tuple(one for one in found if one.column == "mos"),
            tuple(one for one in found if one.column not in (*known, "mos")),
            _differing(first.metadata, second.metadata),
            tuple(dict.fromkeys(notes)),
            (set(first.schema.names) ^ set(second.schema.names)) & {*KEY_COLUMNS, *known},
        )


def _require_names(connection: duckdb.DuckDBPyConnection, name: str, table: GivenTable) -> None:
    counts = sql.one_row(connection, sql.render("tables/names", name=name))
    repeated: list[str] = []
    if counts["different"] < counts["named"]:
        query = sql.render("tables/repeated", name=name, most=_EXAMPLES)
        repeated = [clip for (clip,) in connection.execute(query).fetchall()]
    table.require_names(**counts, repeated=repeated)


def _common(first: GivenTable, second: GivenTable) -> list[str]:
    return [name for name in first.schema.names if name != NAME and name in second.schema.names]


def _column(number: int, name: str, first: GivenTable, second: GivenTable) -> dict[str, Any]:
    """How a column is compared, and the names of its values and of their distance in the SQL."""
    kinds = [table.schema.field(name).type for table in (first, second)]
    if all(map(pa.types.is_integer, kinds)):
        kind = "HUGEINT"  # a double does not hold every integer
    else:
        kind = "DOUBLE" if all(map(is_number, kinds)) else "VARCHAR"
    aliases = {alias: f"{alias}:{number}" for alias in ("a", "b", "distance")}
    return {"name": name, "type": sql.Sql(kind), "is_number": kind != "VARCHAR", **aliases}


def _rounding(table: GivenTable) -> float:
    """A unit of the last decimal to which an engine rounded the values of a table; 0: it did not."""
    decimals = table.metadata.get("decimals")
    return 10.0**-decimals if type(decimals) is int and 0 < decimals < 18 else 0.0


def _told(rounding: float, tolerance: float, first: GivenTable, second: GivenTable) -> list[str]:
    if rounding <= tolerance:
        return []
    rounded = [name for name, table in (("A", first), ("B", second)) if _rounding(table) == rounding]
    return [
        f"the engine rounded the values of {' and '.join(rounded)}: "
        f"features that differ by no more than {rounding:g} are equal"
    ]


def _differences(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[dict[str, Any]]
) -> tuple[int, list[Difference]]:
    """Number of clips in both tables, and the columns that differ, worst first."""
    pairs = sql.render("tables/pairs", columns=columns)
    query = sql.render("tables/differences", columns=columns, pairs=pairs)
    clips, *counts = connection.execute(query).fetchall()[0]
    differing = [column | count for column, count in zip(columns, counts, strict=True) if count["clips"]]
    if not differing:
        return clips, []
    pairs = sql.render("tables/pairs", columns=differing)
    worst = connection.execute(sql.render("tables/worst", columns=differing, pairs=pairs)).fetchall()[0]
    found = [
        Difference(column["name"], column["clips"], column["nan"], column["largest"], **clip)
        for column, clip in zip(differing, worst, strict=True)
    ]
    return clips, sorted(found, key=lambda one: (-one.largest, -one.clips))


def _side(
    connection: duckdb.DuckDBPyConnection, here: str, there: str, table: GivenTable, other: GivenTable
) -> Side:
    only = sql.one_row(connection, sql.render("tables/only", here=here, there=there, most=_EXAMPLES))
    columns = tuple(name for name in table.schema.names if name not in other.schema.names)
    return Side(str(table.path), table.rows, only["clips"], tuple(only["examples"]), columns)


def _differing(first: dict[str, Any], second: dict[str, Any], above: str = "") -> dict[str, tuple[Any, Any]]:
    """Keys in which two documents differ, those of objects in objects as ``above.key``."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted(first.keys() | second.keys()):
        a, b = first.get(key), second.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= _differing(a, b, f"{above}{key}.")
        elif a != b and f"{above}{key}" != "feature_set.text":  # whose digest says it
            found[f"{above}{key}"] = a, b
    return found
