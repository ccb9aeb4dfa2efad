"""The content of the files that were scored, by the clip logs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

from vmafarm.disk.sealed_parquet import DamagedError
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.paths import RunFolder
from vmafarm.shards.clip_log import list_clip_logs, read_clip_log
from vmafarm.shards.journal import read_journals
from vmafarm.shards.listing import list_shards
from vmafarm.shards.planned import read_outline, read_places


def read_contents(folder: RunFolder, *, ever: bool = False) -> Mapping[str, Collection[str]]:
    """The SHA-256 of the file of each clip that was scored; of several tries all of them.

    Parameters
    ----------
    folder
        The run.
    ever
        Also of clips as they were before the newest plan: a table may have been made before it.
    """
    places = None if ever else read_places(folder)
    found: dict[str, set[str]] = {}
    for name, number, digest in _entries(folder):
        if digest and (places is None or places.get(name) == number):
            found.setdefault(name, set()).add(digest)
    return found


def _entries(folder: RunFolder) -> Iterator[tuple[str, int, str]]:
    """Clip name, slice and digest of each entry of the clip logs and journals."""
    for _, journal in read_journals(list_shards(folder, read_outline(folder).slices).journals):
        yield from ((entry["clip_name"], entry["slice"], entry["sha256"]) for _, entry in journal.rows)
    most = most_rows(folder)
    for path in list_clip_logs(folder)[0]:
        with suppress(OSError, DamagedError):  # the merge names it
            log = read_clip_log(path, most, ("clip_name", "slice", "sha256"))
            yield from zip(*(log[name].to_pylist() for name in log.column_names), strict=True)
