"""SquashFS images for tests, and whether this machine can mount them."""

from __future__ import annotations

import functools
import os
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from support.processes import all_processes, read_of

from vmafarm.process.mounts import mounts_below, unmount_below


def make_image(folder: Path, image: Path) -> Path:
    """Make an image of a folder."""
    subprocess.run(
        ["mksquashfs", folder, image, "-quiet", "-no-progress", "-noappend"],
        check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    return image


def write_header(image: Path, *, magic: bytes = b"hsqs", version: tuple[int, int] = (4, 0)) -> Path:
    """A file that only begins like an image, for what is decided before anything is mounted."""
    image.write_bytes(magic + bytes(24) + struct.pack("<HHQQ", *version, 0, 96) + bytes(48))
    return image


@functools.cache
def no_mounts_here() -> str:
    """Why images cannot be made and mounted on this machine, by trying it; or ""."""
    for program in ("mksquashfs", "squashfuse"):
        if shutil.which(program) is None:
            return f"the program {program} is not there"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "source").mkdir()
        (folder / "mount").mkdir()
        image = make_image(folder / "source", folder / "image")
        server = subprocess.Popen(
            ["squashfuse", "-f", image, folder / "mount"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        ends_at = time.monotonic() + 20
        while not mounts_below(folder) and server.poll() is None and time.monotonic() < ends_at:
            time.sleep(0.01)
        mounted = bool(mounts_below(folder))
        unmount_below(folder)  # which also ends it; a signal could come before it handles any
        server.terminate()
        _, said = server.communicate(timeout=20)
    return "" if mounted else f"squashfuse cannot mount here: {said.decode(errors='replace').strip()}"


def servers_of(place: Path) -> list[int]:
    """Process ids of the squashfuse programs that mount an image, or mount below a folder."""
    found = {pid: read_of(pid, "cmdline").split(b"\0") for pid in all_processes()}
    return [
        pid
        for pid, words in found.items()
        if b"squashfuse" in words[0] and any(os.fsencode(place) in word for word in words[-3:])
    ]
