"""The corpus: its clips, their scores, and the plan."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.common.steps import step
from vmafarm.common.utf8 import is_utf8, reads_utf8
from vmafarm.corpus.raw_clips import GEOMETRY_HINT, check_raw, is_raw
from vmafarm.corpus.squashfs import ImageEntry
from vmafarm.run_folder.corpus_findings import Counts, Tally, tally

VIDEO_EXTENSIONS = frozenset(
    (
        *("3g2", "3gp", "asf", "avi", "divx", "dv", "f4v", "flv", "h264", "h265", "hevc", "ivf", "m2t"),
        *("m2ts", "m2v", "m4v", "mj2", "mkv", "mov", "mp4", "mpe", "mpeg", "mpg", "mts", "mxf", "nut"),
        *("obu", "ogm", "ogv", "qt", "rm", "rmvb", "ts", "vob", "webm", "wmv", "y4m"),
    )
)
"""Extensions of clips, in any case."""


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
        Everything else that was found.
    """

    names: list[str]
    bytes: NDArray[np.int64]
    counts: Counts


def list_clips(
    folder: Path, image: Mapping[str, Sequence[ImageEntry]] | None = None, geometry: str = "",
    *, labelled: bool = False,
) -> Clips:  # fmt: skip
    """Find the clips below a folder, or in an image, in one scan; no clip is opened.

    Links to files are followed, links to folders are not (they can form loops), hidden files and
    folders are left out, and so is every name that is not UTF-8.

    Parameters
    ----------
    folder
        Searched with its subfolders.
    image
        What `vmafarm.corpus.squashfs.list_image` has found, if that is an image.
    geometry
        ``corpus.geometry``; empty: raw files are counted and left out.
    labelled
        Take raw files nevertheless, since the label file says their geometry; but not those beside a clip of
        the same name but for its extension, which is then what the label is about.

    Returns
    -------
    Clips
        Files and links to files that have one of `VIDEO_EXTENSIONS`, and raw ones with a geometry.

    Raises
    ------
    UsageError
        The folder is missing, not a folder, or holds no clip; or this Python would take its names for
        another encoding than UTF-8; or the name or the size of a raw clip does not fit `geometry`.
    UnavailableError
        It, or a folder in it, cannot be read.
    """
    hint = "name the folder of the clips: corpus.clips, or CLIPS= with make"
    shown = show(str(folder))
    try:
        mode = folder.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{shown}: no such folder, expected the folder of the clips", hint) from None
    except OSError as error:
        raise UnavailableError(f"cannot read the clips folder {shown}: {error.strerror}", hint) from None
    if image is None and not stat.S_ISDIR(mode):
        raise UsageError(f"{shown}: not a folder, expected the folder of the clips", hint)
    scan = _Scan(str(folder), image, takes_raw=bool(geometry) or labelled)
    step("finding", "clips", lambda: len(scan.sizes))
    scan.run()
    if labelled:
        scan.leave_out_copies()
    if not scan.sizes:
        others = [line for line in scan.counts().lines() if not line.endswith(" 0")]
        raise UsageError(
            "\n".join([f"{shown}: no clips in it or its subfolders", *others]),
            GEOMETRY_HINT
            if scan.others.get("raw")
            else f"{hint}; a clip is a file called *.mp4, *.mkv, *.mov, *.avi, *.webm, *.y4m, ...",
        )
    names = sorted(scan.sizes)  # by code point, which is the byte order of UTF-8
    if geometry:
        check_raw([name for name in names if is_raw(name)], scan.sizes, geometry)
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

    def __init__(
        self, root: str, image: Mapping[str, Sequence[ImageEntry]] | None, *, takes_raw: bool
    ) -> None:
        self.root = root
        self.takes_raw = takes_raw
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
                with self._open(prefix, path) as entries:
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
                raise UnavailableError(
                    f"cannot read {show(str(error.filename or path))} in the clips folder: {error.strerror}",
                    "make it readable, or move it out of the clips folder",
                ) from None

    def leave_out_copies(self) -> None:
        """Leave out raw clips that share their name but for its extension with another clip."""
        raw = [name for name in self.sizes if is_raw(name)]
        others = {stem(name) for name in self.sizes if not is_raw(name)} if raw else set()
        for name in raw:
            if stem(name) in others:
                del self.sizes[name]
                self.others.setdefault("raw", []).append(name)

    def _open(
        self, prefix: str, path: str
    ) -> AbstractContextManager[Iterable[os.DirEntry[str] | ImageEntry]]:
        return os.scandir(path) if self.image is None else nullcontext(self.image.get(prefix, ()))

    def _classify(self, entry: os.DirEntry[str] | ImageEntry, name: str) -> str:
        """Note the size of a clip ("clip"), or return the kind of anything else ("folder": a plain one)."""
        if entry.name.startswith("."):
            return "hidden"
        if not entry.name.isascii() and not reads_utf8():
            raise UsageError(
                f"this Python takes file names for {sys.getfilesystemencoding()}, expected UTF-8: not all "
                f"names in {show(self.root)} are ASCII",
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
        if is_raw(name) and not self.takes_raw:
            return "raw"
        status = entry.stat()
        if not stat.S_ISREG(status.st_mode):
            return "not_regular"
        self.sizes[name] = status.st_size
        # A link that leads out of an image leads nowhere.
        inside = not linked or self.image is not None or os.path.realpath(entry.path).startswith(self.real)
        return "clip" if inside else "outside"


def _is_clip(name: str) -> bool:
    _, dot, extension = name.rpartition(".")
    return bool(dot) and (extension.lower() in VIDEO_EXTENSIONS or is_raw(name))


def stem(name: str) -> str:
    """Return a clip's name without its extension; any other name as it is."""
    return name.rpartition(".")[0] if _is_clip(name) else name


def _sharing(names: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Names whose key another one has too."""
    if len(set(keys)) == len(keys):
        return []
    times = Counter(keys)
    return [name for name, key in zip(names, keys, strict=True) if times[key] > 1]
