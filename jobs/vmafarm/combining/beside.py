"""Tables of the same clips side by side: a later feature set, or another scorer's values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from vmafarm.combining.agree import refuse_split
from vmafarm.combining.options import Options
from vmafarm.combining.others import SHARED, Column, Other, load_other
from vmafarm.combining.rows import Selected, provenance_of
from vmafarm.combining.sources import Source
from vmafarm.common.errors import UsageError, show
from vmafarm.common.text import counted
from vmafarm.published.combined import Added, Combined
from vmafarm.published.combined import Source as Described
from vmafarm.shards.footers import SHOWN, examples
from vmafarm.sql import templates as sql


@dataclass
class _Joined:
    """What the new table has so far: each column by its name in small letters, and where it comes from."""

    fields: list[pa.Field]
    homes: dict[str, tuple[str, str, str]]


def select_beside(
    connection: duckdb.DuckDBPyConnection, sources: Sequence[Source], options: Options
) -> Selected:
    """Join tables by the names of their clips.

    Parameters
    ----------
    connection
        In memory; some tables are made in it.
    sources
        The first one is the base, whose rows are kept.
    options
        What was chosen.

    Raises
    ------
    UsageError
        Too few rows match, values disagree, or a name is there twice.
    """
    base, *rest = sources
    info = base.info
    assert info is not None
    refuse_split(base)
    if info.problems:
        raise UsageError(
            f"{show(base.given)}: {'; '.join(info.problems)}; expected a published or combined table",
            "the first table is the one to which columns are added",
        )
    labels = [source.corpus for source in rest]
    if unknown := sorted(set(options.prefixes) - set(labels)):
        raise UsageError(
            f"--prefix {show(unknown[0])}: no such table is joined", f"they are {show(', '.join(labels))}"
        )
    connection.execute(sql.render("combine/base", file=base.scanned))
    before = info.combined
    added = list(before.added) if before else []
    fields = list(info.schema.remove_metadata())
    homes = {field.name.lower(): (field.name, "base", str(field.type)) for field in fields}
    joined = _Joined(fields, homes)
    described = [_describe(base, info.rows, info.rows)]
    others: list[dict[str, Any]] = []
    for number, source in enumerate(rest, 1):
        other = load_other(connection, source, f"other_{number}", options.prefixes.get(source.corpus, ""))
        keys = _keys(info.schema, other)
        described.append(_match(connection, base, other, keys, options.min_coverage))
        new = _sort_out(connection, base, other, keys, joined)
        more = _added(connection, other, keys, new)
        added += more
        joined.fields += [one.field for one in more]
        others.append({"name": other.name, "on": keys, "columns": new})
    document = Combined(
        how="columns", sources=described, added=added, min_coverage=options.min_coverage,
        mos_scale=before.mos_scale if before else None,
    )  # fmt: skip
    order = [name for name in ("corpus", "clip_name") if name in info.schema.names]
    query = sql.render("combine/beside", others=others, order=order)
    return Selected(query, pa.schema(joined.fields), document)


def _describe(source: Source, rows: int, used: int) -> Described:
    return Described(
        corpus=source.corpus, file=show(source.path.name), sha256=source.sha256, rows=rows, used=used,
        provenance=provenance_of(source),
    )  # fmt: skip


def _keys(base: pa.Schema, other: Other) -> list[str]:
    """What names a clip in both: its name, and its corpus where both say it."""
    has_corpus = "corpus" in base.names and any(column.name == "corpus" for column in other.columns)
    return ["corpus", "clip_name"] if has_corpus else ["clip_name"]


def _match(
    connection: duckdb.DuckDBPyConnection, base: Source, other: Other, keys: list[str], least: float
) -> Described:
    """Refuse tables with a clip twice, and those of which too few rows match."""
    given = show(other.source.given)
    for table, told in (("base", show(base.given)), (other.name, given)):
        found = connection.execute(
            sql.render("combine/twice", table=table, keys=keys, limit=SHOWN)
        ).fetchall()
        if found:
            names = [show(name) if name is not None else "no name" for name, *_ in found]
            corpora = table == "base" and keys == ["clip_name"]
            raise UsageError(
                f"{told} has {counted(found[0][2], 'clip')} with several rows, or without a name: "
                f"{examples(names, found[0][2])}",
                f"{given} needs a column corpus, which says which of them is meant" * corpora
                or "keep one row for each clip",
            )
    counts = sql.one_row(connection, sql.render("combine/matched", other=other.name, keys=keys))
    shares = [
        counts[part] / counts[whole] if counts[whole] else 1.0
        for part, whole in (("found", "rows"), ("used", "other_rows"))
    ]
    if min(shares) < least:
        lines = []
        for table, opposite, told, part, whole in (
            ("base", other.name, show(base.given), "found", "rows"),
            (other.name, "base", given, "used", "other_rows"),
        ):
            query = sql.render("combine/unmatched", table=table, other=opposite, keys=keys, limit=SHOWN)
            names = [show(name) for (name,) in connection.execute(query).fetchall()]
            lacking = counts[whole] - counts[part]
            text = f"  {told}: {counts[part]:,} of {counted(counts[whole], 'clip')} match"
            lines.append(f"{text}; not {examples(names, lacking)}" if lacking else text)
        raise UsageError(
            "\n".join([f"the clips are not the same, expected a share of {least:g} on both sides:", *lines]),
            f"names must be equal; to allow this: --min-coverage {_rounded_down(min(shares)):g}",
        )
    return _describe(other.source, counts["other_rows"], counts["used"])


def _rounded_down(share: float) -> float:
    return int(share * 10_000) / 10_000


def _sort_out(
    connection: duckdb.DuckDBPyConnection, base: Source, other: Other, keys: list[str], joined: _Joined
) -> list[Column]:
    """Columns that are new. Those that are there already must have the same values."""
    given = show(other.source.given)
    new = []
    for column in other.columns:
        if column.name in keys:
            continue
        known = joined.homes.get(column.name.lower())
        if known is None:
            joined.homes[column.name.lower()] = (column.name, other.name, column.type)
            new.append(column)
            continue
        name, table, kind = known
        hint = f"give its columns names of their own: --prefix {show(other.source.corpus)}=TEXT"
        if column.name in SHARED:
            hint = "are they tables of the same clips and scores? correct one, or leave that column out"
        if name != column.name or (kind != column.type and {"string", "bool"} & {kind, column.type}):
            raise UsageError(f"{given} has a column {show(column.name)}, which is there already", hint)
        query = sql.render("combine/differing", column=name, table=table, other=other.name, keys=keys)
        if found := connection.execute(query).fetchone():
            clip, one, two, clips = found
            raise UsageError(
                f"{given} has a column {show(name)}, which is there already with other values in "
                f"{counted(clips, 'clip')}: {show(clip)} has {show(str(one))} and {show(str(two))}",
                hint,
            )
    if not new:
        raise UsageError(
            f"{given} has no column that {show(base.given)} lacks",
            f"leave it out, or give its columns other names: --prefix {show(other.source.corpus)}=TEXT",
        )
    return new


def _added(
    connection: duckdb.DuckDBPyConnection, other: Other, keys: list[str], new: list[Column]
) -> list[Added]:
    """Describe new columns; only numbers have a value, NaN, for rows without one."""
    words = [column.name for column in new if not column.is_number]
    nullable: dict[str, bool] = {}
    if words:
        query = sql.render("combine/nulls", columns=words, other=other.name, keys=keys)
        nullable = dict(zip(words, connection.execute(query).fetchall()[0], strict=True))
    return [
        Added.model_validate(
            {
                "name": column.name, "type": column.type, "source": other.source.corpus,
                "nullable": nullable.get(column.name, False),
            }
        )
        for column in new
    ]  # fmt: skip
