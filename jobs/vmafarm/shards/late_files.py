"""Files of ended elements that this machine does not see yet.

An element's record says how many rows it wrote and how many clips failed. On NFS and Lustre the names of
these files may reach another node later than the record does. An element that was killed has recorded no
end, so nothing is known to be late.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from vmafarm.common.errors import show
from vmafarm.common.text import counted
from vmafarm.disk.fresh_names import look_anew
from vmafarm.run_folder.element_records import ElementRecord, read_elements
from vmafarm.run_folder.failures import writer_of
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.shards.writer import DoneReader

WAIT_SECONDS = 90.0
"""An NFS client sees a folder's new names after 60 s at the latest by default (acdirmax, nfs(5)); the rest
is for a server that answers late."""
LOOK_SECONDS = 3.0
"""Between two looks; each one changes the folders."""
_SHOWN = 5


@dataclass(frozen=True)
class LateFiles:
    """What an ended element has written and this machine does not see.

    Attributes
    ----------
    writer, node
        The element, and where it ran.
    rows, recorded
        Rows of this writer that are seen here, and that it has recorded.
    lacks_failures
        Whether its records of failed clips are not seen either.
    slices
        Slices that it worked on.
    """

    writer: str
    node: str
    rows: int
    recorded: int
    lacks_failures: bool
    slices: tuple[int, ...]

    def __str__(self) -> str:
        """For example ``12-0-0-node7-99: 3 of 100 rows``."""
        parts = [f"{self.rows:,} of {counted(self.recorded, 'row')}"] if self.rows < self.recorded else []
        parts += ["no records of its failures"] if self.lacks_failures else []
        return f"{show(self.writer)} on {show(self.node)}: {', '.join(parts)}"


def wait_for_late_files(
    folder: RunFolder, say: Callable[[str], None], seconds: float = WAIT_SECONDS, pause: float = LOOK_SECONDS
) -> None:
    """Wait until all that ended elements have recorded is seen here, for a limited time.

    Returns at once if it is, or if no clip depends on it: each clip of these slices has a row.

    Parameters
    ----------
    folder
        A planned run.
    say
        Called with a line if there is something to wait for, and with what is still not there at the end.
    seconds, pause
        How long to wait, and how long between two looks.

    Raises
    ------
    UsageError, UnavailableError
        The manifest cannot be read.
    """
    manifest = load_manifest(folder)
    reader = DoneReader()
    end = time.monotonic() + seconds
    late = find_late_files(folder, manifest, reader)
    if late:
        say(
            f"files of {counted(len(late), 'element')} are not seen on this node yet: waiting for up to "
            f"{seconds:.0f} s"
        )
    while late and time.monotonic() < end:
        for path in _folders_of(folder, late):
            look_anew(path)
        late = find_late_files(folder, manifest, reader)
        if late:
            time.sleep(min(pause, max(0.0, end - time.monotonic())))
    if late:
        shown = "; ".join(map(str, late[:_SHOWN])) + ("; ..." if len(late) > _SHOWN else "")
        say(
            f"still not seen after {seconds:.0f} s, although {counted(len(late), 'element')} recorded them: "
            f"{shown}"
        )


def find_late_files(folder: RunFolder, manifest: Manifest, reader: DoneReader) -> list[LateFiles]:
    """Find what ended elements have recorded and this machine does not see, by writer.

    Parameters
    ----------
    folder, manifest
        The run.
    reader
        Reads the shards; those that have not changed are not read twice.

    Returns
    -------
    list of LateFiles
        Without elements whose slices have a row of each clip, whoever wrote it.
    """
    failures = set(map(writer_of, _names_in(folder.failures)))
    late = [
        found
        for record in read_elements(folder)
        if (found := _late_of(record, folder, failures, reader)) is not None
    ]
    suspects = {number for one in late for number in one.slices if number < manifest.slice_count}
    done = reader.read(folder, suspects)
    with_gaps = {
        number
        for number in suspects
        if any(manifest.names[at] not in done for at in manifest.positions(number))
    }
    return [one for one in late if with_gaps.intersection(one.slices)]


def _late_of(
    record: ElementRecord, folder: RunFolder, failures: set[str], reader: DoneReader
) -> LateFiles | None:
    if not record.ended_at:
        return None
    lacks_failures = bool(sum(record.failed.values())) and record.writer not in failures
    rows = reader.count(folder, record.slices, record.writer, record.done)
    if rows >= record.done and not lacks_failures:
        return None
    return LateFiles(record.writer, record.node, rows, record.done, lacks_failures, record.slices)


def _folders_of(folder: RunFolder, late: Iterable[LateFiles]) -> set[Path]:
    numbers = {number for one in late for number in one.slices}
    of_slices = map(folder.shard_folder, numbers)
    return {folder.path, folder.shards, folder.clip_logs, folder.elements, folder.failures, *of_slices}


def _names_in(folder: Path) -> set[str]:
    # By its listing: a name that was asked for may be seen earlier than in the listing, which the merge uses.
    try:
        return set(os.listdir(folder))  # noqa: PTH208
    except FileNotFoundError:
        return set()
