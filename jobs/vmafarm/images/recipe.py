"""Build arguments of a recipe. Apptainer refuses those that the recipe does not have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from vmafarm.common.errors import UsageError, show

_VALUE = re.compile(r"[A-Za-z0-9_.,:@/+=~-]*", re.ASCII)
"""Characters of a value: it becomes part of a shell script and of the recipe's header."""
_CREDENTIALS = re.compile(r"https?://[^/]*@|\w+://[^/@]*:[^/@]*@", re.ASCII)
"""A user name or token in a URL. With ssh the name alone is no secret: ssh://git@host."""
_PATHS = ("_FROM", "_REPO")
"""Names that end like this may have a file or a folder as value."""
_USED = re.compile(r"{{ *(\w+) *}}")
_ARGUMENTS = re.compile(r"^%arguments\b(.*?)(?=^%|^bootstrap:|\Z)", re.MULTILINE | re.DOTALL | re.IGNORECASE)
_DEFAULT = re.compile(r"^\s*(\w+)=(\S+)", re.MULTILINE)
_WITH_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


def check_arguments(given: Iterable[str], folder: Path) -> dict[str, str]:
    """Check build arguments before Apptainer gets them.

    Parameters
    ----------
    given
        ``NAME=VALUE``.
    folder
        Base of relative paths; those of base images and repositories become absolute.

    Returns
    -------
    dict
        Values by name.

    Raises
    ------
    UsageError
        Not ``NAME=VALUE``, or a value that a shell could misread or that holds a password.
    """
    values: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not (name and equals):
            raise UsageError(f"build argument {show(one)!r}: expected NAME=VALUE")
        shown = f"build argument {show(name)}"
        if not _VALUE.fullmatch(value):
            raise UsageError(f"{shown}={show(value)}: expected only letters, digits and . , : @ / + = ~ _ -")
        if _CREDENTIALS.match(value):
            raise UsageError(
                f"{shown}: a URL with a user name, token or password; everybody who can read the image can "
                "read its build arguments",
                "clone the repository and give the path of the clone; or let git ask for the password "
                "(git credential)",
            )
        if value and name.endswith(_PATHS) and (folder / value).exists():
            value = str((folder / value).absolute())
        values[name] = value
    return values


def check_needed(text: str, values: Mapping[str, str]) -> None:
    """Check that a recipe gets the build arguments for which it has no default.

    Such an argument is to be chosen by a person: an image of a registry among them (``NAME_FROM``) must be
    named with its digest, because its tag may mean something else tomorrow.

    Parameters
    ----------
    text
        The recipe.
    values
        From `check_arguments`.

    Raises
    ------
    UsageError
        One is missing, or has no digest.
    """
    defaults = {
        name: value for section in _ARGUMENTS.findall(text) for name, value in _DEFAULT.findall(section)
    }
    for name in sorted(set(_USED.findall(text)) - set(defaults)):
        is_image = name.endswith("_FROM")
        wanted = "IMAGE@sha256:DIGEST" if is_image else "VALUE"
        hint = f"--build-arg {name}={wanted}; containers/README.md says how to find and verify it"
        if not values.get(name):
            raise UsageError(f"this recipe has no default for the build argument {name}", hint)
        bootstrap = name.removesuffix("_FROM") + "_BOOTSTRAP"
        from_registry = values.get(bootstrap, defaults.get(bootstrap)) == "docker"
        if is_image and from_registry and not _WITH_DIGEST.fullmatch(values[name]):
            raise UsageError(f"build argument {name}={values[name]}: an image without its digest", hint)
