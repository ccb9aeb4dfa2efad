"""What a check reads that is not there, so that it does not apply."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import duckdb

from vmafarm.query.reference_tables import FRAMES
from vmafarm.schema.features import FULL
from vmafarm.sql.templates import render


def find_lacking_table(connection: duckdb.DuckDBPyConnection, query: str, absent: Mapping[str, str]) -> str:
    """What a check reads that is not there; "" too for a wrong query, which the check itself tells."""
    parsed = connection.execute(render("query/parsed"), {"query": query}).fetchall()
    read = _tables(json.loads(parsed[0][0]))
    return next((what for table, what in absent.items() if table in read), "")


def keeps_frames(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the merge of a run has taken frames."""
    return bool(connection.execute("SELECT 1 FROM run WHERE key = $1", [FRAMES]).fetchall())


def find_lacking_column(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """The first column of the default set that a check names and the run's feature set does not have."""
    try:
        known = {name for (name,) in connection.execute("SELECT name FROM columns").fetchall()}
    except duckdb.CatalogException:
        return ""
    named = set(re.findall(r"\w+", query)) - known
    return next((name for name in FULL.feature_columns if name in named), "")


def _tables(tree: Any) -> set[str]:
    """Names of the tables and views in the tree of a query."""
    if isinstance(tree, list):
        return set().union(*map(_tables, tree))
    if not isinstance(tree, dict):
        return set()
    own = {tree["table_name"]} if tree.get("type") == "BASE_TABLE" else set()
    return own.union(*map(_tables, tree.values()))
