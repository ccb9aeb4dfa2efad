"""Checks of a run as SQL: each is one file in sql/qa/, whose header says what it expects and why."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import duckdb

from vmafarm.common.errors import UsageError, show
from vmafarm.common.steps import step
from vmafarm.common.text import counted
from vmafarm.query.check_needs import find_lacking_column, find_lacking_table, keeps_frames
from vmafarm.query.statements import without_end
from vmafarm.schema.features import FULL
from vmafarm.sql.errors import is_outside
from vmafarm.sql.templates import Sql, render, sql_folder

SEVERITIES = ("error", "warn", "info")
RETURNS = ("offenders", "figures")
_HEADER = ("name", "severity", "returns", "expected", "why")
_FILE = re.compile(r"(\d+)_(\w+)\.sql")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes
    ----------
    number
        From its file name; checks run in this order.
    name
        From its file name.
    severity
        ``error``: refuses the merge; ``warn``: look at it first; ``info``.
    returns
        ``offenders``: violations; ``figures``: facts.
    expected, why
        One phrase each.
    query
        DuckDB SQL on the tables of docs/queries.md.
    """

    number: int
    name: str
    severity: str
    returns: str
    expected: str
    why: str
    query: str

    @property
    def is_about_frames(self) -> bool:
        """Whether it does not apply to a run that keeps no frames."""
        return "frame_problems" in self.query


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes
    ----------
    check
        The check.
    ok
        Whether it returned figures, or no violation.
    count
        Number of rows that its query returned.
    columns, rows
        Column names, and the first rows.
    failure
        Why the query could not be run; else "".
    lacks
        What the check needs and a table alone, or of its feature set, does not have; else "".
    """

    check: Check
    ok: bool
    count: int
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    failure: str = ""
    lacks: str = ""

    @property
    def result(self) -> str:
        """In a word: ``ok``, ``found``, ``figures``, ``failed`` or ``skipped``."""
        if self.lacks:
            return "skipped"
        if self.failure:
            return "failed"
        if self.check.returns == "figures":
            return "figures"
        return "ok" if self.ok else "found"

    @property
    def is_error(self) -> bool:
        """Whether the rows must not be published or used."""
        return not self.ok and (self.check.severity == "error" or bool(self.failure))

    def as_dict(self) -> dict[str, Any]:
        """The outcome as JSON has it."""
        about = {field.name: getattr(self.check, field.name) for field in fields(Check)}
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        said = {"result": self.result, "count": self.count, "failure": self.failure, "lacks": self.lacks}
        return {**about, **said, "rows": rows}


def list_checks(folder: Path | None = None) -> tuple[Check, ...]:
    """Read the checks.

    Parameters
    ----------
    folder
        Folder of the checks; None: sql/qa/.

    Returns
    -------
    tuple of Check
        Ordered by number.

    Raises
    ------
    UsageError
        A file is not a check: wrong name, wrong header, or a name or number that another check has.
    """
    checks = [_read(path) for path in sorted((folder or sql_folder() / "qa").glob("*.sql"))]
    checks.sort(key=lambda check: check.number)
    for what in ("number", "name"):
        values = [getattr(check, what) for check in checks]
        if twice := [value for value in values if values.count(value) > 1]:
            raise UsageError(
                f"two checks have the {what} {twice[0]}", "give each check its own number and name"
            )
    return tuple(checks)


def _read(path: Path) -> Check:
    hint = f"a check is NN_name.sql and begins with the lines -- {': ..., -- '.join(_HEADER)}: ..."
    named = _FILE.fullmatch(path.name)
    lines = path.read_text().split("\n", len(_HEADER))
    values = {}
    for key, line in zip(_HEADER, lines, strict=False):
        begin = f"-- {key}: "
        if line.startswith(begin) and line.strip() != begin.strip():
            values[key] = line.removeprefix(begin).strip()
    if not named or len(values) < len(_HEADER):
        raise UsageError(f"{show(path.name)} is not a check", hint)
    for key, allowed in (("name", (named[2],)), ("severity", SEVERITIES), ("returns", RETURNS)):
        if values[key] not in allowed:
            raise UsageError(
                f"{show(path.name)}: {key} {show(values[key])!r}, expected {' or '.join(allowed)}", hint
            )
    if values["severity"] == "error" and values["returns"] == "figures":
        raise UsageError(f"{show(path.name)}: an error check returns figures, expected offenders", hint)
    return Check(number=int(named[1]), query=lines[-1].strip(), **values)


def find_checks(names: Sequence[str]) -> list[Check]:
    """Checks by their names.

    Raises
    ------
    UsageError
        There is no such check; the message has names that are close.
    """
    checks = {check.name: check for check in list_checks()}
    for name in names:
        if name not in checks:
            close = difflib.get_close_matches(name, checks, 3) or list(checks)
            raise UsageError(f"no check {show(name)!r}", f"did you mean {', '.join(close)}?")
    return [checks[name] for name in names]


def run_checks(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str] | None = None, *, limit: int | None = 20,
    absent: Mapping[str, str] | None = None,
) -> list[Outcome]:  # fmt: skip
    """Run checks on a run's database.

    Parameters
    ----------
    connection
        As `vmafarm.query.database.open_run` yields it.
    names
        Names of the checks to run; None: all that apply.
    limit
        Rows to keep of each outcome; None: all.
    absent
        Tables that hold nothing since there is no run, and what they are made of: their checks do not apply.
    """
    checks = find_checks(names) if names is not None else applying(connection)
    outcomes = []
    for check in stepping(checks):
        lacks = find_lacking_table(connection, check.query, absent) if absent else ""
        lacks = lacks or find_lacking_column(connection, check.query)
        if check.is_about_frames and not keeps_frames(connection):
            lacks = lacks or "engine.frames"
        outcome = Outcome(check, True, 0, (), (), lacks=lacks)
        outcomes.append(outcome if lacks else run_check(connection, check, limit))
    return outcomes


def applying(connection: duckdb.DuckDBPyConnection) -> list[Check]:
    """All checks, but for those about frames where a run keeps none."""
    return list(list_checks()) if keeps_frames(connection) else usual_checks()


def usual_checks() -> list[Check]:
    """All checks, but for those about frames."""
    return [check for check in list_checks() if not check.is_about_frames]


def stepping(checks: Sequence[Check]) -> Iterator[Check]:
    """Checks in their order; each is noted as the step."""
    for number, check in enumerate(checks, 1):
        step(f"check {number} of {len(checks)}: {show(check.name)}")
        yield check


def run_check(connection: duckdb.DuckDBPyConnection, check: Check, limit: int | None) -> Outcome:
    """Run one check; see `run_checks`."""
    try:
        columns, rows = _fetch(connection, check.query, limit)
        count = len(rows)
        if limit is not None and count > limit:  # few are kept: the others are counted and not fetched
            rows = rows[:limit]
            query = render("query/count", query=Sql(without_end(check.query)))
            (count,) = connection.execute(query).fetchall()[0]
    except duckdb.Error as error:
        if is_outside(error):
            raise
        # The table may lack a column that the query names; the check of the schema reports that.
        return Outcome(check, False, 0, (), (), show(str(error).partition("\n")[0]))
    return Outcome(check, check.returns == "figures" or not count, count, columns, tuple(rows))


def _fetch(
    connection: duckdb.DuckDBPyConnection, query: str, limit: int | None
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns and rows of a query; with a limit one row more than that, if there are so many."""
    if limit is not None:
        query = render("query/first", query=Sql(without_end(query)), rows=limit + 1)
    result = connection.execute(query)
    return tuple(column[0] for column in result.description), result.fetchall()


def tell(outcomes: Sequence[Outcome], width: int = 80) -> list[str]:
    """One line per check: name, severity, result and number of rows."""
    longest = max(len(outcome.check.name) for outcome in outcomes)
    lines = [f"{'check':<{longest}}  severity  result   rows"]
    for outcome in outcomes:
        check = outcome.check
        line = f"{check.name:<{longest}}  {check.severity:<8}  {outcome.result:<7}  {outcome.count:,}"
        more = outcome.failure or (f"needs {outcome.lacks}" if outcome.lacks else "")
        lines.append(line + (f"  {more}" if more else ""))
    return [line if len(line) <= width else line[: width - 1] + "…" for line in lines]


def summarise(outcomes: Sequence[Outcome]) -> str:
    """All outcomes in one line: ``34 checks: 1 error (missing), 2 warnings (...)``."""
    errors = [outcome.check.name for outcome in outcomes if outcome.is_error]
    warnings = [o.check.name for o in outcomes if not o.ok and not o.is_error and o.check.severity == "warn"]
    told = [
        f"{counted(len(names), what)} ({', '.join(names)})"
        for names, what in ((errors, "error"), (warnings, "warning"))
        if names
    ]
    lacks = [outcome.lacks for outcome in outcomes if outcome.lacks]
    alone = " to a table alone" if any(what not in FULL.feature_columns for what in lacks) else ""
    more = f"; {len(lacks)} {'does' if len(lacks) == 1 else 'do'} not apply{alone}" if lacks else ""
    return f"{counted(len(outcomes) - len(lacks), 'check')}: {', '.join(told) or 'nothing found'}{more}"


def as_markdown() -> str:
    """The page docs/qa.md, from the headers of the checks."""
    lines = [
        "# The checks of `vmafarm qa`",
        "",
        "Each is one file in sql/qa/: plain SQL, which runs as it is in any DuckDB client on",
        "`runs/<run>/qa.duckdb`. A check returns violations (none expected) or figures. An `error` that",
        "finds something refuses the merge: nothing is published, and the exit status is 1. Review any",
        "`warn`. `vmafarm qa --check mos` shows the rows of one check; after a refused merge, the rows that",
        "it refused. On a table alone (`vmafarm qa --table all.parquet`) the checks that need a run",
        "are skipped; those of frames run where a run keeps them ([frames.md](frames.md)).",
        "",
        "| check | severity | returns | expected | why |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{check.name}` | {check.severity} | {check.returns} | {check.expected} | {check.why} |"
        for check in list_checks()
    ]
    return "\n".join(lines) + "\n"
