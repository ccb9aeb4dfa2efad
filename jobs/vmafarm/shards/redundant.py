"""Journals and shards that nothing needs any more: all they hold stands in others, which stay."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vmafarm.common.errors import reason
from vmafarm.disk.arrow import make_table, numbers
from vmafarm.disk.file_stamp import Stamp, Stamps
from vmafarm.disk.sealed_parquet import DamagedError, read_columns
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import Provenance, mixing_differences
from vmafarm.shards.clip_log import clip_log_of, read_clip_log
from vmafarm.shards.footers import short, sort_shards
from vmafarm.shards.journal import Journal, read_journals
from vmafarm.shards.listing import Listing

_Key = tuple[str, str]
"""Folder of the slice and clip name: rows of one clip in two slices do not stand for each other."""
_Rows = list[tuple[_Key, bytes]]
"""Key and fingerprint of each row."""


@dataclass
class Redundant:
    """What nothing needs any more.

    Attributes
    ----------
    journals, shards
        Files, each in the state in which it was read.
    kept
        Files that cannot be judged, with the reason.
    """

    journals: dict[Path, Stamp] = field(default_factory=dict)
    shards: dict[Path, Stamp] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)


def find_redundant(
    folder: RunFolder, listing: Listing, provenance: Provenance, most_rows: int,
    manifests: Collection[str] = (),
) -> Redundant:  # fmt: skip
    """Find the journals and shards of a run whose removal changes no answer of any verb.

    A journal is redundant if each of its rows also stands in a shard, and each of its log entries in the clip
    log of its writer. A shard is redundant if each of its rows also stands, bit for bit, in a shard that
    stays. Only shards with a sound seal and the provenance of the run count. If any two rows of a clip
    differ, everything with a row of that clip stays: which of them a merge takes may depend on all.

    Parameters
    ----------
    folder
        The run; nobody writes rows of it.
    listing
        What lies in its shards folder.
    provenance
        The run's.
    most_rows
        See `vmafarm.run_folder.manifest.most_rows`.
    manifests
        See `vmafarm.run_folder.provenance.mixing_differences`.
    """
    found = Redundant()
    stamps = Stamps()
    good, bad = sort_shards(listing.shards, provenance, stamps, most_rows, manifests)
    found.kept += [f"{short(path, folder.shards)}: {why}" for files in bad.values() for path, why in files]
    # Taken before the journals are read: one that grows meanwhile is not the one that was read.
    written = {path: Stamp.now(path) for path in listing.journals}
    journals = dict(read_journals(listing.journals))
    names = _read_names(folder, good, most_rows, found.kept)
    schema = provenance.feature_set.arrow_schema
    rows, doubted = _read_repeated(names, journals, schema, most_rows)

    values: dict[_Key, set[bytes]] = defaultdict(set)
    plain: dict[_Key, set[bytes]] = defaultdict(set)  # NaN is NaN: a journal does not say which one
    for exact, loose in rows.values():
        for (name, value), (_, same) in zip(exact, loose, strict=True):
            values[name].add(value)
            plain[name].add(same)
    in_shards = set(plain)
    # Rows of another feature set have other columns; their journal is told below.
    ours = {
        path: [] if one.rows and list(one.rows[0][0]) != schema.names else one.rows
        for path, one in journals.items()
    }
    logged = {path: _fingerprints(found_rows, path, schema) for path, found_rows in ours.items()}
    for name, value in (row for found_rows in logged.values() for row in found_rows):
        plain[name].add(value)
    agreed = {name for name in in_shards - doubted if len(values[name]) == len(plain[name]) == 1}

    for path, journal in journals.items():
        stamp = written[path]
        if why := journal.wrong or _foreign(journal, provenance, manifests):
            found.kept.append(f"{short(path, folder.shards)}: {why}")
        elif (
            stamp
            and agreed.issuperset(name for name, _ in logged[path])
            and _is_logged(folder, path, journal, most_rows)
        ):
            found.journals[path] = stamp
    stays = {path.with_suffix(".parquet") for path in listing.journals if path not in found.journals}
    holders = Counter(name for exact, _ in rows.values() for name in {name for name, _ in exact})
    for path in sorted(rows, key=lambda path: (len(names[path]), path)):  # the largest stays
        own = {name for name, _ in rows[path][0]}
        stamp = stamps.of(path)
        if stamp and path not in stays and own <= agreed and all(holders[name] > 1 for name in own):
            found.shards[path] = stamp
            holders.subtract(own)
    return found


def _read_names(
    folder: RunFolder, shards: Iterable[Path], most_rows: int, kept: list[str]
) -> dict[Path, list[_Key]]:
    """Keys of the rows in each shard."""
    names = {}
    for path in shards:
        try:
            table = read_columns(path, {"clip_name": pa.string()}, most_rows)
            found = table["clip_name"].to_pylist()
            names[path] = [(path.parent.name, name) for name in found if name is not None]
        except (OSError, DamagedError) as error:
            kept.append(f"{short(path, folder.shards)}: {reason(error)}")
    return names


def _read_repeated(
    names: Mapping[Path, list[_Key]], journals: Mapping[Path, Journal], schema: pa.Schema, most_rows: int
) -> tuple[dict[Path, tuple[_Rows, _Rows]], set[_Key]]:
    """Rows, exact and with one NaN, of the shards that share a clip with another file: usually few.

    And the keys of the rows in those that have become unreadable since their seal was checked.
    """
    counts = Counter(name for found in names.values() for name in set(found))
    for path, journal in journals.items():
        counts.update({(path.parent.name, row["clip_name"]) for row, _ in journal.rows})
    rows: dict[Path, tuple[_Rows, _Rows]] = {}
    doubted: set[_Key] = set()
    for path, found in names.items():
        if any(counts[name] > 1 for name in found):
            try:
                table = read_columns(path, {field.name: field.type for field in schema}, most_rows)
                rows[path] = _of_table(table, path), _of_table(table, path, one_nan=True)
            except (OSError, DamagedError, ValueError):
                doubted.update(found)
    return rows, doubted


def _fingerprints(rows: Sequence[tuple[Mapping[str, Any], Any]], path: Path, schema: pa.Schema) -> _Rows:
    columns = [[row[name] for row, _ in rows] for name in schema.names]
    return _of_table(make_table(columns, schema), path, one_nan=True)


def _of_table(table: pa.Table, path: Path, *, one_nan: bool = False) -> _Rows:
    """Fingerprint of each row: equal ones have equal bits, or with `one_nan` NaN where the other has NaN.

    Raises
    ------
    ValueError
        It has nulls.
    """
    if any(column.null_count for column in table.columns):
        raise ValueError("nulls")
    columns = [numbers(table[name]) for name in table.schema.names if name != "clip_name"]
    bits = np.empty((table.num_rows, len(columns)), np.uint64)
    for at, column in enumerate(columns):
        if column.dtype == np.float64:
            bits[:, at] = (np.where(np.isnan(column), np.nan, column) if one_nan else column).view(np.uint64)
        else:
            bits[:, at] = column.astype(np.int64).view(np.uint64)
    values = (hashlib.sha256(row.tobytes()).digest() for row in bits)
    keys = ((path.parent.name, name) for name in table["clip_name"].to_pylist())
    return list(zip(keys, values, strict=True))


def _foreign(journal: Journal, provenance: Provenance, manifests: Collection[str]) -> str:
    """What is wrong with the provenance of a journal; empty if nothing is."""
    if journal.provenance is None:  # its writer was killed before that line was whole, if it has no rows
        return "the line with its provenance is damaged" if journal.rows else ""
    if different := mixing_differences(journal.provenance, provenance, manifests):
        return f"another provenance than the run's: {'; '.join(different)}"
    return ""


def _is_logged(folder: RunFolder, path: Path, journal: Journal, most_rows: int) -> bool:
    """Whether the clip log of the journal's writer has all entries of the journal."""
    if not journal.rows:
        return True
    try:
        entries = read_clip_log(clip_log_of(folder, path), most_rows).to_pylist()
    except (OSError, DamagedError):
        return False
    known = {entry["clip_name"]: _comparable(entry) for entry in entries}
    return all(known.get(entry["clip_name"]) == _comparable(entry) for _, entry in journal.rows)


def _comparable(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The same with None for NaN, which does not equal itself."""
    return {name: None if value != value else value for name, value in entry.items()}
