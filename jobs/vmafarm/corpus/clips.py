"""The corpus: which clips there are, and which score belongs to which clip."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.common.utf8 import is_utf8, reads_utf8
from vmafarm.run_folder.corpus_findings import Counts, Tally, tally

VIDEO_EXTENSIONS = frozenset(
    (
        *("3g2", "3gp", "asf", "avi", "divx", "dv", "f4v", "flv", "h264", "h265", "hevc", "ivf", "m2t"),
        *("m2ts", "m2v", "m4v", "mj2", "mkv", "mov", "mp4", "mpe", "mpeg", "mpg", "mts", "mxf", "nut"),
        *("obu", "ogm", "ogv", "qt", "rm", "rmvb", "ts", "vob", "webm", "wmv", "y4m"),
    )
)
"""What makes a file a clip, without regard to case."""


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips of a folder.

    Attributes
    ----------
    names
        Paths below the folder with ``/``, in byte order of their UTF-8.
    bytes
        Their sizes, int64, shape (names,).
    counts
        What else was found.
    """

    names: list[str]
    bytes: NDArray[np.int64]
    counts: Counts


def list_clips(folder: Path, image: Path | None = None) -> Clips:
    """Find the clips below a folder in one scan; no file is opened.

    Links to files are followed, links to folders are not (they can form loops), hidden files and
    folders are left out, and so is every name that is not UTF-8.

    Parameters
    ----------
    folder
        Searched with its subfolders.
    image
        Whose content is mounted there; errors name it in place of the folder.

    Returns
    -------
    Clips
        Files and links to files that have one of `VIDEO_EXTENSIONS`.

    Raises
    ------
    UsageError
        The folder is missing, not a folder, or holds no clip; or this Python would take its names for
        another encoding than UTF-8.
    UnavailableError
        It, or a folder in it, cannot be read.
    """
    hint = "name the folder of the clips: corpus.clips, or CLIPS= with make"
    shown = show(str(image or folder))
    try:
        mode = folder.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{shown}: no such folder, expected the folder of the clips", hint) from None
    except OSError as error:
        raise UnavailableError(f"cannot read the clips folder {shown}: {error.strerror}", hint) from None
    if not stat.S_ISDIR(mode):
        raise UsageError(f"{shown}: not a folder, expected the folder of the clips", hint)
    scan = _Scan(str(folder), str(image or ""))
    scan.run()
    if not scan.sizes:
        others = [line for line in scan.counts().lines() if not line.endswith(" 0")]
        raise UsageError(
            "\n".join([f"{shown}: no clips in it or its subfolders", *others]),
            f"{hint}; a clip is a file called *.mp4, *.mkv, *.mov, *.avi, *.webm, *.y4m, ...",
        )
    names = sorted(scan.sizes)  # by code point, which is the byte order of UTF-8
    sizes = np.fromiter(map(scan.sizes.__getitem__, names), np.int64, len(names))
    counts = replace(
        scan.counts(),
        clips=Tally(len(names)),
        empty=tally([names[at] for at in np.flatnonzero(sizes == 0)]),
        same_stem=tally(_sharing(names, list(map(stem, names)))),
    )
    return Clips(names, sizes, counts)


class _Scan:
    """One walk through a folder."""

    def __init__(self, root: str, image: str) -> None:
        self.root = root
        self.image = image
        self.real = os.path.realpath(root).rstrip("/") + "/"
        self.sizes: dict[str, int] = {}
        self.others: dict[str, list[str]] = {}

    def counts(self) -> Counts:
        return Counts(**{kind: tally(names) for kind, names in self.others.items()})

    def run(self) -> None:
        folders = [""]
        while folders:
            prefix = folders.pop()
            path = f"{self.root}/{prefix}"
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        name = prefix + entry.name
                        kind = self._classify(entry, name)
                        if kind == "clip":
                            continue
                        if kind != "folder":
                            self.others.setdefault(kind, []).append(name)
                        if kind in ("folder", "clip_folders"):
                            folders.append(name + "/")
            except OSError as error:
                found, where = str(error.filename or path), "the clips folder"
                hint = "make it readable, or move it out of the clips folder"
                if self.image:  # permissions do not count there
                    found, where = found.removeprefix(self.root + "/") or "/", self.image
                    hint = "the image is damaged: make or copy it again"
                raise UnavailableError(
                    f"cannot read {show(found)} in {show(where)}: {error.strerror}", hint
                ) from None

    def _classify(self, entry: os.DirEntry[str], name: str) -> str:
        """Note the size of a clip ("clip"), or return the kind of anything else ("folder": a plain one)."""
        if entry.name.startswith("."):
            return "hidden"
        if not entry.name.isascii() and not reads_utf8():
            raise UsageError(
                f"this Python takes file names for {sys.getfilesystemencoding()}, expected UTF-8: not all "
                f"names in {show(self.image or self.root)} are ASCII",
                "start Python with PYTHONUTF8=1 in its environment; the command vmafarm does so by itself",
            )
        if not is_utf8(entry.name):
            return "invalid"
        linked = entry.is_symlink()
        if entry.is_dir(follow_symlinks=False):
            return "clip_folders" if _is_clip(name) else "folder"
        if linked:
            try:
                status = entry.stat()
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                    return "dangling"
                raise
            if stat.S_ISDIR(status.st_mode):
                return "linked_folders"
        if not _is_clip(name):
            return "ignored"
        status = entry.stat()
        if not stat.S_ISREG(status.st_mode):
            return "not_regular"
        self.sizes[name] = status.st_size
        inside = not linked or os.path.realpath(entry.path).startswith(self.real)
        return "clip" if inside else "outside"


def _is_clip(name: str) -> bool:
    _, dot, extension = name.rpartition(".")
    return bool(dot) and extension.lower() in VIDEO_EXTENSIONS


def stem(name: str) -> str:
    """Return a clip's name without its extension; any other name as it is."""
    return name.rpartition(".")[0] if _is_clip(name) else name


def _sharing(names: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Names whose key another one has too."""
    if len(set(keys)) == len(keys):
        return []
    times = Counter(keys)
    return [name for name, key in zip(names, keys, strict=True) if times[key] > 1]
