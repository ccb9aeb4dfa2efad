"""Check the files that a merge reads: the manifest, and the footers of all shards."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vmafarm.common.errors import show
from vmafarm.common.steps import step
from vmafarm.disk.file_stamp import Stamps
from vmafarm.disk.jsonl import parse_json
from vmafarm.disk.readable import denied, is_denied
from vmafarm.disk.sealed_parquet import (
    DamagedError,
    describe_unsealed,
    explained,
    is_sealed,
    look_at_ends,
    read_columns,
    require_rows,
)
from vmafarm.run_folder.provenance import METADATA_KEY, Provenance, mixing_differences
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL
from vmafarm.shards.outline import Outline

SHOWN = 5
"""Number of examples in one message."""

MOVE_AWAY = (
    "To get their rows back, move the files out of the shards folder and run the extraction again: "
    "their clips then count as missing and are scored again"
)


@dataclass(frozen=True)
class Finding:
    """One finding of a merge.

    Attributes
    ----------
    name
        Short name of the rule.
    severity
        ``error`` (nothing is published), ``warn`` or ``info``.
    message
        What was found, what was expected, and what to do.
    count
        Number of clips, rows or files.
    check
        Check of sql/qa that shows the rows; empty if there is none.
    """

    name: str
    severity: str
    message: str
    count: int
    check: str = ""


def check_footers(
    shards: list[Path], provenance: Provenance, root: Path, stamps: Stamps, most_rows: int,
    manifests: Collection[str] = (), texts: dict[Path, bytes] | None = None,
) -> list[Finding]:  # fmt: skip
    """Check the seal, schema and provenance of every shard.

    Parameters
    ----------
    shards
        Files to check; each is read completely, since its seal covers all of its bytes.
    provenance
        The expected provenance: that of the run.
    root
        The shards folder, for relative paths in messages.
    stamps
        Records the state in which each file was read.
    most_rows
        The most rows that a shard may have; see `vmafarm.run_folder.manifest.most_rows`.
    manifests
        See `vmafarm.run_folder.provenance.mixing_differences`.
    texts
        Gets the provenance of each shard that can be used, as it stands in its metadata.

    Returns
    -------
    list of Finding
        Errors: ``unreadable_shard``, ``schema``, ``provenance``. Columns may be declared nullable, but may
        not contain nulls (which the scan finds).
    """
    _, bad = sort_shards(shards, provenance, stamps, most_rows, manifests, texts)
    for path in (path for files in bad.values() for path, _ in files):
        if is_denied(path):  # it is not damaged: moving it away would lose its rows
            raise denied(path)
    return [_finding(name, files, root) for name, files in bad.items() if files]


def sort_shards(
    shards: list[Path], provenance: Provenance, stamps: Stamps, most_rows: int,
    manifests: Collection[str] = (), texts: dict[Path, bytes] | None = None,
) -> tuple[list[Path], dict[str, list[tuple[Path, str]]]]:  # fmt: skip
    """Separate the shards that can be used from those that cannot.

    Parameters
    ----------
    shards, provenance, stamps, most_rows, manifests, texts
        As for `check_footers`.

    Returns
    -------
    good : list of Path
    bad : dict
        Maps each rule to the files that break it, with the reason.
    """
    stated, features = {} if texts is None else texts, provenance.feature_set
    # One for each text of a provenance that was found good; nearly all shards have one of a few.
    outlines = {text: _outline(text, features) for text in [provenance.as_json().encode()]}

    begun: list[Path] = []

    def check(path: Path) -> tuple[str, str] | None:
        begun.append(path)
        try:
            content = stamps.read(path, look_at_ends)
            sealed = is_sealed(content)
            if sealed:
                for text, outline in list(outlines.items()):
                    if (rows := outline.rows(content)) is not None:  # true of nearly all shards
                        require_rows(rows, most_rows)
                        stated[path] = text
                        return None
            # A file without a seal is parsed only to say what it is; its rows are never used.
            with explained(content), pq.ParquetFile(pa.BufferReader(content)) as file:
                require_rows(file.metadata.num_rows, most_rows)
                problem = schema_differences(file.schema_arrow, features)
                metadata = file.metadata.metadata
        except (OSError, DamagedError) as error:
            return "unreadable_shard", _reason(error)
        if problem:
            return "schema", "; ".join(problem)
        found: bytes | None = (metadata or {}).get(METADATA_KEY)
        if problem := [] if found in outlines else _provenance_differences(found, provenance, manifests):
            return "provenance", "; ".join(problem)
        if found is not None:
            stated[path] = found
            outlines.setdefault(found, _outline(found, features))
        return None if sealed else ("unreadable_shard", describe_unsealed(content))

    step("reading", "shards", lambda: len(begun), len(shards))
    # On a shared file system every read waits for the network; threads wait in parallel.
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


def _outline(text: bytes, features: FeatureSet) -> Outline:
    return Outline(features.arrow_schema.with_metadata({METADATA_KEY: text}))


_THREADS = 4

_FOOTER_RULES = {
    "unreadable_shard": "shards that are damaged, incomplete or not written by vmafarm",
    "schema": "shards whose columns are not those of the schema",
    "provenance": "shards of another engine or manifest than those of this run",
}


def schema_differences(found: pa.Schema, features: FeatureSet = FULL) -> list[str]:
    """Describe how names, order and types of columns differ from those of a feature set."""
    columns, expected = features.columns, features.arrow_schema
    if found.equals(expected):  # the usual case, and fast
        return []
    if found.names == list(columns):
        return [
            f"column {have.name} is {have.type}, expected {want.type}"
            for have, want in zip(found, expected, strict=True)
            if have.type != want.type
        ]
    names = found.names
    problems = [f"column {name} is missing" for name in columns if name not in names]
    problems += [f"unknown column {show(name)}" for name in names if name not in columns]
    problems += [f"column {name} occurs more than once" for name in columns if names.count(name) > 1]
    if not problems:
        place = next(i for i, name in enumerate(names) if name != columns[i])
        problems.append(f"column {place + 1} is {names[place]}, expected {columns[place]}: the order differs")
    return [*problems[:SHOWN], *([f"{len(problems)} differences in all"] if len(problems) > SHOWN else [])]


def _provenance_differences(
    found: bytes | None, expected: Provenance, manifests: Collection[str]
) -> list[str]:
    if found is None:
        return ["no provenance in its metadata"]
    try:
        document = parse_json(found)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return ["the provenance in its metadata is not a JSON object"]
    return mixing_differences(document, expected, manifests)


def check_data(
    shards: Iterable[Path], root: Path, most_rows: int, features: FeatureSet = FULL
) -> list[Finding]:
    """Find the shards that cannot be read, or were damaged after `check_footers` read them.

    Parameters
    ----------
    shards, root, most_rows
        As for `check_footers`.
    features
        The run's feature set.
    """
    bad = find_unreadable(shards, most_rows, features)
    return [_finding("unreadable_shard", list(bad.items()), root)] if bad else []


def find_unreadable(shards: Iterable[Path], most_rows: int, features: FeatureSet = FULL) -> dict[Path, str]:
    """Read all shards completely; return those that cannot be read, with the reason."""
    bad = {}
    for path in shards:
        try:
            read_columns(path, {field.name: field.type for field in features.arrow_schema}, most_rows)
        except (OSError, DamagedError) as error:
            bad[path] = _reason(error)
    return bad


def _finding(name: str, bad: list[tuple[Path, str]], root: Path) -> Finding:
    shown = examples(f"{short(path, root)}: {why}" for path, why in bad)
    return Finding(name, "error", f"{_FOOTER_RULES[name]}: {shown}. {MOVE_AWAY}", len(bad))


def _reason(error: Exception) -> str:
    return show((isinstance(error, OSError) and error.strerror) or str(error))


def short(path: Path, root: Path) -> str:
    """Return the path of a shard relative to the shards folder, printable."""
    return show(os.path.relpath(path, root.absolute()))


def examples(texts: Iterable[str], count: int | None = None) -> str:
    """Join the first few texts, and say how many more there are; `count` is the total if it is larger."""
    texts = list(texts)
    more = (len(texts) if count is None else count) - SHOWN
    return "; ".join(texts[:SHOWN]) + (f"; and {more:,} more" if more > 0 else "")
