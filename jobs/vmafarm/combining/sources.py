"""The tables that are combined: found by name, opened once, and held to their records."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import pyarrow as pa

from vmafarm.combining.options import require_label
from vmafarm.common.errors import IncompleteError, UsageError, reason, show
from vmafarm.disk.arrow import make_table
from vmafarm.disk.file_stamp import Stamp
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import open_regular
from vmafarm.published.frames_table import refuse_frames
from vmafarm.published.merge_record import read_merge_record
from vmafarm.published.table import CHANGED
from vmafarm.published.up_to_date import digest_open
from vmafarm.report.info import Info, describe
from vmafarm.run_folder.paths import RunFolder, run_of_table
from vmafarm.shards.planned import read_outline
from vmafarm.shards.scored_contents import read_contents

HINT = "name a table, runs/full_features_<run>.parquet, or a run under run.root that has one"
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

HASHES = pa.schema([pa.field("clip_name", pa.string()), pa.field("sha256", pa.string())])
"""What `read_hashes` returns."""


@dataclass(frozen=True)
class Source:
    """An open table.

    Attributes
    ----------
    given
        As the user named it.
    path
        The file.
    corpus
        Its label.
    file
        The open file; it stays the same one if another takes its place.
    sha256
        Of its bytes.
    stamp
        When it was read.
    info
        What it says of itself; None: it is not a table of vmafarm.
    """

    given: str
    path: Path
    corpus: str
    file: FileIO
    sha256: str
    stamp: Stamp
    info: Info | None

    @property
    def scanned(self) -> str:
        """A path to the open file, for DuckDB."""
        return f"/proc/self/fd/{self.file.fileno()}"

    @property
    def run(self) -> RunFolder | None:
        """The run beside its table; None: it lies alone."""
        name = run_of_table(self.path.name)
        folder = RunFolder(self.path.parent, name) if name else None
        return folder if folder and folder.path.is_dir() else None

    def require_unchanged(self) -> None:
        """Raise IncompleteError if it was written to since it was opened."""
        if Stamp.of(os.fstat(self.file.fileno())).of_content() != self.stamp:
            raise IncompleteError(
                f"{show(str(self.path))} was written to while it was read", "run the same command again"
            )


def open_sources(
    stack: ExitStack, given: Sequence[str], root: Path, names: Mapping[str, str], *, columns: bool
) -> list[Source]:
    """Find and open the tables.

    Parameters
    ----------
    stack
        Closes them.
    given
        Paths of tables, or names of runs.
    root
        Folder of all runs.
    names
        A source as it is given to its label.
    columns
        All but the first may be files of another program.

    Raises
    ------
    UsageError
        One is no table, is one of frames, or is there twice.
    IncompleteError
        One is not the table that its record describes.
    UnavailableError
        This user has no permission to read it.
    """
    if not given:
        raise UsageError("no table is given", HINT)
    if columns and len(given) < 2:
        raise UsageError("one table is given, and --columns needs another one beside it", HINT)
    if unknown := sorted(set(names) - set(given)):
        raise UsageError(
            f"--name {show(unknown[0])}: no such table is given", "name it as it stands in the command"
        )
    found: list[Source] = []
    for at, one in enumerate(given):
        path = _find(one, root)
        source = _open(stack, one, path, _label(one, path, names), ours=not (columns and at))
        for other in found:
            if os.path.sameopenfile(source.file.fileno(), other.file.fileno()):
                raise UsageError(
                    f"{show(one)} and {show(other.given)} are the same file", "name each table once"
                )
            if other.sha256 == source.sha256:
                raise UsageError(
                    f"{show(one)} and {show(other.given)} have the same bytes", "name each table once"
                )
        found.append(source)
    return found


def _find(given: str, root: Path) -> Path:
    path = Path(given)
    if os.path.lexists(path) and not path.is_dir():
        return path
    if _RUN.fullmatch(given):
        folder = RunFolder(root, given)
        if os.path.lexists(folder.table):
            return folder.table
        if folder.path.is_dir():
            raise UsageError(
                f"the run {show(given)} has no published table: {show(str(folder.table))} is not there",
                f"publish it: vmafarm merge --run {show(given)}",
            )
    if path.is_dir():
        raise UsageError(f"{show(given)} is a folder, expected a table", HINT)
    raise UsageError(f"{show(given)} is not there, neither a file nor a run under {show(str(root))}", HINT)


def _label(given: str, path: Path, names: Mapping[str, str]) -> str:
    label = names.get(given) or run_of_table(path.name) or path.stem
    require_label(label)
    return label


def _open(stack: ExitStack, given: str, path: Path, corpus: str, *, ours: bool) -> Source:
    try:
        file = stack.enter_context(open_regular(path, None))
        stamp = Stamp.of(os.fstat(file.fileno())).of_content()
        digest = digest_open(file)
        is_parquet = os.pread(file.fileno(), 4, 0) == b"PAR1"
    except PermissionError:
        raise denied(path) from None
    except OSError as error:
        raise UsageError(f"{show(given)} cannot be read: {reason(error)}", HINT) from None
    stated = read_merge_record(path.with_suffix(".merge.json")).get("table_sha256")
    if stated and stated != digest:
        raise IncompleteError(
            f"{show(str(path))} was changed since it was published, or its merge was stopped: {CHANGED}",
            "if a merge is at work, ask again when it has ended; else restore the table from a copy, or run "
            "vmafarm merge again",
        )
    if not ours and not is_parquet:
        return Source(given, path, corpus, file, digest, stamp, None)
    try:
        info = describe(path, file)
    except UsageError as error:
        if not ours and "is not a file of vmafarm" in error.message:
            return Source(given, path, corpus, file, digest, stamp, None)
        raise UsageError(error.message, HINT) from None
    refuse_frames(path, info.metadata)
    return Source(given, path, corpus, file, digest, stamp, info)


def read_hashes(folder: RunFolder | None, manifest: str | None = None) -> pa.Table:
    """Read the SHA-256 of the clips of a run from its clip logs.

    Parameters
    ----------
    folder
        The run; None: nothing is known of the clips.
    manifest
        Digest of the plan that the table was made of, which may not be the newest. If it is of another run,
        nothing is known. None: not stated.

    Returns
    -------
    pyarrow.Table
        Columns ``clip_name`` and ``sha256``, in hexadecimal digits. A clip may be there several times, or not
        at all.
    """
    if folder is None or not folder.manifest.exists():
        return HASHES.empty_table()
    if manifest is not None and manifest not in read_outline(folder).digests:
        return HASHES.empty_table()
    contents = read_contents(folder, ever=True)
    found = [(name, digest) for name, several in contents.items() for digest in sorted(several)]
    return make_table([[name for name, _ in found], [digest for _, digest in found]], HASHES)
