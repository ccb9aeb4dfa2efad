"""SquashFS images for tests, and whether this machine has the programs for them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path


def make_image(folder: Path, image: Path) -> Path:
    """Make an image of a folder."""
    subprocess.run(
        ["mksquashfs", folder, image, "-quiet", "-no-progress", "-noappend"],
        check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip
    return image


def write_header(image: Path, *, magic: bytes = b"hsqs", version: tuple[int, int] = (4, 0)) -> Path:
    """A file that only begins like an image, for what is decided before it is listed."""
    image.write_bytes(magic + bytes(24) + struct.pack("<HHQQ", *version, 0, 96) + bytes(48))
    return image


def no_images_here() -> str:
    """Why images cannot be made and listed on this machine; or ""."""
    missing = [program for program in ("mksquashfs", "unsquashfs") if shutil.which(program) is None]
    return f"squashfs-tools are not there: {missing[0]}" if missing else ""
