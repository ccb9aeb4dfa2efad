"""Whether tables may stand under each other: the same columns, and values that were made alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vmafarm.combining.options import AGREE
from vmafarm.combining.sources import Source
from vmafarm.common.errors import UsageError, show
from vmafarm.schema.feature_set import FeatureSet


def require_columns(source: Source) -> None:
    """Refuse a table whose columns are not those of the schema; raises UsageError."""
    info = source.info
    assert info is not None
    if info.combined is not None:
        files = ", ".join(one.file for one in info.combined.sources)
        raise UsageError(
            f"{show(source.given)} is a combined table",
            f"name the tables that it was made of: {show(files)}",
        )
    refuse_split(source)
    if info.problems:
        raise UsageError(
            f"{show(source.given)}: {'; '.join(info.problems)}; expected the columns of a published table",
            "tables of another schema cannot stand under each other; --columns joins them side by side",
        )


def refuse_split(source: Source) -> None:
    """Refuse a table that was split: its sides are none of the new table; raises UsageError."""
    if source.info is not None and source.info.is_split:
        raise UsageError(
            f"{show(source.given)} was made by vmafarm split, and has its column",
            "name the table that was split, and split the combined one",
        )


def require_one_set(sources: Sequence[Source]) -> FeatureSet:
    """The feature set of tables to put under each other; raises UsageError if they have several."""
    by_digest: dict[str, list[str]] = {}
    sets = [source.info.feature_set for source in sources if source.info is not None]
    for source, features in zip(sources, sets, strict=True):
        by_digest.setdefault(features.digest, [f"{features.name} ({features.digest[:19]}):"]).append(
            source.given
        )
    if len(by_digest) > 1:
        lines = [show(f"  {what} {', '.join(of)}") for what, *of in by_digest.values()]
        raise UsageError(
            "\n".join(["the tables are of different feature sets, so that their columns differ:", *lines]),
            "join tables of the same clips side by side: --columns",
        )
    return sets[0]


def find_mixed(sources: Sequence[Source], allowed: Sequence[str]) -> dict[str, list[Any]]:
    """What the tables differ in although it determines values.

    Parameters
    ----------
    sources
        Tables of vmafarm.
    allowed
        Keys of `vmafarm.combining.options.AGREE` in which they may differ.

    Returns
    -------
    dict
        Key to the different values, in the order of the tables.

    Raises
    ------
    UsageError
        They differ in another key.
    """
    mixed: dict[str, list[Any]] = {}
    lines, refused = [], []
    for key in AGREE:
        by_value: dict[str, list[str]] = {}
        for source in sources:
            by_value.setdefault(json.dumps(_value(source, key)), []).append(source.given)
        if len(by_value) == 1:
            continue
        mixed[key] = [json.loads(value) for value in by_value]
        if key not in allowed:
            refused.append(key)
            found = [f"{json.loads(value)} ({', '.join(of)})" for value, of in by_value.items()]
            lines.append(show(f"  {key}: {' and '.join(found)}"))
    if refused:
        flags = " ".join(f"--allow-mixed {key}" for key in refused)
        raise UsageError(
            "\n".join(["the tables were not made alike, so that their values may differ:", *lines]),
            f"score the clips with one engine and one version; or combine the tables in spite of it: {flags}",
        )
    return mixed


def _value(source: Source, key: str) -> Any:
    assert source.info is not None
    value = source.info.metadata.get(key)
    return sorted(value) if key == "features" and isinstance(value, dict) else value


def common_metadata(sources: Sequence[Source]) -> dict[str, Any]:
    """What `vmafarm info` shows of any table: values of all tables, several of them as text.

    A feature is ``constant`` if it was filled in in all tables: where it was measured in one, its values need
    not be exactly equal. ``decimals`` are the fewest of any table, and left out if none states them.
    """
    documents = [source.info.metadata for source in sources if source.info is not None]
    features = {
        name: "constant" if all(one["features"].get(name) == "constant" for one in documents) else "measured"
        for name in dict.fromkeys(name for one in documents for name in one["features"])
    }
    found: dict[str, Any] = {"features": features}
    for key in ("plan", *AGREE):
        if key in ("features", "decimals"):
            continue
        values = list(dict.fromkeys(json.dumps(one.get(key)) for one in documents))
        parts = [json.loads(value) for value in values]
        found[key] = parts[0] if len(parts) == 1 else ", ".join(map(str, parts))
    if decimals := [one["decimals"] for one in documents if isinstance(one.get("decimals"), int)]:
        found["decimals"] = min(decimals)
    if stated := documents[0].get("feature_set"):  # of all: see `require_one_set`
        found["feature_set"] = stated
    return found
