"""The manifest: the clips of a run, immutable once the run is planned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.disk import durable
from vmafarm.disk.arrow import make_table, numbers
from vmafarm.disk.jsonl import parse_json
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import open_regular
from vmafarm.disk.sealed_parquet import MOST_ROWS, DamagedError, SealedFile, open_sealed, write_sealed
from vmafarm.run_folder.corpus_findings import examples, tally
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.provenance import METADATA_KEY

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("clip_name", pa.string(), nullable=False),
        pa.field("mos", pa.float64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("slice", pa.int32(), nullable=False),
    ]
)
"""Schema of manifest.parquet; rows in byte order of clip_name."""
_LEADS_OUT = r"^/|(^|/)\.\.(/|$)"
"""Matches absolute paths and those that leave the clips folder (RE2)."""
_HINT = "restore it from a copy, or plan again under another run.name"


@dataclass(frozen=True, eq=False)
class Manifest:
    """The clips of a run.

    Attributes
    ----------
    names
        Paths below the clips folder, in byte order of their UTF-8.
    mos
        float64, shape (names,); NaN for a clip without a score.
    bytes
        Sizes, int64, shape (names,).
    slices
        Slice numbers, int32, shape (names,), from 0.
    digest
        ``sha256:...`` of names, mos and bytes, but not of slices.
    """

    names: list[str]
    mos: NDArray[np.float64]
    bytes: NDArray[np.int64]
    slices: NDArray[np.int32]
    digest: str

    @property
    def slice_count(self) -> int:
        """Number of slices."""
        return int(self.slices.max()) + 1

    def sizes(self) -> dict[str, int]:
        """Return the size of each clip in bytes, by name."""
        return dict(zip(self.names, self.bytes.tolist(), strict=True))

    def positions(self, slice_id: int) -> NDArray[np.int64]:
        """Return the positions of the clips of one slice, ascending; empty if there is no such slice."""
        order, edges = self._by_slice
        return order[edges[slice_id] : edges[slice_id + 1]] if 0 <= slice_id < len(edges) - 1 else order[:0]

    @cached_property
    def _by_slice(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions ordered by slice, and where each slice begins; one sort for thousands of slices."""
        order = np.argsort(self.slices, kind="stable").astype(np.int64)
        edges = np.searchsorted(self.slices[order], np.arange(self.slice_count + 1)).astype(np.int64)
        return order, edges


def manifest_digest(names: Sequence[str], mos: NDArray[np.float64], sizes: NDArray[np.int64]) -> str:
    """Hash the clips of a run.

    Parameters
    ----------
    names
        In byte order of their UTF-8.
    mos
        float64, shape (names,); all NaN are treated as equal, and so are 0.0 and -0.0.
    sizes
        Bytes, int64, shape (names,).

    Returns
    -------
    str
        ``sha256:`` and 64 digits: the hash of the number of clips, the lengths of the names in bytes
        (int64), the names (UTF-8), mos (float64) and sizes (int64), all little-endian.
    """
    joined = "".join(names)
    in_bytes = map(len, names if joined.isascii() else map(str.encode, names))
    lengths = np.fromiter(in_bytes, "<i8", len(names))
    scores = np.where(np.isnan(mos), np.nan, mos + 0.0).astype("<f8")
    digest = hashlib.sha256(b"vmafarm manifest 1\n%d\n" % len(names))
    for part in (lengths.tobytes(), joined.encode(), scores.tobytes(), sizes.astype("<i8").tobytes()):
        digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def write_manifest(
    folder: RunFolder, manifest: Manifest, configuration: Mapping[str, Any] | None = None
) -> None:
    """Write manifest.parquet atomically, unless it exists. From then on, the run is planned.

    Parameters
    ----------
    folder, manifest
        The run.
    configuration
        What the plan freezes. It is in the same file, so that either both exist or neither. None: do as
        earlier versions did, which had it only in config.toml.

    Raises
    ------
    FileExistsError
        There is a manifest; it was not changed.
    UnavailableError
        The run folder cannot be written.
    """
    document: dict[str, Any] = {"manifest": manifest.digest}
    if configuration is not None:
        document["configuration"] = dict(configuration)
    table = make_table(
        [manifest.names, manifest.mos, manifest.bytes, manifest.slices],
        MANIFEST_SCHEMA.with_metadata({METADATA_KEY: json.dumps(document)}),
    )
    with durable.Draft(folder.manifest) as draft:
        write_sealed(table, cast(BinaryIO, draft))
        draft.publish_first()


def load_manifest(folder: RunFolder, expected: str = "") -> Manifest:
    """Read the manifest of a run and check it against its digest.

    Parameters
    ----------
    folder
        The run.
    expected
        Digest at the time of submission; empty to accept any that matches the content.

    Raises
    ------
    UsageError
        There is none, or the file is not a manifest, or was truncated or changed.
    UnavailableError
        It cannot be read.
    """
    with _opened(folder) as file:
        is_one = file.schema.equals(MANIFEST_SCHEMA)
        table = file.read() if is_one else MANIFEST_SCHEMA.empty_table()
    path = show(str(folder.manifest))
    if not is_one:
        found = ", ".join(f"{show(name)} {kind}" for name, kind in _columns(file.schema))
        expected = ", ".join(f"{name} {kind}" for name, kind in _columns(MANIFEST_SCHEMA))
        raise UsageError(f"{path}: not a manifest: columns {found}; expected {expected}", _HINT)
    names: list[str] = table["clip_name"].to_pylist()
    mos, sizes, slices = (numbers(table[column]) for column in ("mos", "bytes", "slice"))
    digest = manifest_digest(names, mos, sizes)
    if _stated(file.schema).get("manifest") != digest or not names:
        raise UsageError(f"{path}: its content does not match its digest", _HINT)
    if expected not in ("", digest):
        raise UsageError(
            f"{path} is not the manifest of this submission: {digest}, expected {expected}",
            f"find out who wrote it; {_HINT}",
        )
    leads_out = pc.match_substring_regex(table["clip_name"], _LEADS_OUT)
    if (at := pc.index(leads_out, True).as_py()) >= 0:
        raise UsageError(
            f"{path}: {show(names[at])} leads out of the clips folder, expected a path below it",
            f"find out who wrote it; {_HINT}",
        )
    if slices.min() < 0 or slices.max() >= len(names) or sizes.min() < 0:
        raise UsageError(f"{path}: slices and sizes are not those of a plan", _HINT)
    return Manifest(names, mos, sizes, slices, digest)


def read_stated(folder: RunFolder) -> dict[str, Any]:
    """Read the metadata of the manifest of a run.

    Returns
    -------
    dict
        ``manifest``: its digest; ``configuration``: what the plan froze, which earlier versions did not
        write. Empty if the file has no such metadata.

    Raises
    ------
    UsageError
        There is no manifest, or it is damaged.
    UnavailableError
        It cannot be read.
    """
    with _opened(folder) as file:
        return _stated(file.schema)


@contextmanager
def _opened(folder: RunFolder) -> Iterator[SealedFile]:
    path = show(str(folder.manifest))
    try:
        yield open_sealed(folder.manifest)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f'{path}: not there: the run "{folder.name}" is not planned',
            "plan it first: vmafarm plan (or make plan); or choose the run with run.name and run.root",
        ) from None
    except DamagedError as error:
        raise UsageError(f"{path}: not a manifest, or cut: {show(str(error))}", _HINT) from None
    except PermissionError:
        raise denied(folder.manifest) from None
    except OSError as error:
        raise UnavailableError(f"cannot read {path}: {error.strerror or show(str(error))}", _HINT) from None


def most_rows(folder: RunFolder) -> int:
    """Return the most rows that a shard or a clip log of a run may have.

    A writer scores each planned clip at most once. The limit is twice that number, and at least 10,000, so
    that a file with rows of clips that were never planned is still read, and the merge can name them.
    """
    try:
        with open_regular(folder.manifest) as file, pq.ParquetFile(file) as parquet:
            clips: int = parquet.metadata.num_rows
    except (OSError, pa.ArrowException):
        clips = 0  # code that needs the manifest reports what is wrong with it
    return max(10_000, 2 * min(clips, MOST_ROWS))


def _columns(schema: pa.Schema) -> list[tuple[str, str]]:
    return [(field.name, f"{field.type}{'' if field.nullable else ' not null'}") for field in schema]


def _stated(schema: pa.Schema) -> dict[str, Any]:
    try:
        document = parse_json((schema.metadata or {})[METADATA_KEY])
    except (KeyError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def corpus_differences(frozen: Manifest, new: Manifest) -> list[str]:
    """Describe how clips and scores have changed, with counts and the first names.

    Returns
    -------
    list of str
        Lines for the terminal; empty if both have the same digest.
    """
    before = {name: at for at, name in enumerate(frozen.names)}
    now = {name: at for at, name in enumerate(new.names)}
    both = [name for name in new.names if name in before]
    old = np.fromiter(map(before.__getitem__, both), np.int64, len(both))
    at = np.fromiter(map(now.__getitem__, both), np.int64, len(both))
    resized = frozen.bytes[old] != new.bytes[at]
    same_score = (frozen.mos[old] == new.mos[at]) | (np.isnan(frozen.mos[old]) & np.isnan(new.mos[at]))
    kinds = {
        "added": [name for name in new.names if name not in before],
        "removed": [name for name in frozen.names if name not in now],
        "of another size": [both[i] for i in np.flatnonzero(resized)],
        "with another score": [both[i] for i in np.flatnonzero(~same_score)],
    }
    lines = []
    for kind, names in kinds.items():
        if names:
            noun = "clip" if len(names) == 1 else "clips"
            lines += [f"{len(names):,} {noun} {kind}:", examples(tally(names))]
    return lines
