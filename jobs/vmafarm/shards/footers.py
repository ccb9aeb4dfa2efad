"""What a merge reads, and whether manifest and footers of shards are as they must be."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.common.errors import show
from vmafarm.disk.arrow import numbers
from vmafarm.disk.file_stamp import Stamps
from vmafarm.disk.jsonl import parse_json
from vmafarm.disk.sealed_parquet import (
    DamagedError,
    describe_unsealed,
    explained,
    is_sealed,
    look_at_ends,
    open_sealed,
    read_columns,
    require_rows,
)
from vmafarm.run_folder.manifest import MANIFEST_SCHEMA, load_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import METADATA_KEY, Provenance, differences
from vmafarm.schema.features import ARROW_SCHEMA, COLUMNS
from vmafarm.shards.outline import Outline

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
    check
        Check of sql/qa that shows the rows; empty where there is none.
    """

    name: str
    severity: str
    message: str
    count: int
    check: str = ""


def read_outline(folder: RunFolder) -> tuple[int, set[int], str]:
    """Look at the manifest without reading its names.

    Returns
    -------
    clips : int
        How many there are, at least 1.
    slices : set of int
    digest : str
        As the file states it.

    Raises
    ------
    UsageError
        There is none, or it is damaged.
    """
    try:
        file = open_sealed(folder.manifest)
        stated = parse_json((file.schema.metadata or {})[METADATA_KEY])["manifest"]
        if file.schema.equals(MANIFEST_SCHEMA) and file.rows:
            slices = np.unique(numbers(file.read(["slice"])["slice"]))
            if slices[0] >= 0 and file.rows > slices[-1]:
                return file.rows, set(slices.tolist()), str(stated)
    except (OSError, DamagedError, ValueError, KeyError, TypeError):
        pass
    manifest = load_manifest(folder)  # says what is wrong with it
    return len(manifest.names), set(manifest.slices.tolist()), manifest.digest


def check_footers(
    shards: list[Path], provenance: Provenance, root: Path, stamps: Stamps, most_rows: int
) -> list[Finding]:
    """Check the seal of every shard, and compare schema and provenance with what they must be.

    Parameters
    ----------
    shards
        Files to look at; each is read whole, since its seal is over all of its bytes.
    provenance
        The run's.
    root
        The shards folder, for short names.
    stamps
        Remember the files as they were then.
    most_rows
        Rows that each may have; see `vmafarm.run_folder.manifest.most_rows`.

    Returns
    -------
    list of Finding
        Errors: ``unreadable_shard``, ``schema``, ``provenance``. Whether the file declares its
        columns nullable makes no difference, a null in them does (found by the scan).
    """
    _, bad = sort_shards(shards, provenance, stamps, most_rows)
    return [_finding(name, files, root) for name, files in bad.items() if files]


def sort_shards(
    shards: list[Path], provenance: Provenance, stamps: Stamps, most_rows: int
) -> tuple[list[Path], dict[str, list[tuple[Path, str]]]]:
    """Tell shards that can be read from those that cannot.

    Parameters
    ----------
    shards, provenance, stamps, most_rows
        As for `check_footers`.

    Returns
    -------
    good : list of Path
    bad : dict
        Rule to the files that break it, each with how.
    """
    text, document = provenance.as_json().encode(), provenance.as_dict()
    outline = Outline(ARROW_SCHEMA.with_metadata({METADATA_KEY: text}))

    def check(path: Path) -> tuple[str, str] | None:
        try:
            content = stamps.read(path, look_at_ends)
            sealed = is_sealed(content)
            if sealed and (rows := outline.rows(content)) is not None:  # so are nearly all
                require_rows(rows, most_rows)
                return None
            # What has no seal is looked at to say what it is; none of its rows is ever taken.
            with explained(content), pq.ParquetFile(pa.BufferReader(content)) as file:
                require_rows(file.metadata.num_rows, most_rows)
                problem = schema_differences(file.schema_arrow)
                metadata = file.metadata.metadata
        except (OSError, DamagedError) as error:
            return "unreadable_shard", _reason(error)
        if problem:
            return "schema", "; ".join(problem)
        found = (metadata or {}).get(METADATA_KEY)
        problem = [] if found == text else _provenance_differences(found, document)
        if problem:
            return "provenance", "; ".join(problem)
        return None if sealed else ("unreadable_shard", describe_unsealed(content))

    # On a shared file system each file waits for the network; threads wait side by side.
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = [shards[first::_THREADS] for first in range(_THREADS)]
        problems = dict(
            chain.from_iterable(pool.map(lambda part: [(path, check(path)) for path in part], parts))
        )
    bad = {
        name: [(path, problem[1]) for path in shards if (problem := problems[path]) and problem[0] == name]
        for name in _FOOTER_RULES
    }
    return [path for path in shards if problems[path] is None], bad


_THREADS = 4

_FOOTER_RULES = {
    "unreadable_shard": "shards that are not as their writers left them",
    "schema": f"shards whose columns are not the {len(COLUMNS)} of the schema",
    "provenance": "shards of another engine, plan or manifest than this run's",
}


def schema_differences(found: pa.Schema) -> list[str]:
    """Names, order and types in which a schema differs from `ARROW_SCHEMA`, in words."""
    if found.equals(ARROW_SCHEMA):  # the fast way for the shards as they are written
        return []
    if found.names == list(COLUMNS):
        return [
            f"column {have.name} is {have.type}, expected {want.type}"
            for have, want in zip(found, ARROW_SCHEMA, strict=True)
            if have.type != want.type
        ]
    names = found.names
    problems = [f"column {name} is missing" for name in COLUMNS if name not in names]
    problems += [f"unknown column {show(name)}" for name in names if name not in COLUMNS]
    problems += [f"column {name} is there twice" for name in COLUMNS if names.count(name) > 1]
    if not problems:
        place = next(i for i, name in enumerate(names) if name != COLUMNS[i])
        problems.append(f"column {place + 1} is {names[place]}, expected {COLUMNS[place]}: another order")
    return [*problems[:SHOWN], *([f"{len(problems)} differences in all"] if len(problems) > SHOWN else [])]


def _provenance_differences(found: bytes | None, expected: dict[str, Any]) -> list[str]:
    if found is None:
        return ["no provenance in its metadata"]
    try:
        document = parse_json(found)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return ["the provenance in its metadata is not a JSON object"]
    return differences(document, expected)


def check_data(shards: Iterable[Path], root: Path, most_rows: int) -> list[Finding]:
    """Find the shards that cannot be read, or have been damaged since `check_footers` looked at them.

    Parameters
    ----------
    shards, root, most_rows
        As for `check_footers`.
    """
    bad = find_unreadable(shards, most_rows)
    return [_finding("unreadable_shard", list(bad.items()), root)] if bad else []


def find_unreadable(shards: Iterable[Path], most_rows: int) -> dict[Path, str]:
    """Shards of which not all can be read, with the reason; each is read whole."""
    bad = {}
    for path in shards:
        try:
            read_columns(path, {field.name: field.type for field in ARROW_SCHEMA}, most_rows)
        except (OSError, DamagedError) as error:
            bad[path] = _reason(error)
    return bad


def _finding(name: str, bad: list[tuple[Path, str]], root: Path) -> Finding:
    told = examples(f"{short(path, root)}: {why}" for path, why in bad)
    return Finding(name, "error", f"{_FOOTER_RULES[name]}: {told}. {MOVE_AWAY}", len(bad))


def _reason(error: Exception) -> str:
    return show((isinstance(error, OSError) and error.strerror) or str(error))


def short(path: Path, root: Path) -> str:
    """A shard's path below the shards folder, printable."""
    return show(os.path.relpath(path, root.absolute()))


def examples(texts: Iterable[str], count: int | None = None) -> str:
    """The first few of these texts, and how many more there are (of `count`, if they are not all)."""
    texts = list(texts)
    more = (len(texts) if count is None else count) - SHOWN
    return "; ".join(texts[:SHOWN]) + (f"; and {more:,} more" if more > 0 else "")
