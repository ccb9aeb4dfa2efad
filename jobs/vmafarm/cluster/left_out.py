"""Notes on files of a run that a status leaves out: damaged, or not readable for this user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vmafarm.common.errors import show
from vmafarm.common.text import counted
from vmafarm.disk.readable import tell_denied, tell_denied_in, tell_first
from vmafarm.run_folder.paths import RunFolder

_SHOWN = 5


def tell_left_out(
    folder: RunFolder, files: Mapping[Path, str], failures: int = 0, elements: int = 0
) -> list[str]:
    """Notes on what cannot be read, or is not what vmafarm writes.

    Parameters
    ----------
    folder
        The run.
    files
        Shards, journals and clip logs, with the reason.
    failures, elements
        Number of records of failures, and of files of elements' records, that were left out.

    Returns
    -------
    list of str
        The first path that this user has no permission to read is named with its owner.
    """
    refused = [path for path in sorted(files) if tell_denied(path)]
    told = [
        f"{show(str(path.relative_to(folder.path)))}: {files[path]}"
        for path in sorted(files.keys() - set(refused))
    ]
    more = f"; and {len(told) - _SHOWN:,} more" if len(told) > _SHOWN else ""
    notes = [f"left out: {'; '.join(told[:_SHOWN])}{more}"] if told else []
    notes += [tell_first(refused)] if refused else []
    for path in (folder.broken_nodes, folder.merge_jobs, folder.shards, folder.clip_logs):
        # Reading them takes a folder that cannot be listed for an empty one.
        notes += filter(None, [tell_denied(path)])
    for count, what, path in (
        (failures, "record", folder.failures), (elements, "file", folder.elements),
    ):  # fmt: skip
        if denied := tell_denied_in(path, has_unread=bool(count)):
            notes.append(denied)
        elif count:
            notes.append(f"left out of {path.name}: {counted(count, what)}, damaged")
    return notes
