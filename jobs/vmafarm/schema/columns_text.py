"""Feature sets and the columns of their tables, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vmafarm.common.errors import show
from vmafarm.common.layout import labelled
from vmafarm.common.text import counted
from vmafarm.schema.columns import Column, table_of
from vmafarm.schema.extractors import ACCEPTED_SIZES, SIZES_SOURCES
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL

_ROOM = 15


def lines(sets: Sequence[FeatureSet]) -> list[str]:
    """One entry per set: its name, and beside it what it is for, and its size."""
    return labelled([(one.name, f"{one.what}; {_size(one)}") for one in sets], _ROOM)


def as_document(sets: Sequence[FeatureSet]) -> dict[str, Any]:
    """The document of ``vmafarm features --json``: see docs/json.md."""
    return {
        "version": 1,
        "sets": [
            {
                "name": one.name, "what": one.what, "digest": one.digest, "features": list(one.names),
                "extractors": list(one.extractors), "models": [model.version for model in one.models],
                "filters": list(one.filters),
                "pools": list(one.pools), "columns": list(one.columns),
            }
            for one in sets
        ],
    }  # fmt: skip


def _size(features: FeatureSet) -> str:
    return f"{counted(len(features.names), 'feature')}, {counted(len(features.columns), 'column')}"


def as_markdown(features: FeatureSet = FULL) -> str:
    """The page of a set: all columns of its table; docs/columns.md is that of the default."""
    table, pools = table_of(features), ", ".join(features.pools)
    informative = sum(map(_is_informative, table))
    has_rounding = {"adm", "vif"} <= features.extractors.keys()
    models = ", ".join(model.version for model in features.models) or "none"
    filters = f"Filters of ffmpeg: {', '.join(features.filters)}. " if features.filters else ""
    lines = [
        "# The columns" + ("" if features is FULL else f" of the set {show(features.name)}"),
        "",
        f"{_size(features)}. Models: {models}. {filters}Pools: {pools}.",
        "",
        "All pools are taken over all frames; they are NaN where a feature is infinite on every frame, or",
        "its extractor refuses the frame size. Any other frame without a finite value is a failure of the",
        "scoring (`bad_frames`, docs/errors.md).",
        "",
        "`vmafarm qa` reports values outside the bounds. On an identity pair (the same frames as reference",
        "and distorted) some features have a known value: a model learns nothing from them, and the plan",
        "`identity` fills them in."
        + " ADM and VIF are measured, but differ from 1 by rounding only there." * has_rounding,
        f"Columns that differ between clips are informative: {informative} of them.",
        "",
        "| column | type | what | unit | bounds | on an identity pair | informative |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for column in table:
        kind = str(features.arrow_schema.field(column.name).type).replace("double", "float64")
        informative_word = "" if column.feature is None else "yes" if column.informative else "no"
        cells = (
            f"`{column.name}`", kind, column.what, column.unit, _bounds(column), column.identity,
            informative_word,
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    if not ACCEPTED_SIZES.keys().isdisjoint(map(features.producer_of, features.features)):
        lines += ["", "How the frame sizes with NaN are known, by engine:", ""]
        lines += [f"- `{engine}`: {source}." for engine, source in SIZES_SOURCES.items()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Words of a set's file, in a cell of a table."""
    return text if text.startswith("`") else show(text).replace("|", "\\|")


def _is_informative(column: Column) -> bool:
    return column.informative


def _bounds(column: Column) -> str:
    if column.name == "mos":
        return "corpus.mos_min to corpus.mos_max"
    if column.highest is None:
        return "" if column.lowest is None else f"at least {column.lowest:g}"
    return (
        f"at most {column.highest:g}" if column.lowest is None else f"{column.lowest:g} to {column.highest:g}"
    )
