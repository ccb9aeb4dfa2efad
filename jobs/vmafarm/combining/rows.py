"""Tables of several corpora or sets under each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from vmafarm.combining.options import Options, Range
from vmafarm.combining.sources import Source
from vmafarm.common.errors import UsageError, show
from vmafarm.published.combined import Added, Combined, Duplicates
from vmafarm.published.combined import Source as Described
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.shards.footers import SHOWN, examples
from vmafarm.sql import templates as sql

LISTED = 1000
"""Duplicates that the metadata names."""

Hashes = Callable[[Source], pa.Table]
"""Returns a table of `vmafarm.combining.sources.HASHES` for a source."""


@dataclass(frozen=True)
class Selected:
    """What is to be written.

    Attributes
    ----------
    query
        Returns the rows, in order.
    schema
        Of these rows.
    document
        What the metadata says.
    """

    query: sql.Sql
    schema: pa.Schema
    document: Combined


def select_rows(
    connection: duckdb.DuckDBPyConnection, sources: Sequence[Source], options: Options,
    mixed: Mapping[str, list[Any]], hashes: Hashes, features: FeatureSet,
) -> Selected:  # fmt: skip
    """Put tables under each other.

    Parameters
    ----------
    connection
        In memory; some tables are made in it.
    sources
        With the columns of the schema.
    options
        What was chosen.
    mixed
        What the tables differ in.
    hashes
        SHA-256 of the clips of a source.
    features
        The feature set of all sources.

    Raises
    ------
    UsageError
        A corpus has a clip twice, or scores that cannot be mapped.
    """
    tables = [{"corpus": source.corpus, "file": source.scanned} for source in sources]
    connection.execute(sql.render("combine/stacked", tables=tables, columns=features.columns))
    connection.execute(sql.render("combine/keys"))
    _require_keys(connection, sources)
    rows = _count(connection, "keys")
    duplicates = _drop(connection, sources, hashes, sum(rows.values()))
    dropped = _count(connection, "dropped")
    several = sql.one_row(connection, sql.render("combine/several"))
    ranges = _ranges(connection, sources, options) if options.mos_scale else {}
    described = [
        Described(
            corpus=source.corpus,
            file=show(source.path.name),
            sha256=source.sha256,
            rows=rows[at],
            used=rows[at] - dropped[at],
            provenance=provenance_of(source),
            **ranges.get(source.corpus, {}),
        )
        for at, source in enumerate(sources)
    ]
    schema = features.arrow_schema
    added = [Added(name="corpus", type="string")]
    fields = [schema.field("clip_name"), added[0].field, schema.field("mos")]
    if options.mos_scale:
        added.append(Added(name="mos_native", type="double"))
        fields.append(added[1].field)
    others = [name for name in features.columns if name not in ("clip_name", "mos")]
    document = Combined(
        how="rows",
        sources=described,
        added=added,
        mixed=dict(mixed),
        duplicates=duplicates,
        names_in_several=several["names"],
        mos_scale=options.mos_scale,
    )
    query = sql.render("combine/rows", scale=options.mos_scale, columns=others)
    return Selected(query, pa.schema([*fields, *map(schema.field, others)]), document)


def provenance_of(source: Source) -> dict[str, Any]:
    """What determined the values of a table, and how many clips it lacks; its lists of clips stay there."""
    if source.info is None:
        return {}
    kept = {**source.info.metadata}
    for name in ("left_out", "conflicts", "gpu_differences"):
        kept.pop(name, None)
    return kept


def _require_keys(connection: duckdb.DuckDBPyConnection, sources: Sequence[Source]) -> None:
    found = connection.execute(sql.render("combine/repeated", limit=SHOWN)).fetchall()
    if not found:
        return
    texts = [
        f"{show(name)} in {' and '.join(show(sources[at].given) for at in of)}" for _, name, of, _ in found
    ]
    corpora = ", ".join(sorted({show(corpus) for corpus, *_ in found}))
    raise UsageError(
        f"a clip of one corpus ({corpora}) has several rows: {examples(texts, found[0][3])}",
        "if these are different clips, give the tables labels of their own: --name TABLE=LABEL; else leave "
        "out one of the tables",
    )


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> Counter[int]:
    query = sql.render("combine/count", table=table)
    return Counter(dict(connection.execute(query).fetchall()))


def _drop(
    connection: duckdb.DuckDBPyConnection, sources: Sequence[Source], hashes: Hashes, rows: int
) -> Duplicates:
    connection.execute("CREATE TABLE hashes (source INTEGER, clip_name VARCHAR, sha256 VARCHAR)")
    for at, source in enumerate(sources):
        connection.register("logged", hashes(source))
        connection.execute(sql.render("combine/hashes", source=at))
        connection.unregister("logged")
    connection.execute(sql.render("combine/dropped"))
    known = sql.one_row(connection, sql.render("combine/known"))["rows"]
    found = connection.execute(sql.render("combine/duplicates", limit=LISTED)).fetchall()
    clips = [(f"{corpus}/{name}", f"{kept}/{same}") for corpus, name, kept, same, _ in found]
    return Duplicates(removed=found[0][4] if found else 0, unknown=rows - known, clips=clips)


def _ranges(
    connection: duckdb.DuckDBPyConnection, sources: Sequence[Source], options: Options
) -> dict[str, dict[str, Any]]:
    """Range of the scores of each corpus, which is also put into the table ``ranges``."""
    corpora = {source.corpus for source in sources}
    if unknown := sorted(set(options.mos_ranges) - corpora):
        raise UsageError(
            f"--mos-range {show(unknown[0])}: no such corpus",
            f"the corpora are {', '.join(map(show, sorted(corpora)))}",
        )
    connection.execute("CREATE TABLE ranges (corpus VARCHAR, lowest DOUBLE, highest DOUBLE)")
    found: dict[str, dict[str, Any]] = {}
    for corpus, lowest, highest in connection.execute(sql.render("combine/ranges")).fetchall():
        given = options.mos_ranges.get(corpus)
        if given is None and lowest is None:  # no score at all: there is nothing to map
            continue
        if given is None and lowest == highest:
            raise UsageError(
                f"all scores of {show(corpus)} are {lowest:g}, which tells no range",
                f"give the range of its scale: --mos-range {show(corpus)}=LOW,HIGH",
            )
        if given and lowest is not None and not given[0] <= lowest <= highest <= given[1]:
            raise UsageError(
                f"--mos-range {show(corpus)}={given[0]:g},{given[1]:g}: its scores go from {lowest:g} to "
                f"{highest:g}",
                "give the range of its scale",
            )
        used: Range = given or (lowest, highest)
        connection.execute("INSERT INTO ranges VALUES (?, ?, ?)", [corpus, *used])
        found[corpus] = {"mos_range": used, "mos_range_from": "given" if given else "observed"}
    return found
