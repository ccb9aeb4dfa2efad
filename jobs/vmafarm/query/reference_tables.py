"""Reference tables of a run's database, which make checks plain SQL."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

import duckdb
import pyarrow as pa

from vmafarm.common.errors import UsageError
from vmafarm.config.sections import Config
from vmafarm.published.merge_record import read_merge_record
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import read_provenance
from vmafarm.schema.columns import TABLE
from vmafarm.schema.features import ACCEPTED_SIZES, ALL_NAN, ALL_SIZES, ARROW_SCHEMA, BY_NAME
from vmafarm.shards.completeness import History
from vmafarm.sql import templates as sql

_TYPES = {pa.string(): "VARCHAR", pa.float64(): "DOUBLE", pa.int32(): "INTEGER"}

_COLUMNS = pa.schema(
    [
        ("position", pa.int64()),
        ("name", pa.string()),
        ("type", pa.string()),
        ("what", pa.string()),
        ("unit", pa.string()),
        ("lowest", pa.float64()),
        ("highest", pa.float64()),
        ("feature", pa.string()),
        ("statistic", pa.string()),
        ("identity", pa.string()),
        ("informative", pa.bool_()),
        ("all_nan", pa.bool_()),
        ("constants", pa.list_(pa.float64())),
        ("shorter_side", pa.int64()),
        ("longer_side", pa.int64()),
        ("both_sides", pa.int64()),
        ("aspect", pa.int64()),
        ("slack", pa.int64()),
        ("even_height", pa.bool_()),
    ]
)
_RUN = pa.schema([("key", pa.string()), ("value", pa.string())])
_FAILED = pa.schema(
    [("clip_name", pa.string()), ("failure", pa.string()), ("message", pa.string()), ("tries", pa.int64())]
)
_FINDINGS = pa.schema(
    [("name", pa.string()), ("severity", pa.string()), ("message", pa.string()), ("count", pa.int64())]
)


def column_rows() -> list[dict[str, Any]]:
    """Return the table ``columns``: one row per column; see `vmafarm.schema.columns.Column`.

    ``constants`` are the values that a known feature may have on an identity pair. The extractor takes
    frames whose shorter side is at least ``shorter_side``, whose longer side is at least ``longer_side`` and
    at most ``aspect`` times the shorter one plus ``slack``, and whose width and height come to at most
    ``both_sides``; with ``even_height`` none with an odd height.
    """
    rows = []
    for position, column in enumerate(TABLE, 1):
        feature = BY_NAME[column.feature] if column.feature else None
        all_nan = column.feature in ALL_NAN
        constants = None
        if feature and feature.identity and not all_nan:
            constants = [0.0] if column.statistic == "std" else sorted(set(feature.identity.values()))
        sizes = ACCEPTED_SIZES.get((feature and feature.extractor) or "", ALL_SIZES)
        rows.append(
            {
                **{name: getattr(column, name) for name in _COLUMNS.names if hasattr(column, name)},
                "position": position,
                "type": _TYPES[ARROW_SCHEMA.field(column.name).type],
                "all_nan": all_nan,
                "constants": constants,
                **asdict(sizes),
            }
        )
    return rows


def run_facts(config: Config) -> dict[str, str]:
    """Return the table ``run``: the settings of the plan and the engine, as text."""
    facts = {
        "name": config.run.name,
        "mos_min": repr(config.corpus.mos_min),
        "mos_max": repr(config.corpus.mos_max),
        "tries": str(config.extract.retries + 1),
    }
    with suppress(UsageError):  # a damaged one is reported elsewhere
        if provenance := read_provenance(config.folder.provenance):
            document = provenance.as_dict()
            facts |= {key: str(value) for key, value in document.items() if not isinstance(value, dict)}
    return facts


def read_findings(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the table ``findings``: those of the last merge; empty without a readable record of one."""
    try:
        record = read_merge_record(folder.merge_record)
    except UsageError:  # status reports it
        return []
    return [{name: found[name] for name in _FINDINGS.names} for found in record.get("findings", ())]


def _without_row(connection: duckdb.DuckDBPyConnection) -> list[str]:
    try:
        found = connection.execute("SELECT clip_name FROM manifest ANTI JOIN features USING (clip_name)")
    except duckdb.BinderException:  # a table without names: the check of the schema reports it
        found = connection.execute("SELECT clip_name FROM manifest")
    return [name for (name,) in found.fetchall()]


def add_facts(connection: duckdb.DuckDBPyConnection, config: Config, history: History) -> None:
    """Create the tables ``columns``, ``run``, ``failed`` and ``findings``, and the views of ``features``.

    Parameters
    ----------
    connection
        Holds the tables ``features`` and ``manifest``.
    config
        The run's.
    history
        Of its failed tries.
    """
    gaps = history.sort_out(_without_row(connection))
    failed = [
        {"clip_name": name, **{key: getattr(clip, key) for key in _FAILED.names[1:]}}
        for name, clip in gaps.failed.items()
    ]
    facts = [{"key": key, "value": value} for key, value in run_facts(config).items()]
    for name, rows, schema in (
        ("columns", column_rows(), _COLUMNS),
        ("run", facts, _RUN),
        ("failed", failed, _FAILED),
        ("findings", read_findings(config.folder), _FINDINGS),
    ):
        connection.register("source", pa.Table.from_pylist(rows, schema=schema))
        connection.execute(sql.render("query/arrow", name=name))
        connection.unregister("source")
    # A table of another schema gets no views; a check reports its columns.
    with suppress(duckdb.BinderException):
        connection.execute(sql.render("query/feature_values"))
        connection.execute(sql.render("query/refused"))
