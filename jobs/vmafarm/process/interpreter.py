"""Start Python, here and on nodes, so that it imports only installed packages.

``python -m`` searches the working folder first, and so does an empty entry in PYTHONPATH. On clusters,
PYTHONPATH often leads to other versions of our packages.
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmafarm.common.errors import UnavailableError, UsageError, show, to_do
from vmafarm.common.utf8 import OPTIONS as UTF8
from vmafarm.process.run import ask

IN_IMAGE = ("-E", "-P", "-s", *UTF8)
"""Options of an image's Python: ignore the environment, the working folder and the home folder."""

_START_SECONDS = 120.0
"""Time limit to start an interpreter and find a package, even on a slow shared file system."""
_KEPT = ("PYTHONUTF8", "PYTHONIOENCODING", "PYTHONDONTWRITEBYTECODE")


def own_command() -> list[str]:
    """Return the command that starts this interpreter so that it imports only installed packages.

    Raises
    ------
    UsageError
        This package is not installed: it is found only through PYTHONPATH.
    UnavailableError
        The interpreter cannot be started, or does not end in time.
    """
    command = [sys.executable, *(option for option in IN_IMAGE if option != "-s" or not _in_user_site())]
    through = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    home = _package_folder()
    if home in map(_resolved, through) and not _finds_package(command):
        raise UsageError(
            f"vmafarm was found through PYTHONPATH, in {show(str(home))}; elements do not read PYTHONPATH",
            "install it (pip install) in its own virtual environment",
        )
    return command


def _finds_package(command: list[str]) -> bool:
    try:
        finished = ask([*command, "-c", "import vmafarm"], seconds=_START_SECONDS)
    except OSError as error:
        raise UnavailableError(
            f"cannot start {show(command[0])}: {error.strerror}", to_do(error.errno)
        ) from None
    if finished.timed_out:
        raise UnavailableError(
            f"{show(command[0])} did not start and end within {_START_SECONDS:.0f} s",
            "check that the file system on which it is installed responds, then run the same command again",
        )
    return finished.returncode == 0


@contextmanager
def safe_environment() -> Iterator[None]:
    """Change the environment so that a Python that a library starts imports only installed packages."""
    before = {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}
    for name in before.keys() - set(_KEPT):
        del os.environ[name]
    os.environ["PYTHONSAFEPATH"] = "1"
    if not _in_user_site():
        os.environ["PYTHONNOUSERSITE"] = "1"
    try:
        yield
    finally:
        for name in ("PYTHONSAFEPATH", "PYTHONNOUSERSITE"):
            os.environ.pop(name, None)
        os.environ.update(before)


def _package_folder() -> Path:
    return Path(__file__).resolve().parents[2]


def _resolved(entry: str) -> Path:
    return Path(entry).resolve()


def _in_user_site() -> bool:
    """Whether this package was installed with ``pip install --user``."""
    user = site.getusersitepackages()
    return bool(site.ENABLE_USER_SITE) and _package_folder().is_relative_to(_resolved(user))
