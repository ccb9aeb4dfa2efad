"""A table that lies alone as a database: a combined one, or a copy without its run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from vmafarm.common.errors import IncompleteError, show
from vmafarm.config.sections import Config
from vmafarm.process.scratch import for_databases, scratch_folder
from vmafarm.published.combined import Combined
from vmafarm.published.side_table import CORPUS
from vmafarm.query.reference_tables import add_reference, add_rows
from vmafarm.run_folder.label_columns import NAME, NO_LABELS
from vmafarm.run_folder.manifest_file import MANIFEST_SCHEMA
from vmafarm.run_folder.provenance import feature_set_of
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA
from vmafarm.sql import templates as sql
from vmafarm.sql.errors import is_outside

_ABSENT = {
    "manifest": "a manifest", "clips": "clip logs", "failures": "failures", "failed": "failures",
    "audits": "clip logs", "bad_frames": "clip logs", "labels": "a label file", "conflicts": "a merge",
    "findings": "a merge",
}  # fmt: skip
"""Tables of a run that a table alone does not have, and what they are made of."""


def absent_tables(combined: Combined | None) -> Mapping[str, str]:
    """Tables of the database that hold nothing, and what the checks of them would need; labels among them."""
    if combined is not None and combined.mos_scale:
        return _ABSENT
    return _ABSENT | {"run": "the range of the scores"}


@contextmanager
def open_table(
    config: Config, file: FileIO, names: Sequence[str], combined: Combined | None,
    metadata: Mapping[str, Any], say: Callable[[str], None], labels: pa.Table | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:  # fmt: skip
    """Copy a table into a database with the tables of a run, of which it fills ``features`` and ``labels``.

    Parameters
    ----------
    config
        Limits of DuckDB.
    file
        The open table.
    names
        Of its columns.
    combined
        The tables that it was made of; None: it was not combined.
    metadata
        Its metadata.
    say
        Receives messages on what the rows are called.
    labels
        See `vmafarm.published.side_table.read_side`; None: it has none.

    Yields
    ------
    duckdb.DuckDBPyConnection
        Closed at the end.

    Raises
    ------
    IncompleteError
        The table cannot be read.
    UnavailableError
        Too little memory or disk space.
    """
    added = [one.name for one in combined.added] if combined else []
    added += ["split"] if "split" in metadata else []
    has_corpus = "corpus" in added and {"corpus", "clip_name"} <= set(names)
    columns = [name for name in names if name not in added and not (has_corpus and name == "clip_name")]
    if has_corpus:
        say("features: clip_name is corpus/clip_name")
    with (
        scratch_folder(for_databases(config.extract.scratch)) as scratch,
        sql.connect(scratch / "spill", memory=config.merge.memory) as connection,
    ):
        path = f"/proc/self/fd/{file.fileno()}"
        try:
            query = sql.render("query/lone", has_corpus=has_corpus, columns=columns, file=path)
            connection.execute(query)
        except duckdb.Error as error:
            if is_outside(error):
                raise
            why = show(str(error).partition("\n")[0].replace(path, "the file"))
            raise IncompleteError(
                f"the table cannot be read: {why}", "restore it from a copy, or make it again"
            ) from None
        _add_empty(connection)
        if labels is not None:
            connection.execute("DROP TABLE labels")
            _add(connection, "labels", _as_in_features(labels, has_corpus))
        filled = [name for name, how in metadata["features"].items() if how == "constant"]
        known = feature_set_of(metadata)
        add_reference(connection, filled, _facts(combined, metadata), {}, {}, known)
        yield connection


def _add_empty(connection: duckdb.DuckDBPyConnection) -> None:
    add_rows(connection, "failures", ())
    at = CLIP_LOG_SCHEMA.get_field_index("finished_at")
    clips = CLIP_LOG_SCHEMA.set(at, pa.field("finished_at", pa.timestamp("us"), nullable=False))
    for name, schema in (("manifest", MANIFEST_SCHEMA), ("clips", clips), ("labels", NO_LABELS.schema)):
        _add(connection, name, schema.remove_metadata().empty_table())


def _add(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    connection.register("source", table)
    connection.execute(sql.render("query/arrow", name=name))
    connection.unregister("source")


def _as_in_features(labels: pa.Table, has_corpus: bool) -> pa.Table:
    """The labels with the names that clips have in ``features``."""
    if not has_corpus:
        return labels
    names = pc.binary_join_element_wise(labels[CORPUS], labels[NAME], "/")
    return labels.drop_columns([CORPUS]).set_column(0, NAME, names)


def _facts(combined: Combined | None, metadata: Mapping[str, Any]) -> dict[str, str]:
    facts = {key: str(value) for key, value in metadata.items() if isinstance(value, str | int)}
    if combined is not None and combined.mos_scale:
        low, high = combined.mos_scale
        # The ends are computed, and may be rounded.
        slack = 1e-9 * (high - low)
        facts |= {"mos_min": repr(low - slack), "mos_max": repr(high + slack), "missing_mos": "nan"}
    return facts
