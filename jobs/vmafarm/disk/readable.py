"""What this user has no permission to read, and who could give it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from vmafarm.common.errors import UnavailableError, show
from vmafarm.common.text import counted
from vmafarm.disk.regular_files import list_files
from vmafarm.disk.writers import user_name, way_to


def is_denied(path: Path) -> bool:
    """Whether a file or folder is there, as far as one can see, but this user has no permission to read."""
    return _barrier(path) is not None


def denied(path: Path) -> UnavailableError:
    """The error for a file or folder that this user has no permission to read.

    Its message names the path, or the folder above that cannot be entered; its hint names the owner.
    """
    found = _barrier(path)
    if found is None:  # for example a security module; permissions do not tell
        return UnavailableError(f"no permission to read {show(str(path))}", "ask the administrators")
    barrier, status = found
    named, may = show(str(barrier)), "g+rx" if stat.S_ISDIR(status.st_mode) else "g+r"
    return UnavailableError(
        f"no permission to read {named}",
        f"ask its owner ({show(user_name(status.st_uid))}) for it, or for: chmod {may} {named}",
    )


def denied_by(error: Exception) -> UnavailableError | None:
    """`denied` for an error of the system, if this user may not read the file that it names; else None."""
    if not isinstance(error, PermissionError) or not isinstance(error.filename, (str, bytes)):
        return None
    path = Path(os.fsdecode(error.filename))
    return denied(path) if is_denied(path) else None


def tell_denied(path: Path) -> str:
    """`denied` as one line, for notes; empty if the path is not there or can be read."""
    if not is_denied(path):
        return ""
    error = denied(path)
    return f"{error.message}: {error.hint}"


def tell_denied_in(folder: Path, *, has_unread: bool) -> str:
    """As `tell_denied`, for a folder or, if some of its files were not read, the first of those; or empty."""
    if told := tell_denied(folder):
        return told
    paths: list[Path] = []
    if has_unread:
        with suppress(OSError):
            paths = [path for path in list_files(folder, "") if is_denied(path)]
    return tell_first(paths)


def tell_first(paths: Sequence[Path]) -> str:
    """`tell_denied` of the first path, with the number of the others; empty without any."""
    more = f" (and {counted(len(paths) - 1, 'other file')})" if len(paths) > 1 else ""
    return f"{tell_denied(paths[0])}{more}" if paths else ""


def _barrier(path: Path) -> tuple[Path, os.stat_result] | None:
    """The first folder on the way that cannot be entered, or the path itself if it cannot be read."""
    last = None
    shown = path if path.is_absolute() else Path.cwd() / path
    try:
        for part, status in way_to(shown):
            if stat.S_ISDIR(status.st_mode) and not os.access(part, os.X_OK, effective_ids=True):
                return _as_named(part, path), status
            last = part, status
    except OSError:
        return None
    if last is None or not os.path.lexists(path):
        return None
    needed = os.R_OK | (os.X_OK if stat.S_ISDIR(last[1].st_mode) else 0)
    return None if os.access(path, needed, effective_ids=True) else (_as_named(last[0], path), last[1])


def _as_named(part: Path, path: Path) -> Path:
    """A relative path stays relative, as the user gave it."""
    return part if path.is_absolute() or not part.is_relative_to(Path.cwd()) else part.relative_to(Path.cwd())
