"""Reference tables of a run's database, which make checks plain SQL."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import duckdb
import pyarrow as pa

from vmafarm.common.errors import UsageError
from vmafarm.config.sections import Config
from vmafarm.corpus.planned_set import shown_set
from vmafarm.run_folder.provenance import read_provenance
from vmafarm.schema.columns import table_of
from vmafarm.schema.extractors import ACCEPTED_SIZES, ALL_SIZES, MIN_SIDE
from vmafarm.schema.feature_set import Feature, FeatureSet
from vmafarm.schema.features import FULL
from vmafarm.shards.completeness import FailedClip
from vmafarm.sql import templates as sql

_TYPES = {pa.string(): "VARCHAR", pa.float64(): "DOUBLE", pa.int32(): "INTEGER"}

FRAMES = "frames"
"""Key of the table ``run``: how many frames a run has kept; there is none where it has not kept them."""

TABLES = {
    "columns": {
        "position": "BIGINT", "name": "VARCHAR", "type": "VARCHAR", "what": "VARCHAR", "unit": "VARCHAR",
        "lowest": "DOUBLE", "highest": "DOUBLE", "feature": "VARCHAR", "statistic": "VARCHAR",
        "identity": "VARCHAR", "informative": "BOOLEAN", "all_nan": "BOOLEAN", "finite": "BOOLEAN",
        "constants": "DOUBLE[]", "filled": "BOOLEAN", "shorter_side": "BIGINT", "longer_side": "BIGINT",
        "both_sides": "BIGINT", "aspect": "BIGINT", "slack": "BIGINT", "even_height": "BOOLEAN",
    },
    "run": {"key": "VARCHAR", "value": "VARCHAR"},
    "failed": {"clip_name": "VARCHAR", "failure": "VARCHAR", "message": "VARCHAR", "tries": "BIGINT"},
    "findings": {"name": "VARCHAR", "severity": "VARCHAR", "message": "VARCHAR", "count": "BIGINT"},
    "conflicts": {"clip_name": "VARCHAR", "copies": "BIGINT", "columns": "VARCHAR[]", "files": "VARCHAR[]"},
    "frame_problems": {
        "clip_name": "VARCHAR", "column": "VARCHAR", "expected": "DOUBLE", "found": "DOUBLE",
        "file": "VARCHAR",
    },
    "failures": {
        "clip_name": "VARCHAR", "failure": "VARCHAR", "message": "VARCHAR", "stderr": "VARCHAR[]",
        "attempt": "BIGINT", "slice": "BIGINT", "host": "VARCHAR", "writer": "VARCHAR", "at": "VARCHAR",
    },
}  # fmt: skip
"""The tables that are made of rows in memory: their columns and types."""


def add_rows(connection: duckdb.DuckDBPyConnection, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Make one of `TABLES`. Through JSON, since Arrow would import pandas to make a table of dictionaries."""
    types = TABLES[name]
    text = json.dumps([{key: row[key] for key in types} for row in rows])
    connection.execute(sql.render("query/rows", name=name, types=json.dumps([types])), {"rows": text})


def column_rows(filled: Collection[str | None] = (), features: FeatureSet = FULL) -> list[dict[str, Any]]:
    """The table ``columns``: one row per column; see `vmafarm.schema.columns.Column` for what they say.

    ``finite`` says that every frame whose size is accepted has a finite value of the feature. ``constants``
    are the values that a known feature may have on an identity pair; ``filled`` says that the run's plan
    fills them in. The extractor or model takes frames whose shorter side is at least
    ``shorter_side``, whose longer side is at least ``longer_side`` and at most ``aspect`` times the shorter
    one plus ``slack``, and whose width and height come to at most ``both_sides``; with ``even_height`` none
    with an odd height.

    Parameters
    ----------
    filled
        Features that the run's provenance says are filled in.
    features
        The run's feature set.
    """
    rows = []
    for position, column in enumerate(table_of(features), 1):
        feature = features.by_name[column.feature] if column.feature else None
        sizes = ACCEPTED_SIZES.get(features.producer_of(feature), ALL_SIZES) if feature else ALL_SIZES
        rows.append(
            {
                **{name: getattr(column, name) for name in TABLES["columns"] if hasattr(column, name)},
                "position": position,
                "type": _TYPES[features.arrow_schema.field(column.name).type],
                "all_nan": column.feature in features.all_nan,
                "finite": feature is None or feature.finite,
                "constants": _constants(feature, column.statistic),
                "filled": column.feature in filled,
                **asdict(sizes),
            }
        )
    return rows


def _constants(feature: Feature | None, statistic: str) -> list[float] | None:
    known = feature.identity if feature else None
    if known is None or any(map(math.isnan, known.values())):
        return None
    return [0.0] if statistic == "std" else sorted(set(known.values()))


def run_facts(config: Config) -> dict[str, str]:
    """Return the table ``run``: the settings of the plan and the engine, as text."""
    facts = {
        "name": config.run.name,
        "mos_min": repr(config.corpus.mos_min),
        "mos_max": repr(config.corpus.mos_max),
        "missing_mos": config.corpus.missing_mos if config.corpus.scores else "nan",
        "tries": str(config.extract.retries + 1),
        "max_gpu_differences": repr(config.engine.max_gpu_differences),
    }
    with suppress(UsageError):  # a damaged one is reported elsewhere
        if provenance := read_provenance(config.folder.provenance):
            document = provenance.as_dict()
            facts |= {key: str(value) for key, value in document.items() if not isinstance(value, dict)}
    return facts


def add_facts(
    connection: duckdb.DuckDBPyConnection, config: Config, failed: Mapping[str, FailedClip],
    record: Mapping[str, Any], *, draft: bool = False,
) -> None:  # fmt: skip
    """Create ``columns``, ``run``, ``failed``, ``findings``, ``conflicts`` and others, and views of rows.

    Parameters
    ----------
    connection
        Holds the tables ``features`` and ``manifest``.
    config
        The run's.
    failed
        Clips that have failed for good.
    record
        Of the last merge, or of the one at work: ``findings``, ``conflicts``, ``frames``; may be empty.
    draft
        Of a merge: the suspects are found once, for all checks, and audits and bad frames are in the table
        ``entries``, without notes; else they are in ``clips``.
    """
    filled: Collection[str] = ()
    features = shown_set(config.folder)
    with suppress(UsageError):
        if provenance := read_provenance(config.folder.provenance):
            filled, features = provenance.constant, provenance.feature_set
    add_reference(connection, filled, run_facts(config), failed, record, features, draft=draft)


def add_reference(
    connection: duckdb.DuckDBPyConnection, filled: Collection[str], facts: Mapping[str, str],
    failed: Mapping[str, FailedClip], record: Mapping[str, Any], features: FeatureSet = FULL, *,
    draft: bool = False,
) -> None:  # fmt: skip
    """As `add_facts`, from what is known: features that are filled in, the table ``run``, and the set."""
    add_rows(connection, "columns", column_rows(filled, features))
    frames: Mapping[str, Any] = record.get("frames", {})
    facts = {**facts, **({FRAMES: str(frames["rows"])} if frames else {})}
    add_rows(connection, "run", ({"key": key, "value": value} for key, value in facts.items()))
    add_rows(connection, "failed", ({"clip_name": name, **asdict(clip)} for name, clip in failed.items()))
    for name in ("findings", "conflicts"):
        add_rows(connection, name, record.get(name, ()))
    add_rows(connection, "frame_problems", frames.get("problems", ()))
    notes = sql.literal(None) if draft else sql.identifier("notes")
    entries = "entries" if draft else "clips"
    connection.execute(sql.render("query/audits", entries=entries, notes=notes))
    connection.execute(sql.render("query/bad_frames", entries=entries))
    # A table of another schema gets no such views; a check reports its columns.
    with suppress(duckdb.BinderException):
        connection.execute(sql.render("query/feature_values"))
        connection.execute(sql.render("query/refused", refuses=refuses()))
        kind = sql.Sql("TABLE" if draft else "VIEW")
        connection.execute(
            sql.render("query/suspects", features=_conditions(features), min_side=MIN_SIDE, kind=kind)
        )
        connection.execute(sql.render("query/suspect_values", refuses=refuses(), kind=kind))


def refuses() -> sql.Sql:
    """Whether the extractor of a row of ``columns`` refuses a frame size, as SQL."""
    return sql.render("query/refuses", **{name: sql.identifier(name) for name in asdict(ALL_SIZES)})


def _conditions(features: FeatureSet) -> list[dict[str, Any]]:
    """What a row of `features` is compared with to find the suspects."""
    found = []
    for feature in features.features:
        limits = asdict(ACCEPTED_SIZES.get(features.producer_of(feature), ALL_SIZES))
        refused = sql.render("query/refuses", **{name: sql.literal(value) for name, value in limits.items()})
        found.append(
            {
                "columns": [f"{feature.name}_{pool}" for pool in features.pools],
                "levels": [f"{feature.name}_{pool}" for pool in features.pools if pool != "std"],
                "std": f"{feature.name}_std" if "std" in features.pools else None,
                "all_nan": feature.name in features.all_nan,
                "refuses": None if limits == asdict(ALL_SIZES) else refused,
                "constants": _constants(feature, "mean") or [],
            }
        )
    return found
