"""Which toolkit this is, to the last line of its code."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

from jobs import __version__


@cache
def version() -> str:
    """Version and a digest of the package's Python files, for example ``0.1.0+3f9a0c12de``.

    The numbers alone would let an image built before a change pass for one built after it.
    """
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda path: path.relative_to(folder).as_posix()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:10]}"


@cache
def commit() -> str:
    """The commit of the checkout that this runs from, ``-dirty`` if files differ; "" outside of one."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        said = subprocess.run(
            ["git", "-C", root, "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip()
