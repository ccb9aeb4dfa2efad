"""The runs that there are in a folder of runs, by the time of their last activity."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from vmafarm.common.errors import show
from vmafarm.disk.jsonl import EARLIEST, LATEST
from vmafarm.run_folder.paths import RunFolder

RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
"""Pattern of the name of a run."""
_SHOWN = 20


@dataclass(frozen=True)
class KnownRun:
    """A planned run.

    Attributes
    ----------
    folder
        Its paths.
    active_at
        When something of it was last planned, scored, submitted or published.
    """

    folder: RunFolder
    active_at: datetime


def known_runs(root: Path) -> list[KnownRun]:
    """List the planned runs of a folder, the most recently active first; what else is there is left out.

    Folders are looked at, not what is in them: a run of thousands of slices takes as long as one of one.

    Parameters
    ----------
    root
        Folder of all runs; it need not exist.

    Raises
    ------
    OSError
        It cannot be read.
    """
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if re.fullmatch(RUN_NAME, entry.name)]
    except FileNotFoundError:
        return []
    folders = (RunFolder(root, name) for name in sorted(names))
    found = [KnownRun(folder, _active_at(folder)) for folder in folders if is_planned(folder)]
    return sorted(found, key=lambda run: run.active_at, reverse=True)


def is_planned(folder: RunFolder) -> bool:
    """Whether a run has a plan; one that this user may not look at has none."""
    try:
        return stat.S_ISREG(replace(folder, sample=0).manifest.stat().st_mode)
    except OSError:
        return False


def tell_names(found: list[KnownRun]) -> str:
    """The names of runs, for a message."""
    more = len(found) - _SHOWN
    names = ", ".join(show(run.folder.name) for run in found[:_SHOWN])
    return f"{names}, and {more:,} more" if more > 0 else names


def _active_at(folder: RunFolder) -> datetime:
    # Writers put files into these folders all the time. The folder of the run itself does not count, nor the
    # record of a merge: vmafarm qa writes there, and who looks at a run does not work on it.
    latest = 0.0
    for path in (
        folder.manifest, folder.provenance, folder.shards, folder.clip_logs, folder.failures, folder.elements,
        folder.submissions, folder.merge_jobs, folder.at_work, folder.table,
    ):  # fmt: skip
        with suppress(OSError):
            latest = max(latest, path.stat().st_mtime)
    return datetime.fromtimestamp(min(max(latest, EARLIEST.timestamp()), LATEST.timestamp()), UTC)
