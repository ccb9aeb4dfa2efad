"""The report: one HTML page about a run's table and its cost. It opens offline and runs no scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import jinja2
from markupsafe import Markup

from vmafarm.cluster.efficiency import read_efficiency
from vmafarm.cluster.efficiency_text import rows
from vmafarm.common.errors import UsageError, show
from vmafarm.common.say import printable
from vmafarm.config.sections import Config
from vmafarm.published.combined import Source
from vmafarm.query.checks import Outcome
from vmafarm.report import plots
from vmafarm.report.head import read_head, read_head_of_table
from vmafarm.report.info import Info, read_info
from vmafarm.report.info import tell as tell_info
from vmafarm.report.rank import interval
from vmafarm.report.spread import Spread, read_spread
from vmafarm.run_folder.provenance import read_provenance
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL
from vmafarm.sql import templates as sql
from vmafarm.sql.errors import is_outside

_QUERIES = ("throughput", "slices", "slowest", "counts")
_EXTREMES = (("vmaf_mean", True), ("cambi_mean", False), ("motion_mean", False))
"""Columns, and whether their lowest values are the clips to look at."""
_MOST_VALUES = 20
"""A label with more of them is no category."""
_MARKS = {"error": "✖", "warn": "▲", "info": "●"}


def render(config: Config, connection: duckdb.DuckDBPyConnection, outcomes: Sequence[Outcome]) -> str:
    """Render the report of a run.

    Parameters
    ----------
    config
        The configuration of a planned run.
    connection
        Its database, from `vmafarm.query.database.open_run`.
    outcomes
        Outcomes of all checks; see `vmafarm.query.checks.run_checks`.

    Returns
    -------
    str
        HTML.
    """
    table = config.folder.table
    info = read_info(table) if table.exists() else None
    labels = _count_labels(connection, config.corpus.carry)
    head = read_head(config, connection, info)
    return _render(
        connection, outcomes, config.folder.name, info, head, _used(config), labels=labels,
        features=_feature_set(config),
    )  # fmt: skip


def _feature_set(config: Config) -> FeatureSet:
    """Of the run; that of its table, if there is one, counts before it."""
    with suppress(UsageError):  # a damaged provenance is reported elsewhere
        if provenance := read_provenance(config.folder.provenance):
            return provenance.feature_set
    return FULL


def render_table(
    info: Info, connection: duckdb.DuckDBPyConnection, outcomes: Sequence[Outcome], labels: Sequence[str] = ()
) -> str:
    """As `render`, of a table alone and its labels; see `vmafarm.query.lone_table.open_table`."""
    counts = _count_labels(connection, labels)
    head = read_head_of_table(info)
    return _render(connection, outcomes, info.path.stem, info, head, [], alone=True, labels=counts)


def _render(
    connection: duckdb.DuckDBPyConnection, outcomes: Sequence[Outcome], name: str, info: Info | None,
    head: list[tuple[str, str]], used: list[tuple[str, str]], *, alone: bool = False,
    labels: Sequence[tuple[str, list[dict[str, Any]]]] = (), features: FeatureSet = FULL,
) -> str:  # fmt: skip
    sources = info.combined.sources if info and info.combined else []
    by_check = {outcome.check.name: outcome for outcome in outcomes}
    whole = by_check["schema"].ok
    found = {query: _ask(connection, query, whole) for query in _QUERIES}
    known = info.feature_set if info else features
    means = [f"{name}_mean" for name in known.names] if "mean" in known.pools else []
    spreads = [
        read_spread(row, known) for row in (_ask(connection, "spread", whole, names=means) if means else ())
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(str(value)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = _shown
    return environment.get_template("page.html.j2").render(
        columns=len(known.columns),
        name=name,
        head=head,
        alone=alone,
        source_rows=[_tell_source(source) for source in sources],
        merged=info is not None,
        made=tell_info(info) if info else [],
        counts=next(iter(found["counts"]), None),
        outcomes=outcomes,
        checks=by_check,
        marks=_MARKS,
        rows_of={name: _records(outcome) for name, outcome in by_check.items()},
        throughput=plots.throughput(found["throughput"]),
        used=used,
        labels=labels,
        slices=found["slices"],
        slowest=found["slowest"],
        spreads=spreads,
        **_look_at(connection, spreads, _records(by_check["correlation"]), whole),
    )


def _look_at(
    connection: duckdb.DuckDBPyConnection, spreads: Sequence[Spread],
    correlations: Sequence[Mapping[str, Any]], whole: bool,
) -> dict[str, Any]:  # fmt: skip
    """What is drawn and ranked: of features that vary alone, since the others show rounding."""
    names = [spread.column for spread in spreads if spread.varies]
    clips = max((spread.rows for spread in spreads), default=0)
    bins, (across, up) = plots.bins_for(clips), plots.grid_for(clips)

    def ask(query: str, of: Sequence[str], **values: Any) -> list[dict[str, Any]]:
        wanted = sql.render("report/wanted", names=of)
        return _ask(connection, query, whole, wanted=wanted, **values) if of and clips else []

    ranked = [
        {**row, "interval": interval(row["spearman"], row["clips"])}
        for row in correlations
        if row["name"] in names and row["spearman"] is not None and row["spearman"] == row["spearman"]
    ]
    extremes = [
        (name, lowest_first, _ask(connection, "extremes", whole, name=name, lowest_first=lowest_first))
        for name, lowest_first in _EXTREMES
        if name in names
    ]
    return {
        "varying": [spread for spread in spreads if spread.varies],
        "bins": bins,
        "histograms": plots.histograms(ask("bins", ["mos", *names], bins=bins), bins),
        "scatters": plots.scatters(
            ask("scatter", [row["name"] for row in ranked], across=across, up=up), clips
        ),
        "ranked": ranked,
        "matrix": _correlate(connection, names) if whole else [],
        "extremes": extremes,
        "strangest": ask("strangest", names),
    }


def _tell_source(source: Source) -> dict[str, Any]:
    scores = "as in the table"
    if source.mos_range:
        scores = f"{source.mos_range[0]:g} to {source.mos_range[1]:g} ({source.mos_range_from})"
    return {
        "corpus": source.corpus, "file": source.file, "rows": source.rows, "used": source.used,
        "scores": scores,
    }  # fmt: skip


def _ask(
    connection: duckdb.DuckDBPyConnection, query: str, whole: bool, **values: Any
) -> list[dict[str, Any]]:
    """Run a query of sql/report; no rows if the table lacks columns, which a check reports."""
    try:
        result = connection.execute(sql.render(f"report/{query}", **values))
    except duckdb.Error as error:
        if whole or is_outside(error):
            raise
        return []
    columns = [column[0] for column in result.description]
    return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


def _count_labels(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[str]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows per value of each carried column that has few values."""
    found = []
    for column in columns:
        query = sql.render("report/labels", column=column, most=_MOST_VALUES + 1)
        try:
            counts = connection.execute(query).fetchall()
        except duckdb.BinderException:  # the run's labels are gone or damaged, which was told
            continue
        if 0 < len(counts) <= _MOST_VALUES:
            rows = [{"value": "none" if value is None else str(value), "clips": n} for value, n in counts]
            found.append((column, rows))
    return found


def _used(config: Config) -> list[tuple[str, str]]:
    """What elements used, from disk alone, as label and text; empty if there is nothing to compare."""
    try:
        return rows(read_efficiency(config, None))
    except UsageError:  # never submitted, or nothing recorded yet
        return []


def _records(outcome: Outcome) -> list[dict[str, Any]]:
    return [dict(zip(outcome.columns, row, strict=True)) for row in outcome.rows]


def _correlate(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str]
) -> list[tuple[str, list[float | None]]]:
    """Return for each column its feature, and its correlation with each column before it."""
    pairs = [(other, one) for place, one in enumerate(names) for other in names[:place]]
    if not pairs:
        return []
    values = iter(connection.execute(sql.render("report/pairs", pairs=pairs)).fetchall()[0])
    return [
        (one.removesuffix("_mean"), [next(values) for _ in names[:place]]) for place, one in enumerate(names)
    ]


def _shown(value: Any) -> str:
    """Format a value: numbers shortened, control characters visible."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return "NaN" if value != value else f"{value + 0.0:,.6g}"  # + 0.0: no -0
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return show(str(value))
