"""The exact version of this toolkit: its code, its SQL and its commit."""

from __future__ import annotations

import hashlib
from functools import cache

from vmafarm.common.package import CHECKOUT, PACKAGE, __version__, data_folder
from vmafarm.process.run import ask


@cache
def version() -> str:
    """Return the version with a digest of code, SQL and page template, for example ``0.1.0+3f9a0c12de``.

    The version number alone could not distinguish an image built before a change from one built after it.
    """
    digest = hashlib.sha256()
    for folder in (PACKAGE, data_folder("sql")):
        found = (path for path in folder.rglob("*") if path.suffix in (".py", ".j2", ".sql"))
        by_name = {path.relative_to(folder).as_posix(): path for path in found}
        for name in sorted(name for name in by_name if not name.startswith("_data/")):
            digest.update(name.encode() + b"\0" + by_name[name].read_bytes())
    return f"{__version__}+{digest.hexdigest()[:10]}"


@cache
def commit() -> str:
    """Return the commit of this checkout, with ``-dirty`` if files differ; empty outside of a checkout."""
    if not (CHECKOUT / ".git").exists():
        return ""
    try:
        said = ask(["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12"], seconds=10)
    except OSError:
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""
