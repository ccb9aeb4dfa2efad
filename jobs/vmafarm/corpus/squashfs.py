"""A corpus in a SquashFS image: one file instead of many, which Apptainer binds into the container."""

from __future__ import annotations

import errno
import os
import posixpath
import re
import secrets
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.disk.regular_files import open_regular, read_regular
from vmafarm.process.run import run
from vmafarm.process.scratch import in_scratch, scratch_folder

CONTAINER_CLIPS = Path("/clips")
"""Path of an image's clips in a container."""

_MAGIC = b"hsqs"
_SUPERBLOCK = struct.Struct("<4s24xHH8xQ48x")
"""Magic, version (major, minor) and bytes used, of 96 bytes (kernel, fs/squashfs/squashfs_fs.h)."""
_LIST_SECONDS = 1800.0
"""152,265 clips take 2 s (measured); the tables of an image on a busy shared file system are read first."""
_MOST_LISTED = 4 << 30
_LINKS = 40
"""As many as Linux follows."""
_LIST = 'exec unsquashfs -d "$1" -llnumeric "$2" > list'
_MOUNT = "mount it and name that folder: squashfuse IMAGE FOLDER, or as root: mount -o loop,ro IMAGE FOLDER"


def is_squashfs(path: Path) -> bool:
    """Whether this is a regular file, or a link to one, with the header of a SquashFS 4.0 image.

    Raises
    ------
    UnavailableError
        The file cannot be read.
    """
    return _is_file(path) and _version(_head(path)) == (4, 0)


def inside(clips: Path) -> Path:
    """Return the path of the clips in a container: `CONTAINER_CLIPS` for an image, else the same path."""
    return CONTAINER_CLIPS if is_squashfs(clips) else clips


def image_bind(image: Path) -> str:
    """Return the argument of ``apptainer --bind`` for the image's content, read-only, at `CONTAINER_CLIPS`.

    Parameters
    ----------
    image
        Absolute path without colon, comma or line break, which Apptainer would split at.
    """
    return f"{image}:{CONTAINER_CLIPS}:image-src=/,ro"


class ImageEntry:
    """A file or folder in an image, with what is asked of an `os.DirEntry`.

    Attributes
    ----------
    name, path
        Its name, and its path below the image's root; bytes that are not UTF-8 as surrogates (PEP 383).
    """

    def __init__(self, path: str, kind: bytes, size: int, entries: Mapping[str, ImageEntry]) -> None:
        self._kind, self._target = kind, ""
        if kind == b"l":  # listed as "name -> target", and the size of a link is that of its target
            whole = os.fsencode(path)
            path, self._target = os.fsdecode(whole[: -size - 4]), os.fsdecode(whole[-size:])
        self.path, self.name = path, posixpath.basename(path)
        self._size, self._entries = size, entries

    def is_symlink(self) -> bool:
        """Whether it is a link."""
        return self._kind == b"l"

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        """Whether it is a folder; links are not followed."""
        return self._kind == b"d"

    def stat(self) -> os.stat_result:
        """Type and size, of a link those of what it leads to.

        Raises
        ------
        OSError
            The link leads nowhere, out of the image or through another link, or in a circle.
        """
        entry: ImageEntry | None = self
        for _ in range(_LINKS):
            if entry is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
            if not entry.is_symlink():
                mode = {b"-": stat.S_IFREG, b"d": stat.S_IFDIR}.get(entry._kind, stat.S_IFIFO)
                return os.stat_result((mode, 0, 0, 1, 0, 0, entry._size, 0, 0, 0))
            there = posixpath.join(posixpath.dirname(entry.path), entry._target)
            entry = self._entries.get(posixpath.normpath(there))
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self.path)


def list_image(clips: Path, scratch: str = "") -> dict[str, list[ImageEntry]] | None:
    """List an image with unsquashfs, which comes with Apptainer; it is not mounted.

    Parameters
    ----------
    clips
        A SquashFS 4.0 image, or something that is not a regular file.
    scratch
        Where to make a folder for the listing; empty: ``$TMPDIR`` or ``/tmp``.

    Returns
    -------
    dict or None
        The entries of each folder by its path with a slash at the end; of the root "". None: not a file.

    Raises
    ------
    UsageError
        It is a file, but not a SquashFS image.
    UnavailableError
        It cannot be read, is cut or damaged, or unsquashfs is not there.
    """
    if not _is_file(clips):
        return None
    _check(clips)
    root = secrets.token_hex(16)  # begins each path, so that no name with line breaks looks like another line
    command = ["sh", "-c", _LIST, "sh", root, str(clips.absolute())]
    with scratch_folder(scratch) as folder:
        with in_scratch(folder):
            [finished] = run([command], folder=folder, deadline=_LIST_SECONDS)
        if finished.returncode == 127:
            raise UnavailableError(
                "the clips are a SquashFS image, and the program unsquashfs, which lists it, is not there",
                "install squashfs-tools, or unpack the image elsewhere and name that folder",
            )
        if finished.returncode or finished.timed_out:
            raise UnavailableError(
                f"cannot list {show(str(clips))}: {finished.why(3)}",
                "if the image is damaged, make or copy it again",
            )
        with in_scratch(folder):
            listed = read_regular(folder / "list", _MOST_LISTED)
    line = rf"^([-a-z])\S{{9}} \S+ +([0-9, ]+) \S+ \S+ {root}(?:/|$)"
    _, *parts = re.split(line.encode(), listed, flags=re.MULTILINE)
    entries: dict[str, ImageEntry] = {}
    found: dict[str, list[ImageEntry]] = {"": []}
    for kind, size, name in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        path = os.fsdecode(name.removesuffix(b"\n")) or "."
        entry = ImageEntry(path, kind, int(size) if size.isdigit() else 0, entries)
        entries[entry.path] = entry
        if path != ".":
            parent = posixpath.dirname(entry.path)
            found.setdefault(f"{parent}/" if parent else "", []).append(entry)
    return found


def require_folder(clips: Path) -> None:
    """Refuse an image of clips where clips are scored without a container.

    Raises
    ------
    UsageError
        It is a file, whether a SquashFS image or not.
    UnavailableError
        It cannot be read, or is cut.
    """
    if _is_file(clips):
        _check(clips)
        raise UsageError(
            f"{show(str(clips))}: a SquashFS image, which only jobs in a container can read (slurm.image)",
            _MOUNT,
        )


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False  # who looks for a folder there says what is wrong


def _head(path: Path) -> bytes:
    try:
        with open_regular(path, None) as file:
            return file.read(_SUPERBLOCK.size)
    except OSError as error:
        raise UnavailableError(
            f"cannot read {show(str(path))}: {error.strerror}", "make it readable: corpus.clips"
        ) from None


def _version(head: bytes) -> tuple[int, int] | None:
    """Version of a little-endian SquashFS; None for anything else."""
    if len(head) < _SUPERBLOCK.size or not head.startswith(_MAGIC):
        return None
    _, major, minor, _ = _SUPERBLOCK.unpack(head)
    return major, minor


def _check(path: Path) -> None:
    """Refuse a file that is not an image, or is shorter than its header says."""
    head = _head(path)
    version = _version(head)
    if version != (4, 0):
        raise UsageError(
            f"{show(str(path))}: not a SquashFS image ({_what(head, version)}), expected the "
            "folder of the clips, or a SquashFS 4.0 image of it",
            "name the folder: corpus.clips, or CLIPS= with make; or make an image of it: "
            "mksquashfs FOLDER IMAGE.sqsh",
        )
    *_, used = _SUPERBLOCK.unpack(head)
    size = path.stat().st_size
    if used > size:
        raise UnavailableError(
            f"{show(str(path))}: the image is cut: {size:,} bytes, expected {used:,}",
            "copy or make it again",
        )


def _what(head: bytes, version: tuple[int, int] | None) -> str:
    if version is not None:
        return f"SquashFS {version[0]}.{version[1]}"
    if not head:
        return "it is empty"
    if head.startswith(_MAGIC):
        return f"it begins like one, but has only {len(head)} bytes"
    return f"it begins with {show(head[:8])!r}, not with '{_MAGIC.decode()}'"
