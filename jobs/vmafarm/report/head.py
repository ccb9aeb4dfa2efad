"""What a report says first: of which corpus the table is, when it was made, with what, and what it took."""

from __future__ import annotations

import datetime

import duckdb

from vmafarm.common.errors import show
from vmafarm.common.text import counted, format_seconds
from vmafarm.config.sections import Config
from vmafarm.process.toolkit import version
from vmafarm.report.info import Info
from vmafarm.sql import templates as sql


def read_head(
    config: Config, connection: duckdb.DuckDBPyConnection, info: Info | None
) -> list[tuple[str, str]]:
    """Label and text of each line, of a run.

    Parameters
    ----------
    config
        The configuration of a planned run.
    connection
        Its database, from `vmafarm.query.database.open_run`.
    info
        Its table; None: not merged yet.
    """
    corpus = config.corpus
    facts = dict(connection.execute("SELECT key, value FROM run").fetchall())
    made = (info.record.get("made") or {}) if info else {}
    lines = [
        ("clips", show(corpus.clips)),
        ("scores", show(corpus.scores) if corpus.scores else "none"),
        ("scored", _tell_span(connection)),
        ("plan", " ".join(filter(None, (facts.get("plan", ""), "on", facts.get("backend", ""))))
         if facts.get("plan") else ""),
        ("engine", _tell_engine(facts)),
        ("vmafarm", show(str(made.get("toolkit") or version()))),
    ]  # fmt: skip
    return [(label, text) for label, text in lines if text]


def read_head_of_table(info: Info) -> list[tuple[str, str]]:
    """As `read_head`, of a table alone, which knows less."""
    stated = {key: str(value) for key, value in info.metadata.items() if not isinstance(value, dict | list)}
    lines = [("table", show(str(info.path))), ("plan", stated.get("plan", "")),
             ("engine", _tell_engine(stated))]  # fmt: skip
    return [(label, show(text)) for label, text in lines if text]


def _tell_engine(facts: dict[str, str]) -> str:
    if not facts.get("engine"):
        return ""
    named = f"{facts['engine']} {facts.get('engine_version', '')}".strip()
    more = [
        f"{what} {value}"
        for what, key in (("libvmaf", "libvmaf_version"), ("model", "model"))
        if (value := facts.get(key)) and value not in named
    ]
    return show(", ".join([named, *more]))


def _tell_span(connection: duckdb.DuckDBPyConnection) -> str:
    """When, how long, by how many hosts, and how much work that was."""
    found = sql.one_row(connection, sql.render("report/span"))
    if not found["clips"]:
        return ""
    first, last = found["first"], found["last"]
    duration = (last - first).total_seconds()
    work = format_seconds(found["seconds"]) if found["seconds"] == found["seconds"] else "?"
    return (
        f"{_minute(first)} to {_minute(last)} UTC ({format_seconds(duration)}) on "
        f"{counted(found['hosts'], 'host')}; {work} of decoding and scoring, {found['frames']:,} frames"
    )


def _minute(at: datetime.datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M")
