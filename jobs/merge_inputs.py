"""What a merge finds in the shards folder: files, and whether their footers are as they must be."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs import sql
from jobs.errors import show
from jobs.provenance import METADATA_KEY, Provenance, differences
from jobs.run_folder import RunFolder, slice_folder, slice_id
from jobs.schema import ARROW_SCHEMA, COLUMNS

SHOWN = 5
"""So many examples stand in one message."""

MOVE_AWAY = (
    "To get their rows back, move the files out of the shards folder and run the extraction again: "
    "the clips then count as missing and are done again"
)


@dataclass(frozen=True)
class Finding:
    """One thing that a merge has to say.

    Attributes
    ----------
    name
        Short name of the rule.
    severity
        ``error`` (nothing is published), ``warn`` or ``info``.
    message
        What was found, what was expected, and what to do.
    count
        How many clips, rows or files.
    query
        DuckDB SQL that shows them; empty where there is nothing to show.
    """

    name: str
    severity: str
    message: str
    count: int
    query: str = ""


@dataclass
class Listing:
    """What lies in the shards folder.

    Attributes
    ----------
    shards, journals
        Absolute paths, ordered.
    leftovers
        Temporary files of writers that were killed while writing; they hold nothing that counts.
    wrong
        What may hold rows but is in the wrong place or of the wrong kind, each with the reason.
    strange
        What holds no rows and is not known.
    """

    shards: list[Path] = field(default_factory=list)
    journals: list[Path] = field(default_factory=list)
    leftovers: int = 0
    wrong: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)


def list_shards(folder: RunFolder, slices: Collection[int]) -> Listing:
    """List shards and journals; whatever else lies there is told, not passed over.

    Parameters
    ----------
    folder
        The run.
    slices
        Numbers of the manifest's slices.
    """
    listing = Listing()
    root = Path(os.path.abspath(folder.shards))
    if not root.is_dir():
        return listing
    for entry in sorted(os.scandir(root), key=lambda e: e.name):
        number = slice_id(Path(entry.name))
        if not entry.is_dir():
            kind = listing.wrong if _holds_rows(entry.name) else listing.strange
            kind.append(f"{show(entry.name)}: a file, expected folders of slices alone")
        elif number is None or entry.name != slice_folder(number):
            _refuse(listing, entry, "not the folder of a slice, expected names like slice-00012")
        elif number not in slices:
            _refuse(listing, entry, "the manifest has no such slice")
        else:
            _list_slice(listing, entry)
    return listing


def _list_slice(listing: Listing, folder: os.DirEntry[str]) -> None:
    for entry in sorted(os.scandir(folder.path), key=lambda e: e.name):
        label = f"{folder.name}/{show(entry.name)}"
        if entry.name.endswith(".tmp"):
            listing.leftovers += 1
        elif _holds_rows(entry.name) and not entry.is_file():
            listing.wrong.append(f"{label}: {'a folder' if entry.is_dir() else 'not a file'}, expected a file")
        elif entry.name.endswith(".parquet"):
            listing.shards.append(Path(entry.path))
        elif entry.name.endswith(".journal"):
            listing.journals.append(Path(entry.path))
        elif not entry.name.endswith(".done"):
            listing.strange.append(f"{label}: neither shard, journal nor .done")


def _refuse(listing: Listing, folder: os.DirEntry[str], reason: str) -> None:
    rows = any(_holds_rows(name) for _, _, names in os.walk(folder.path) for name in names)
    (listing.wrong if rows else listing.strange).append(f"{show(folder.name)}: {reason}")


def _holds_rows(name: str) -> bool:
    return name.endswith((".parquet", ".journal"))


def check_footers(shards: list[Path], provenance: Provenance, root: Path) -> list[Finding]:
    """Compare schema and provenance of every shard with what they must be.

    Parameters
    ----------
    shards
        Files to look at; their footers alone are read.
    provenance
        The run's.
    root
        The shards folder, for short names.

    Returns
    -------
    list of Finding
        Errors: ``unreadable_shard``, ``schema``, ``provenance``. Whether the file declares its
        columns nullable makes no difference, a null in them does (found by the scan).
    """
    text, document = provenance.as_json().encode(), provenance.as_dict()

    def check(path: Path) -> tuple[str, str] | None:
        try:
            metadata = pq.read_metadata(path)
            problem = schema_differences(metadata.schema.to_arrow_schema())
        except (OSError, pa.ArrowException) as error:
            return "unreadable_shard", _reason(error, path)
        if problem:
            return "schema", "; ".join(problem)
        found = (metadata.metadata or {}).get(METADATA_KEY)
        problem = [] if found == text else _provenance_differences(found, document)
        return ("provenance", "; ".join(problem)) if problem else None

    # On a shared file system each footer waits for the network; threads wait side by side.
    with ThreadPoolExecutor(8) as pool:
        checked = list(zip(shards, pool.map(check, shards), strict=True))
    findings = []
    for name, (about, what) in _FOOTER_RULES.items():
        bad = [(path, problem[1]) for path, problem in checked if problem and problem[0] == name]
        if bad:
            findings.append(
                Finding(
                    name,
                    "error",
                    f"{what}: {examples(f'{short(path, root)}: {why}' for path, why in bad)}. {MOVE_AWAY}",
                    len(bad),
                    sql.render("merge/files", about=about, files=[sql.exact(path) for path, _ in bad[:SHOWN]]),
                )
            )
    return findings


_FOOTER_RULES = {
    "unreadable_shard": ("size", "shards that cannot be read as Parquet"),
    "schema": ("columns", "shards whose columns are not the 48 of the schema"),
    "provenance": ("metadata", "shards of another engine, plan or manifest than this run's"),
}


def schema_differences(found: pa.Schema) -> list[str]:
    """Names, order and types in which a schema differs from `ARROW_SCHEMA`, in words."""
    if found.names == list(COLUMNS):
        return [
            f"column {have.name} is {have.type}, expected {want.type}"
            for have, want in zip(found, ARROW_SCHEMA, strict=True)
            if have.type != want.type
        ]
    names = found.names
    problems = [f"column {name} is missing" for name in COLUMNS if name not in names]
    problems += [f"unknown column {show(name)}" for name in names if name not in COLUMNS]
    problems += [f"column {name} is there {names.count(name)} times" for name in COLUMNS if names.count(name) > 1]
    if not problems:
        place = next(i for i, name in enumerate(names) if name != COLUMNS[i])
        problems.append(f"column {place + 1} is {names[place]}, expected {COLUMNS[place]}: another order")
    return [*problems[:SHOWN], *([f"{len(problems)} differences in all"] if len(problems) > SHOWN else [])]


def _provenance_differences(found: bytes | None, expected: dict[str, Any]) -> list[str]:
    if found is None:
        return ["no provenance in its metadata"]
    try:
        document = json.loads(found)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return ["the provenance in its metadata is not a JSON object"]
    return differences(document, expected)


def unreadable(shards: Iterable[Path], root: Path) -> list[str]:
    """Find the shards whose data are damaged behind a whole footer: reads them all."""
    bad = []
    for path in shards:
        try:
            with pq.ParquetFile(path) as file:
                file.read()
        except (OSError, pa.ArrowException) as error:
            bad.append(f"{short(path, root)}: {_reason(error, path)}")
    return bad


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    try:
        size = path.stat().st_size
    except OSError:
        size = -1
    why = show(str(error).strip().partition("\n")[0])
    return "empty (0 bytes)" if size == 0 else f"cut or damaged ({size:,} bytes): {why}"


def short(path: Path, root: Path) -> str:
    """A shard's path below the shards folder, printable."""
    return show(os.path.relpath(path, os.path.abspath(root)))


def examples(texts: Iterable[str]) -> str:
    """The first few of these texts, and how many more there are."""
    texts = list(texts)
    more = len(texts) - SHOWN
    return "; ".join(texts[:SHOWN]) + (f"; and {more:,} more" if more > 0 else "")
