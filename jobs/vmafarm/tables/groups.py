"""Which clips belong together: by a file of labels, by their names, or by what they show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vmafarm.common.errors import UsageError, show
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.corpus.clips import Clips
from vmafarm.corpus.join import join
from vmafarm.corpus.scores import Scores
from vmafarm.labels.columns import Wanted, find_columns, require_decoded
from vmafarm.labels.headers import NAME_COLUMNS
from vmafarm.labels.messages import quote, refuse
from vmafarm.labels.table import read_label_table
from vmafarm.published.side_table import key_columns, read_side, side_path
from vmafarm.run_folder.corpus_findings import Counts
from vmafarm.run_folder.label_columns import NAME as CLIP_NAME
from vmafarm.run_folder.label_columns import read_labels
from vmafarm.run_folder.paths import RunFolder, run_of_table
from vmafarm.tables.fingerprint import group_alike
from vmafarm.tables.given import GivenTable

FINGERPRINT = "fingerprint"
_SHOWN = 5


@dataclass(frozen=True)
class Source:
    """Where groups come from; exactly one of these, or none: then each clip is a group of its own.

    Attributes
    ----------
    by
        `FINGERPRINT`; with `groups` the column of that file; else that of the label file of the run.
    groups
        CSV file with a column of clip names.
    pattern
        Regular expression, whose first group is searched for in the name.
    """

    by: str | None = None
    groups: Path | None = None
    pattern: str | None = None

    def __post_init__(self) -> None:
        ways = "give one of --by fingerprint, --by COLUMN, --by COLUMN --groups FILE, --pattern REGEX"
        if self.pattern is not None and (self.by is not None or self.groups is not None):
            raise UsageError("--pattern together with --by or --groups, expected one source of groups", ways)
        if self.groups is not None and self.by is None:
            raise UsageError("--groups without --by, which names its column of groups", ways)

    @property
    def is_none(self) -> bool:
        """Whether there is none, so that each clip is a group of its own."""
        return self.by is None and self.pattern is None

    @property
    def is_label(self) -> bool:
        """Whether it is a column of the label file of the table's run."""
        return self.groups is None and self.by not in (None, FINGERPRINT)

    def as_dict(self) -> dict[str, str]:
        """Return what determines the groups, without paths: part of the metadata."""
        if self.pattern is not None:
            return {"by": "pattern", "pattern": self.pattern}
        if self.groups is not None or self.is_label:
            return {"by": "column", "column": str(self.by)}
        return {"by": self.by or "clip"}

    def told(self) -> str:
        """Return where the groups come from, in words."""
        if self.pattern is not None:
            return f"by the pattern {show(self.pattern)}"
        if self.groups is not None:
            return f"by the column {show(str(self.by))} of {show(str(self.groups))}"
        if self.is_label:
            return f"by the label {show(str(self.by))}"
        return "by fingerprint" if self.by else "each clip is a group of its own"


def find_groups(source: Source, table: GivenTable, names: Sequence[str], config: Config) -> list[str]:
    """Find the group of each row.

    Parameters
    ----------
    source
        Where the groups come from.
    table
        The table.
    names
        Name of each of its rows; each name once.
    config
        For its corpus.name_column; and see `vmafarm.tables.fingerprint.group_alike`.

    Returns
    -------
    list of str
        Key of each row's group; it does not depend on the order of rows.

    Raises
    ------
    UsageError
        A clip has no group, or the source cannot be used.
    """
    if source.pattern is not None:
        return _by_pattern(names, source.pattern)
    if source.groups is not None:
        return _by_column(names, source.groups, str(source.by), config.corpus.name_column)
    if source.is_label:
        return _by_label(names, table, str(source.by))
    return group_alike(table, names, config) if source.by else list(names)


def _by_pattern(names: Sequence[str], pattern: str) -> list[str]:
    hint = "for example ^([^_]+)_ for the part of the name in front of the first underscore"
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"--pattern {show(pattern)}: {show(str(error))}", hint) from None
    if not compiled.groups:
        raise UsageError(f"--pattern {show(pattern)}: no part in parentheses, expected one: the group", hint)
    found = [match[1] if (match := compiled.search(name)) else None for name in names]
    without = [name for name, group in zip(names, found, strict=True) if not group]
    if without:
        raise UsageError(
            f"--pattern {show(pattern)}: {counted(len(without), 'clip')} of {len(names):,} without a group: "
            f"{_few(without)}", f"change the pattern so that it finds a group in each name; {hint}",
        )  # fmt: skip
    return [str(group) for group in found]


def _by_label(names: Sequence[str], table: GivenTable, column: str) -> list[str]:
    run = run_of_table(table.path.name)
    folder = RunFolder(table.path.parent, run)
    if run and folder.labels.exists():
        labels = read_labels(folder, [column])
        values = dict(zip(labels[CLIP_NAME].to_pylist(), labels[column].to_pylist(), strict=True))
        found = [values.get(name) for name in names]
    else:
        found = _read_label(table, column)
    if without := [name for name, value in zip(names, found, strict=True) if value is None]:
        raise UsageError(
            f"--by {show(column)}: {counted(len(without), 'clip')} of {len(names):,} without a group: "
            f"{_few(without)}", "fill in that column of the label file, and plan the run again",
        )  # fmt: skip
    return [str(value) for value in found]


def _read_label(table: GivenTable, column: str) -> list[str | float | None]:
    """The label of each row by the side table."""
    path, beside = table.path, side_path(table.path)
    hint = "name a file with that column: --groups FILE; or --by fingerprint"
    side = read_side(path, table.file, table.combined)
    if side is None:
        raise UsageError(
            f"--by {show(column)}: {show(str(path))} has no side table ({show(beside.name)}), and it is no "
            "table of a run whose label file has such columns",
            hint,
        )
    names = side.schema.names[len(key_columns(table.combined)) :]
    if column not in names:
        raise UsageError(
            f"{show(str(beside))} has no label {show(column)}, expected one of {', '.join(map(show, names))}",
            hint,
        )
    values: list[str | float | None] = side[column].to_pylist()
    return values


def _by_column(names: Sequence[str], file: Path, column: str, name_column: str) -> list[str]:
    hint = "--groups names a CSV file with a header, clip names and groups"
    table = read_label_table(file, what="groups", hint=hint)
    name, *_ = find_columns(file, table.titles, Wanted(name_column, NAME_COLUMNS, "--set corpus.name_column"))
    (value,) = find_columns(file, table.titles, Wanted(column, (), "--by"))
    require_decoded(file, table, (name, value))
    labelled, values = table.columns[name], table.columns[value]
    group_of: dict[str, str] = {}
    for label, group, line in zip(labelled, values, table.lines, strict=True):
        if not label:
            refuse(file, line, f"an empty name in the column {quote(table.titles[name])}", place=table.place)
        if not group:
            problem = f"no group of {quote(label)} in the column {quote(column)}"
            refuse(file, line, problem, place=table.place)
        if group_of.setdefault(label, group) != group:
            told = f"{quote(label)} is in the group {quote(group)}, and in {quote(group_of[label])} above"
            refuse(file, line, told, "keep one group per name", table.place)
    # A label is joined to its clip as a score is: what is joined here is its place in the file.
    places = np.arange(len(group_of), dtype=np.float64)
    clips = Clips(list(names), np.zeros(len(names), np.int64), Counts())
    joined = join(clips, Scores(list(group_of), places, []))
    missing = np.isnan(joined.mos)
    if missing.any():
        without = [name for name, lacks in zip(names, missing, strict=True) if lacks]
        alike = "".join(f"\n{line}" for line in joined.nearest)
        raise UsageError(
            f"{show(str(file))}: {counted(len(without), 'clip')} of {len(names):,} without a group: "
            f"{_few(without)}{alike}", "add a row for each of them",
        )  # fmt: skip
    groups = list(group_of.values())
    return [groups[int(place)] for place in joined.mos]


def _few(names: Sequence[str]) -> str:
    first = sorted(names)[:_SHOWN]
    more = len(names) - len(first)
    return ", ".join(map(show, first)) + (f" and {more:,} more" if more else "")
