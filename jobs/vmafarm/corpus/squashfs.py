"""A corpus in a SquashFS image: one file in place of many, mounted read-only while it is read."""

from __future__ import annotations

import os
import signal
import stat
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

from vmafarm.common.errors import UnavailableError, UsageError, show
from vmafarm.common.mount_points import mounts_below
from vmafarm.disk.regular_files import open_regular
from vmafarm.process.descendants import in_child
from vmafarm.process.mounts import unmount_below
from vmafarm.process.run import HANG_UP_WITH_PARENT
from vmafarm.process.scratch import in_scratch, scratch_folder

CONTAINER_CLIPS = Path("/clips")
"""Where a container has the clips of an image."""

_MAGIC = b"hsqs"
_SUPERBLOCK = struct.Struct("<4s24xHH8xQ48x")
"""Magic, version (major, minor) and bytes used, of 96 bytes (kernel, fs/squashfs/squashfs_fs.h)."""
_PROGRAMS = ("squashfuse", "squashfuse_ll")
_DEVICE = Path("/dev/fuse")
_MOUNT_SECONDS = 60.0
"""The tables at the end of an image on a busy shared file system are read before it is mounted."""
_END_SECONDS = 3.0
_POLL_SECONDS = 0.01
_HELD_BACK = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""SLURM and terminals send them to all processes of a job, and the clips must be there until their
readers have ended."""
_INSTEAD = "or unpack the image (unsquashfs) and name that folder: corpus.clips, CLIPS= with make"
_HINTS = (
    ("fusermount", f"install fusermount3 (package fuse3), which mounts for ordinary users, {_INSTEAD}"),
    ("compression", f"make the image with another compressor (mksquashfs -comp gzip), {_INSTEAD}"),
    ("squashfs image", "the image is damaged: make or copy it again"),
    ("root of this filesystem", "the image is damaged: make or copy it again"),
    ("", f"extract.scratch or TMPDIR choose another place for the mount; {_INSTEAD}"),
)
"""What squashfuse's messages may hold, and what to do then; the first that matches."""


def is_squashfs(path: Path) -> bool:
    """Whether this is a regular file, or a link to one, that begins like a SquashFS 4.0 image.

    Raises
    ------
    UnavailableError
        The file cannot be read.
    """
    return _is_file(path) and _version(_head(path)) == (4, 0)


def inside(clips: Path) -> Path:
    """Where a container has the clips: `CONTAINER_CLIPS` for an image, a folder at its own path."""
    return CONTAINER_CLIPS if is_squashfs(clips) else clips


def image_bind(image: Path) -> str:
    """What ``apptainer --bind`` takes to have the image's content, read-only, at `CONTAINER_CLIPS`.

    Parameters
    ----------
    image
        Absolute path without colon, comma or line break, which Apptainer would split at.
    """
    return f"{image}:{CONTAINER_CLIPS}:image-src=/,ro"


@contextmanager
def mounted(clips: Path, place: str = "", lost: Callable[[], object] | None = None) -> Iterator[Path]:
    """Have the clips in a folder for as long as this lasts.

    An image is mounted with squashfuse where only this user sees it. On every way out it is unmounted.
    Should this process be killed, the kernel tells squashfuse, which then unmounts by itself; if that
    is killed as well, the next `scratch_folder` in this place sweeps the mount away. To be called in
    the main thread: the kernel takes the end of the calling thread for the end of the process.

    Parameters
    ----------
    clips
        A folder, which is yielded as it is, and so is whatever is no regular file; or an image.
    place
        Where to mount; empty: ``$TMPDIR`` or ``/tmp``.
    lost
        Called, in another thread, when squashfuse ends before its time.

    Yields
    ------
    Path
        The folder.

    Raises
    ------
    UsageError
        It is a file, but no SquashFS image.
    UnavailableError
        It cannot be read or mounted here, is damaged, or squashfuse has ended before its time.
    """
    if not _is_file(clips):
        yield clips
        return
    _check(clips)
    program = _find_squashfuse()
    with scratch_folder(place) as folder:
        target, log = folder / "clips", folder / "squashfuse.log"
        with in_scratch(folder):
            target.mkdir(mode=0o700)
            log.touch()
        server = _Server(program, clips.absolute(), target, log)
        try:
            server.wait_until_mounted()
            server.watch(lost)
            yield target
            server.check()
        finally:
            server.end()


class _Server:
    """A squashfuse in the foreground; it ends when its mount does."""

    def __init__(self, program: str, image: Path, target: Path, log: Path) -> None:
        self._image = image
        self._target = target
        self._log = log
        self._mounted = False
        self._wanted = True
        command = [program, "-f", "-o", "ro", str(image), str(target)]
        # Blocked here, blocked in the child for good; what comes meanwhile is delivered afterwards.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            with log.open("wb") as messages:
                self._process = subprocess.Popen(
                    command, cwd=target.parent, env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=messages, start_new_session=True,
                    preexec_fn=in_child(HANG_UP_WITH_PARENT),
                )  # fmt: skip
        except OSError as error:
            raise UnavailableError(
                f"cannot run {show(program)}: {error.strerror}", f"install it anew, {_INSTEAD}"
            ) from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def wait_until_mounted(self) -> None:
        ends_at = time.monotonic() + _MOUNT_SECONDS
        while not mounts_below(self._target.parent):
            if self._process.poll() is not None:
                said = self._said()
                hint = next(hint for part, hint in _HINTS if part in said)
                raise UnavailableError(
                    f"squashfuse could not mount {show(str(self._image))}: "
                    + ("; ".join(map(show, said.splitlines()[-3:])) or self._ending()),
                    hint,
                )
            if time.monotonic() > ends_at:
                raise UnavailableError(
                    f"{show(str(self._image))} was not mounted within {_MOUNT_SECONDS:.0f} s",
                    f"is the file system that it lies on slow or gone? {_INSTEAD}",
                )
            time.sleep(_POLL_SECONDS)
        self._mounted = True

    def watch(self, lost: Callable[[], object] | None) -> None:
        def watch() -> None:
            self._process.wait()
            if self._wanted and lost is not None:
                lost()

        threading.Thread(target=watch, daemon=True, name="squashfuse-watch").start()

    def check(self) -> None:
        if self._process.poll() is not None:
            raise UnavailableError(
                f"squashfuse ended ({self._ending()}) while clips were read from {show(str(self._image))}",
                "run the same command again to go on; what is finished is kept\n"
                "if it was killed, was there too little memory?",
            )

    def end(self) -> None:
        self._wanted = False
        unmount_below(self._target.parent)
        # It ends by itself once its mount is gone, which it is unless it never came about.
        for number in (None if self._mounted else signal.SIGHUP, signal.SIGHUP, signal.SIGKILL):
            if number is not None:
                self._process.send_signal(number)
            try:
                self._process.wait(_END_SECONDS)
                return
            except subprocess.TimeoutExpired:
                continue

    def _said(self) -> str:
        with self._log.open("rb") as file:
            return file.read(1 << 16).decode("utf-8", "replace").strip()

    def _ending(self) -> str:
        code = self._process.returncode
        return f"exit status {code}" if code >= 0 else f"killed by signal {-code}"


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
    """Refuse a file that is no image, or is shorter than it says."""
    head = _head(path)
    version = _version(head)
    if version != (4, 0):
        raise UsageError(
            f"{show(str(path))}: a file that is no SquashFS image ({_what(head, version)}), expected the "
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


def _find_squashfuse() -> str:
    program = next((found for name in _PROGRAMS if (found := which(name))), None)
    if program is None:
        raise UnavailableError(
            "the clips are a SquashFS image, and the program squashfuse, which mounts it, is not there",
            f"install squashfuse (package squashfuse), {_INSTEAD}",
        )
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        found = "may not be read and written" if _DEVICE.exists() else "is not there"
        raise UnavailableError(
            f"the clips are a SquashFS image, and {_DEVICE}, which mounting it needs, {found}",
            f"ask who runs this machine (modprobe fuse; chmod 666 {_DEVICE}), {_INSTEAD}",
        )
    return os.path.abspath(program)  # noqa: PTH100 - a link is called by its own name
