"""Apptainer recipes: which build arguments one takes, and whether those given are among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from vmafarm.common.errors import UsageError, show

_SECTION = re.compile(r"^%(\w+)")
_DEFAULT = re.compile(r"^\s*([A-Za-z_]\w*)=(.*?)\s*$")
_VALUE = re.compile(r"[A-Za-z0-9_.,:@/+=~-]*", re.ASCII)
"""What a value may hold: it becomes part of a shell script and of the recipe's header."""
_CREDENTIALS = re.compile(r"https?://[^/]*@|\w+://[^/@]*:[^/@]*@", re.ASCII)
"""A user's name or token in a URL. Of ssh the name alone is none: ssh://git@host."""
_PATHS = ("_FROM", "_REPO")
"""Ends of names whose values may be files or folders."""


def read_arguments(text: str) -> dict[str, str]:
    """Build arguments of a recipe with their defaults, from the %arguments of all its stages."""
    found: dict[str, str] = {}
    inside = False
    for line in text.splitlines():
        if section := _SECTION.match(line):
            inside = section[1] == "arguments"
        elif inside and (default := _DEFAULT.match(line)):
            found[default[1]] = default[2]
    return found


def merge_arguments(
    defaults: Mapping[str, str], given: Iterable[str], recipe: Path, folder: Path
) -> dict[str, str]:
    """The defaults of a recipe with the values that were given for this build.

    Parameters
    ----------
    defaults
        As `read_arguments` gives them.
    given
        ``NAME=VALUE``.
    recipe
        Named in messages.
    folder
        What relative paths start from: those that name a base image or a repository become absolute.

    Raises
    ------
    UsageError
        Not ``NAME=VALUE``, a name that the recipe does not have, or a value that a shell could
        misread or that holds a password.
    """
    values = dict(defaults)
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise UsageError(f"build argument {show(one)!r}: expected NAME=VALUE")
        if name not in defaults:
            close = get_close_matches(name, defaults, n=1, cutoff=0.5)
            known = ", ".join(f"{key}={default}" for key, default in defaults.items()) or "none"
            raise UsageError(
                f"build argument {show(name)}: {show(str(recipe))} has none of this name"
                + (f"; do you mean {close[0]}?" if close else ""),
                f"it has: {known}",
            )
        if not _VALUE.fullmatch(value):
            raise UsageError(
                f"build argument {name}={show(value)}: expected letters, digits and . , : @ / + = ~ _ - only"
            )
        if _CREDENTIALS.match(value):
            raise UsageError(
                f"build argument {name}: a URL with a user's name, token or password; an image shows its "
                "build arguments to everybody who may read it",
                "get the repository (git clone), and name its folder; or let git ask for the password "
                "(git credential)",
            )
        if value and name.endswith(_PATHS) and (folder / value).exists():
            value = str((folder / value).absolute())
        values[name] = value
    return values
