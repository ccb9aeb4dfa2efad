"""Logs and scripts of jobs that have ended, packed into one archive in the private folder of logs."""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from gzip import GzipFile
from pathlib import Path
from typing import BinaryIO, cast

from vmafarm.common.errors import reason, show
from vmafarm.disk.durable import Draft
from vmafarm.disk.file_stamp import Stamp
from vmafarm.disk.held_folder import HeldFolder
from vmafarm.process.job_ids import JOB_ID
from vmafarm.run_folder.paths import RunFolder

_JOB = JOB_ID.strip("^$")
_LOG = re.compile(
    rf"{_JOB}(_\d+)?_\d+_log\.(out|err)"  # what a task printed
    rf"|{_JOB}_submission\.sh"  # the script of a job, for people
    r"|element-\d{5,}\.sh"  # what starts elements
    r"|(elements|merge)-[0-9a-f]{12}\.json"  # the work of a job
    r"|[0-9a-f]{8}-\d+\.result\.json"  # of an element on one machine
)
_ARCHIVE = re.compile(r"packed-\d{5}\.tar\.gz")


def is_packed(name: str) -> bool:
    """Whether a file in the folder of logs has the name of an archive."""
    return _ARCHIVE.fullmatch(name) is not None


def packed_logs(folder: RunFolder) -> list[Path]:
    """The archives of a run, in the order of their making; empty where they cannot be listed."""
    with suppress(OSError):
        return sorted(path for path in folder.logs.iterdir() if is_packed(path.name))
    return []


def find_logs(entries: Mapping[str, os.stat_result]) -> tuple[list[str], list[str]]:
    """Sort the files in the folder of logs.

    Parameters
    ----------
    entries
        Status of each by name, links not followed.

    Returns
    -------
    logs : list of str
        Names of this user's files that jobs need no more once they have ended.
    kept : list of str
        What is not known, each with what is wrong. Archives are in neither.
    """
    logs, kept = [], []
    for name, status in entries.items():
        if is_packed(name):
            continue
        if _LOG.fullmatch(name) is None:
            kept.append(f"{show(name)}: not the name of a log or a script")
        elif not stat.S_ISREG(status.st_mode):
            kept.append(f"{show(name)}: not a regular file")
        elif status.st_uid != os.geteuid():
            kept.append(f"{show(name)}: of another user")
        else:
            logs.append(name)
    return logs, kept


def pack(logs: HeldFolder, names: Iterable[str]) -> tuple[Path, dict[str, Stamp], list[str]] | None:
    """Write an archive of these logs; it is on disk when this returns, and nothing is removed.

    Parameters
    ----------
    logs
        The folder of logs.
    names
        Files in it.

    Returns
    -------
    path : Path
        The archive, readable by this user alone: scripts may hold secrets.
    packed : dict
        The state in which each file was packed.
    unread : list of str
        Files that cannot be read, with the reason; they are not in it.

    None where there is nothing to pack.
    """
    packed: dict[str, Stamp] = {}
    unread: list[str] = []
    numbers = [int(name[7:12]) for name in logs.entries() if is_packed(name)]
    path = logs.path / f"packed-{max(numbers, default=0) + 1:05d}.tar.gz"
    with Draft(path, 0o600) as draft:
        with (
            GzipFile("", "wb", compresslevel=6, fileobj=cast(BinaryIO, draft), mtime=0) as stream,
            tarfile.TarFile(fileobj=stream, mode="w") as archive,
        ):
            for name in names:
                try:
                    file = logs.file(name)
                except OSError as error:
                    unread.append(f"{show(name)}: {reason(error)}")
                    continue
                with file:
                    status = os.fstat(file.fileno())
                    member = tarfile.TarInfo(name)
                    member.size, member.mtime, member.mode = status.st_size, int(status.st_mtime), 0o600
                    archive.addfile(member, file)
                    packed[name] = Stamp.of(status)
        if not packed:
            return None
        draft.publish_first()
    return path, packed, unread
