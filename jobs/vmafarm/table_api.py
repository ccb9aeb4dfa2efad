"""What is done with tables, for notebooks and other programs; `vmafarm` exports these functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vmafarm.config.sections import Config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmafarm.tables.comparison import Comparison
    from vmafarm.tables.split import Split


def compare(
    a: str | Path, b: str | Path, *, tolerance: float = 1e-6, config: Config | None = None
) -> Comparison:
    """Compare two tables clip by clip, as ``vmafarm compare`` does.

    Parameters
    ----------
    a, b
        Their files.
    tolerance
        Absolute: numbers that differ by no more are equal.
    config
        Its merge.memory and extract.scratch bound memory and disk; None: the defaults.

    Returns
    -------
    Comparison
        ``equal`` says whether they are, ``as_dict()`` has what differs.

    Raises
    ------
    UsageError
        One is no table, or has a clip twice.
    """
    from vmafarm.tables.compare import compare_tables

    return compare_tables(Path(a), Path(b), tolerance=tolerance, config=config or Config())


def split(
    table: str | Path, *, by: str | None = None, groups: str | Path | None = None, pattern: str | None = None,
    train: float = 0.8, val: float = 0.1, test: float = 0.1, seed: int = 0,
    output: str | Path | None = None, config: Config | None = None,
) -> Split:  # fmt: skip
    """Write a copy of a table with a column ``split``, as ``vmafarm split`` does.

    Parameters
    ----------
    table
        Its file.
    by
        Where groups come from: ``fingerprint``, or a column of `groups`.
    groups
        CSV file of clip names and groups.
    pattern
        Regular expression whose first group, found in the name, is the group. Without any of these, each
        clip is a group of its own.
    train, val, test
        Shares of the clips, 1 together.
    seed
        Another one gives another split.
    output
        File to write; None: ``<stem>.split.parquet`` beside the table.
    config
        As for `compare`; and its corpus.name_column names the column of names in `groups`.

    Returns
    -------
    Split
        ``path`` is the file, ``counts`` has the clips of each side.

    Raises
    ------
    UsageError
        Nothing was written: it is no table, a clip has no group, or the groups do not fit the shares.
    """
    from vmafarm.tables.groups import Source
    from vmafarm.tables.split import split_table

    source = Source(by, None if groups is None else Path(groups), pattern)
    path = None if output is None else Path(output)
    return split_table(Path(table), source, (train, val, test), seed, path, config or Config())


def combine(
    out: str | Path,
    tables: Sequence[str | Path],
    *,
    config: Config | None = None,
    names: Mapping[str, str] | None = None,
    allow_mixed: Sequence[str] = (),
    mos_scale: tuple[float, float] | None = None,
    mos_ranges: Mapping[str, tuple[float, float]] | None = None,
    columns: bool = False,
    min_coverage: float = 1.0,
    prefixes: Mapping[str, str] | None = None,
    force: bool = False,
    quiet: bool = False,
) -> Path:
    """Put tables of several corpora under each other, or of the same clips side by side.

    The same as ``vmafarm combine``; docs/tables.md describes the result. If tables have labels beside them
    (``corpus.carry``), those of the new table are written beside it, to ``<out>.labels.parquet``.

    Parameters
    ----------
    out
        The table to write.
    tables
        Paths of published tables, or names of runs that have one; of two clips with the same content, that of
        the first table stays.
    config
        Has ``run.root``, under which runs are; None: the defaults.
    names
        A table, as in `tables`, to the label of its corpus; else the name of its run or file.
    allow_mixed
        Keys in which the tables may differ, such as ``engine``.
    mos_scale
        Map the scores of each corpus to this range.
    mos_ranges
        A label to the range of its scores; else the lowest and the highest one.
    columns
        Join tables of the same clips side by side; all but the first may be CSV or
        Parquet of another program.
    min_coverage
        With `columns`, the share of clips that must match on either side, 0..1.
    prefixes
        With `columns`, a label to what the names of its columns begin with.
    force
        Replace a file that is no combined table.
    quiet
        Print no summary.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    VmafarmError
        Nothing was written; the message says what does not fit.
    """
    from vmafarm.combining.combine import combine as combine_tables
    from vmafarm.combining.options import Options
    from vmafarm.common.say import say

    options = Options(
        names={str(table): label for table, label in (names or {}).items()},
        allow_mixed=tuple(allow_mixed), mos_scale=mos_scale, mos_ranges=mos_ranges or {}, columns=columns,
        min_coverage=min_coverage, prefixes=prefixes or {}, force=force,
    )  # fmt: skip
    tell = (lambda line: None) if quiet else say
    combine_tables(config or Config(), Path(out), [str(table) for table in tables], options, tell)
    return Path(out)
