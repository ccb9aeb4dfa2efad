"""Reads opinion scores from a CSV file, and refuses every doubtful line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UsageError, show
from vmafarm.labels.csv_columns import NAME_COLUMNS, Wanted, listed, quote, read_columns, read_text, refuse

MOS_COLUMNS = ("mos", "video_score", "score")
"""Headers of the column of scores. KoNViD-150k's set A has ``video_score`` alone; set B has ``mos``
beside it, and there ``mos`` is the score on the scale from 1 to 5."""

_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores by name, each name once, in the order of the file.

    Attributes
    ----------
    names
        As the file has them, white space around them removed (inside quotes it is kept).
    mos
        float64, shape (names,), finite and in range.
    duplicates
        Names of rows that repeat an earlier row.
    """

    names: list[str]
    mos: NDArray[np.float64]
    duplicates: list[str]


def read_scores(path: Path, *, name_column: str, mos_column: str, mos_min: float, mos_max: float) -> Scores:
    """Read a CSV file with a header: UTF-8, or UTF-16 with BOM; any line ends, quotes as needed.

    Parameters
    ----------
    path
        The file.
    name_column, mos_column
        Headers of the two columns; empty: the first of `NAME_COLUMNS` and of `MOS_COLUMNS`.
    mos_min, mos_max
        Range of possible scores, both ends included.

    Returns
    -------
    Scores
        Rows that say the same twice are collapsed.

    Raises
    ------
    UsageError
        The file is missing, not a file, empty or in another encoding; a column is missing; a row has too few
        or too many fields, no name, or a score that is not a number in range; two rows contradict
        each other. The message names the line.
    UnavailableError
        The file cannot be read.
    """
    text = read_text(path, "scores", "name the CSV file of scores: corpus.scores, or SCORES= with make")
    name = Wanted(name_column, NAME_COLUMNS, "corpus.name_column")
    header, names, texts, numbers = read_columns(
        path, text, name, Wanted(mos_column, MOS_COLUMNS, "corpus.mos_column")
    )
    if not names:
        raise UsageError(
            f"{show(str(path))}: a header but no scores, expected one row per clip",
            f"the columns are: {listed(header)}",
        )
    mos = _to_numbers(path, names, texts, numbers, mos_min, mos_max)
    return _collapse(path, names, mos, numbers)


def _to_numbers(
    path: Path, names: list[str], texts: list[str], numbers: list[int], low: float, high: float
) -> NDArray[np.float64]:
    try:
        if "_" in "".join(texts):  # float() takes 1_0 for 10
            raise ValueError
        mos = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        mos = np.array([_number(text) for text in texts])
    bad = np.flatnonzero(~((mos >= low) & (mos <= high)))
    if bad.size:
        at = int(bad[0])
        text = texts[at].strip()
        number = _number(text)
        expected = f"expected a number from {low:g} to {high:g}"
        what = "out of range" if math.isfinite(number) else "not a number"
        more = f" (and {bad.size - 1:,} more such rows)" if bad.size > 1 else ""
        refuse(
            path, numbers[at], f"the score {quote(text)} of {quote(names[at])} is {what}, {expected}{more}",
            "correct the rows, or set corpus.mos_min and corpus.mos_max to the range of these scores",
        )  # fmt: skip
    return mos


def _number(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def _collapse(path: Path, names: list[str], mos: NDArray[np.float64], numbers: list[int]) -> Scores:
    """Drop rows that repeat an earlier one; refuse those that contradict it."""
    if len(set(names)) == len(names):
        return Scores(names, mos, [])
    first: dict[str, int] = {}
    repeated: list[int] = []
    conflicts: list[str] = []
    for at, name in enumerate(names):
        before = first.setdefault(name, at)
        if before == at:
            continue
        repeated.append(at)
        if mos[before] != mos[at]:
            conflicts.append(
                f"  {quote(name)}: {mos[before]:.17g} on line {numbers[before]}, "
                f"{mos[at]:.17g} on line {numbers[at]}"
            )
    if conflicts:
        shown = conflicts[:_EXAMPLES]
        if len(conflicts) > len(shown):
            shown.append(f"  and {len(conflicts) - len(shown):,} more")
        raise UsageError(
            "\n".join([f"{show(str(path))}: the same name with different scores:", *shown]),
            "keep one score per name",
        )
    keep = list(first.values())
    return Scores([names[at] for at in keep], mos[keep], [names[at] for at in repeated])
