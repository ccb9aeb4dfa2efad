"""Load a published table as a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vmafarm.common.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from vmafarm.schema.feature_set import FeatureSet


def read_table(
    path: str | Path, *, drop_constant: bool = False, to: Literal["pandas", "arrow", "polars"] = "pandas"
) -> Any:
    """Read a published table.

    Parameters
    ----------
    path
        ``runs/full_features_<run>.parquet``.
    drop_constant
        Leave out feature columns without information: those that the metadata of the table calls constant,
        and those that are NaN, or the same number, in all rows.
    to
        ``pandas``, ``arrow``, or ``polars``, which must be installed.

    Returns
    -------
    pandas.DataFrame, pyarrow.Table or polars.DataFrame
        One row per clip, ordered by name.

    Raises
    ------
    UsageError
        The file is not a table of vmafarm, or `to` is invalid.
    """
    import pyarrow.parquet as pq

    from vmafarm.disk.regular_files import open_regular
    from vmafarm.report.info import read_info

    if to not in ("pandas", "arrow", "polars"):
        raise UsageError(f"to = {to!r}, expected pandas, arrow or polars", "leave it out for pandas")
    path = Path(path)
    info = read_info(path)
    with open_regular(path, None) as content:
        # With Arrow's threads, some versions occasionally abort the process at exit.
        table = pq.read_table(content, use_threads=False, pre_buffer=False)
    if drop_constant:
        table = table.drop_columns(_silent(table, info.of("constant"), info.feature_set))
    if to == "arrow":
        return table
    if to == "polars":
        import polars

        return polars.from_arrow(table)
    return table.to_pandas(use_threads=False)


def _silent(table: pa.Table, constant: Sequence[str], known: FeatureSet) -> list[str]:
    """List feature columns with only one value, according to the metadata or the rows."""
    import pyarrow.compute as pc

    silent = []
    for feature in known.names:
        for column in (f"{feature}_{pool}" for pool in known.pools):
            values = table[column].filter(pc.invert(pc.is_nan(table[column])))
            if feature in constant or pc.count_distinct(values).as_py() <= 1:
                silent.append(column)
    return silent
