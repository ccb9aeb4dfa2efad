"""A run as a database file: features, clips, failures, labels, manifest, and `query.reference_tables`.

Why a file with tables: views on Parquet need access to files, and DuckDB that may read files may also
write them. A database that is opened read-only, without access to files and with locked settings, is safe.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from vmafarm.common.errors import UnavailableError, UsageError, VmafarmError, show
from vmafarm.common.steps import step, working
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.corpus.planned_set import shown_set
from vmafarm.disk.file_stamp import Stamps
from vmafarm.disk.readable import is_denied, tell_denied_in, tell_first
from vmafarm.disk.regular_files import freeing_readers
from vmafarm.process.scratch import for_databases, scratch_folder
from vmafarm.published.in_place import InPlace
from vmafarm.published.merge_record import read_merge_record
from vmafarm.published.table import reading_table
from vmafarm.query.clips_table import add_clips
from vmafarm.query.frames_view import readable_frames
from vmafarm.query.kept import describe_sources, take_kept
from vmafarm.query.kept import keep as keep_copy
from vmafarm.query.reference_tables import add_facts, add_rows
from vmafarm.run_folder.label_columns import NO_LABELS, read_labels
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import read_provenance
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA
from vmafarm.shards.completeness import read_history
from vmafarm.shards.footers import examples, find_unreadable, short, sort_shards
from vmafarm.shards.listing import list_shards
from vmafarm.shards.planned import Outline, read_outline
from vmafarm.shards.planned_rows import add_planned
from vmafarm.shards.recovery import recover
from vmafarm.sql import templates as sql
from vmafarm.sql.errors import is_outside

_WITHOUT_CLIPS = frozenset(
    {"features", "manifest", "failures", "labels", "columns", "run", "failed", "feature_values", "frames"}
)
"""Tables that are not made of ``clips``."""


@contextmanager
def open_run(
    config: Config, say: Callable[[str], None], *, unsafe: bool = False, keep: InPlace | None = None,
    refused: bool = False, tables: Collection[str] = (),
) -> Iterator[duckdb.DuckDBPyConnection]:  # fmt: skip
    """Open a run as a database for queries: a copy of the kept one if that is up to date, else of the run.

    Parameters
    ----------
    config
        The configuration of a planned run.
    say
        Receives messages on where the rows come from and what was left out.
    unsafe
        Let queries write to the database, and read and write files. It is still a copy.
    keep
        Keep a new copy as ``runs/<run>/qa.duckdb`` for other clients and later queries, if that can be
        written and this is still the published table; None: do not keep it.
    refused
        If the last merge was refused, take its rows from the shards, not from an earlier table.
    tables
        All that is going to be read, in lower case; empty: any. Unless it needs them, clip logs are not read,
        which takes a third of the time for a run that is going on; ``clips`` is then empty.

    Yields
    ------
    duckdb.DuckDBPyConnection
        Closed at the end, and the copy removed.

    Raises
    ------
    UsageError
        The run is not planned, is damaged, or keeps no frames, which are to be read.
    IncompleteError
        Its table, or the frames that are to be read, are not those that were published.
    UnavailableError
        Too little memory or disk space.
    SupersededError
        Another table was published while this one was copied; only with `keep`.
    """
    folder, memory = config.folder, config.merge.memory
    outline = read_outline(folder)  # raises if the manifest is damaged
    made_from = describe_sources(config) if keep else ""
    with (
        scratch_folder(for_databases(config.extract.scratch)) as scratch,
        readable_frames(config, tables, say) as frames,
    ):
        file, spill = scratch / "run.duckdb", scratch / "spill"
        if not (is_kept := take_kept(config, file)):
            lacks_clips = bool(tables) and _WITHOUT_CLIPS.issuperset(tables)
            given = (config, outline, scratch, file, say, keep, made_from * frames.are_whole())
            _copy(*given, refused=refused, lacks_clips=lacks_clips)
        with sql.connect(
            spill, memory=memory, database=file, read_only=not unsafe, locked=not unsafe, readable=frames.path
        ) as connection:
            if is_kept:
                _tell_table(connection, folder, say)
            frames.add_views(connection)
            yield connection


@working("")
def _copy(
    config: Config, outline: Outline, scratch: Path, file: Path, say: Callable[[str], None],
    place: InPlace | None, made_from: str, *, refused: bool, lacks_clips: bool,
) -> None:  # fmt: skip
    """Copy a run into a database; see `open_run`."""
    folder, notes = config.folder, 0

    def tell(line: str) -> None:
        nonlocal notes
        notes += 1
        say(line)

    step("copying the run")
    try:
        with (
            sql.connect(scratch / "spill", memory=config.merge.memory, database=file) as connection,
            freeing_readers(folder.path),
        ):
            _fill(connection, config, outline, scratch, tell, place, refused=refused, lacks_clips=lacks_clips)
            # Closing does this too, but silently loses rows on a full disk.
            connection.execute("CHECKPOINT")
    except duckdb.Error as error:
        raise UnavailableError(
            f'"{folder.name}" cannot be copied for queries: {show(str(error).partition(chr(10))[0])}',
            "raise merge.memory, or choose another extract.scratch",
        ) from None
    if place and not lacks_clips and os.access(folder.path, os.W_OK, effective_ids=True):
        # The only note is then that the rows are those of the table: nothing was left out.
        keep_copy(config, file, place, made_from if notes == 1 else "")


def _fill(
    connection: duckdb.DuckDBPyConnection, config: Config, outline: Outline, scratch: Path,
    say: Callable[[str], None], keep: InPlace | None, *, refused: bool, lacks_clips: bool,
) -> None:  # fmt: skip
    folder = config.folder
    record = _read_record(folder)
    manifest = {"files": [sql.exact(folder.manifest)]}
    files = sql.Parameter("files")
    connection.execute(sql.render("query/parquet", name="manifest", files=files), manifest)
    history = read_history(folder, config)
    if denied := tell_denied_in(folder.failures, has_unread=bool(history.unread.count)):
        say(f"failures: {denied}")
    elif history.unread.count:
        say(f"failures: {counted(history.unread.count, 'record')} left out: damaged")
    add_rows(connection, "failures", (failure.as_dict() for failure in history.records))
    refused = refused and bool(record) and not record["published"]
    if folder.table.exists() and refused:
        say(f"features: the last merge was refused; {show(str(folder.table))} is of an earlier one")
    if folder.table.exists() and not refused:
        with reading_table(folder, say, keep) as table:
            connection.execute(sql.render("query/parquet", name="features", files=files), {"files": [table]})
        _tell_table(connection, folder, say)
        if record.get("metadata", {}).get("manifest", outline.plan_digest) != outline.plan_digest:
            say(f"features: the run was planned again since: vmafarm merge --run {folder.name}")
    else:
        _add_shards(connection, folder, outline, scratch, say)
    if lacks_clips:
        _add(connection, "clips", pa.Table.from_batches([], CLIP_LOG_SCHEMA))
    else:
        add_clips(connection, folder, outline.slices, say)
    add_labels(connection, folder, say)
    add_facts(connection, config, history.sort_out(_without_row(connection)).failed, record)


def _tell_table(connection: duckdb.DuckDBPyConnection, folder: RunFolder, say: Callable[[str], None]) -> None:
    counts = sql.one_row(connection, sql.render("query/lacking"))
    lacking = f", without {counts['lacking']:,} of {counted(counts['clips'], 'clip')}" * bool(
        counts["lacking"]
    )
    say(f"features: the final table, {show(str(folder.table))}{lacking}")


def _read_record(folder: RunFolder) -> dict[str, Any]:
    try:
        return read_merge_record(folder.merge_record)
    except UsageError:  # status reports it
        return {}


def _without_row(connection: duckdb.DuckDBPyConnection) -> list[str]:
    try:
        found = connection.execute("SELECT clip_name FROM manifest ANTI JOIN features USING (clip_name)")
    except duckdb.BinderException:  # a table without names, which the check of the schema reports
        found = connection.execute("SELECT clip_name FROM manifest")
    return [name for (name,) in found.fetchall()]


def add_labels(connection: duckdb.DuckDBPyConnection, folder: RunFolder, say: Callable[[str], None]) -> None:
    """Make the table ``labels``: what the label file says about each clip besides its score."""
    try:
        labels = read_labels(folder)
    except VmafarmError as error:
        say(f"labels: left out: {error.message}")
        labels = NO_LABELS
    _add(connection, "labels", labels)


def _add(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    connection.register("source", rows)
    connection.execute(sql.render("query/arrow", name=name))
    connection.unregister("source")


def _add_shards(
    connection: duckdb.DuckDBPyConnection, folder: RunFolder, outline: Outline, scratch: Path,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    listing, provenance = list_shards(folder, outline.slices), read_provenance(folder.provenance)
    most = most_rows(folder)
    if provenance is None:
        if listing.shards or listing.journals:
            say(f"features: {show(str(folder.provenance))} is not there, so no shard is read")
        _add(connection, "features", pa.Table.from_batches([], shown_set(folder).arrow_schema))
        return
    recovered = recover(listing.journals, scratch, provenance, folder.shards, most, outline.digests)
    if listing.journals:  # a writer may have ended meanwhile
        listing = list_shards(folder, outline.slices)
    broken: list[tuple[Path, str]] = []
    for _ in range(_ATTEMPTS):
        stamps = Stamps()
        good, bad = sort_shards(listing.shards, provenance, stamps, most, outline.digests)
        try:
            files = {path: path for path in good} | recovered.files
            extra = _scan_shards(connection, folder, files, provenance.feature_set)
        except duckdb.Error as error:
            if is_outside(error):
                raise
            if not stamps.changed():
                unreadable = find_unreadable(good, most, provenance.feature_set)
                if not unreadable:
                    raise
                broken += unreadable.items()
                listing.shards = [path for path in listing.shards if path not in unreadable]
                continue
        if not stamps.changed():
            break
    else:
        raise UnavailableError(
            f'elements of "{folder.name}" put new shards in place faster than they can be read',
            "run the query again a little later",
        )
    refused = {path for files in bad.values() for path, _ in files if is_denied(path)}
    if refused:
        say(f"features: {tell_first(sorted(refused))}")
    left_out = [
        f"{short(path, folder.shards)}: {why}"
        for files in (*bad.values(), broken)
        for path, why in files
        if path not in refused
    ]
    left_out += [finding.message for finding in recovered.findings] + listing.wrong
    if left_out:
        say(f"features: left out: {examples(left_out)}")
    if not good and not recovered.files:
        return
    more = f"; of clips with several rows one is taken, {extra:,} are left out" if extra else ""
    say(f"features: {counted(len(good), 'shard')}, not merged yet{more}")


_ATTEMPTS = 5
"""A running element may replace the shard that is being read with a longer one."""


def _scan_shards(
    connection: duckdb.DuckDBPyConnection, folder: RunFolder, files: Mapping[Path, Path], known: FeatureSet
) -> int:
    """Create the table features; return the number of extra rows that are left out."""
    connection.execute("DROP TABLE IF EXISTS features")
    if not files:
        _add(connection, "features", pa.Table.from_batches([], known.arrow_schema))
        return 0
    planned = add_planned(connection, folder, {str(path): shard for path, shard in files.items()})
    shards = sql.render("merge/shards", files=sql.Parameter("files"), planned=planned)
    features = sql.render("query/features", columns=known.columns, shards=shards)
    connection.execute(features, {"files": [sql.exact(path) for path in files]})
    repeated = sql.render("query/repeated", rows=sql.identifier("features"))
    extra: int = sql.one_row(connection, repeated)["extra"]
    if extra:
        connection.execute(sql.render("query/once", columns=known.columns))
    return extra
