"""Clips with nearly the same features: copies of one video, under other names or encoded again."""

from __future__ import annotations

from collections.abc import Sequence

from vmafarm.common.errors import UsageError, show
from vmafarm.config.sections import Config
from vmafarm.process.scratch import for_databases, scratch_folder
from vmafarm.sql import templates as sql
from vmafarm.tables.given import GivenTable, is_number, reading

EXACT = ("width", "height")
"""Columns that must be equal."""

TOLERANCES = {
    "motion_mean": 5e-4, "motion2_mean": 5e-4, "cambi_mean": 5e-4, "vmaf_mean": 5e-4, "motion_std": 5e-4,
    "vif_scale0_mean": 1e-7,
}  # fmt: skip
"""Columns of a fingerprint, and how far they may be apart: as in the check ``fingerprints`` (sql/qa)."""


def group_alike(table: GivenTable, names: Sequence[str], config: Config) -> list[str]:
    """Put clips whose fingerprints nearly agree into one group.

    Two clips that agree within `TOLERANCES` in all k columns are always in one group. Clips are joined if
    they share a cell of one of k + 1 grids, whose cells are k + 1 tolerances wide and which are moved by one
    tolerance against each other. In one column, values within a tolerance lie on two sides of a border of at
    most one grid; so k columns leave at least one grid without a border between two such clips. A group is
    what is joined directly or through others. NaN agrees with NaN alone.

    Parameters
    ----------
    table
        The table.
    names
        Name of each of its rows.
    config
        Its merge.memory and extract.scratch bound what DuckDB uses.

    Returns
    -------
    list of str
        Group of each row: the first of the names in it, so that the order of rows does not matter.

    Raises
    ------
    UsageError
        A column of the fingerprint is missing, or is not a number.
    """
    _require_columns(table)
    grids = len(TOLERANCES) + 1
    widths = {column: grids * tolerance for column, tolerance in TOLERANCES.items()}
    first = list(range(len(names)))
    with (
        scratch_folder(for_databases(config.extract.scratch)) as scratch,
        reading(table),
        sql.connect(scratch / "spill", memory=config.merge.memory) as connection,
    ):
        columns = list(TOLERANCES)
        made = sql.render("tables/fingerprints", exact=EXACT, columns=columns, file=table.source)
        connection.execute(made)
        for number in range(grids):
            cells = sql.render("tables/cells", exact=EXACT, widths=widths, shift=number / grids)
            for (places,) in connection.execute(cells).fetchall():
                for place in places[1:]:
                    _join(first, names, places[0], place)
    return [names[_find(first, place)] for place in range(len(names))]


def _require_columns(table: GivenTable) -> None:
    for column in (*EXACT, *TOLERANCES):
        found = table.schema.field(column).type if column in table.schema.names else None
        if found is None or not is_number(found):
            what = "is missing" if found is None else f"is {found}, expected a number"
            raise UsageError(
                f"{show(str(table.path))}: the column {column} of the fingerprint {what}",
                f"a fingerprint consists of {', '.join((*EXACT, *TOLERANCES))}; or choose other groups: "
                "--by COLUMN --groups FILE, or --pattern",
            )


def _find(first: list[int], place: int) -> int:
    while first[place] != place:
        first[place] = first[first[place]]
        place = first[place]
    return place


def _join(first: list[int], names: Sequence[str], one: int, other: int) -> None:
    one, other = _find(first, one), _find(first, other)
    if names[one] <= names[other]:
        first[other] = one
    else:
        first[one] = other
