"""The home folder and variables in paths of the configuration: ``~/clips``, ``${SCRATCH}/k150ka``."""

from __future__ import annotations

import os
import re
from typing import Any

from vmafarm.common.errors import UsageError, show

PATHS = (
    "run.root", "corpus.clips", "corpus.scores", "engine.vmaf", "engine.ffmpeg", "engine.features",
    "extract.scratch", "slurm.image", "slurm.binds", "slurm.stage_folder",
)  # fmt: skip
"""Keys whose value is a path, or a list of paths. Patterns and shell commands are none."""

_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\}|)", re.ASCII
)


def expand(key: str, value: Any, origin: str, *, variables: bool) -> Any:
    """A path with what ``~`` and variables stand for.

    Parameters
    ----------
    key
        Of `PATHS`.
    value
        A path, or a list of them; anything else, which is a mistake, stays as it is.
    origin
        Where the value is from, for messages.
    variables
        Also variables, and ``$$`` as a dollar sign: for a file, which no shell has read. Without them only a
        ``~/`` in front is replaced, which shells leave as it is behind an equals sign.

    Raises
    ------
    UsageError
        A variable is not defined, or a dollar sign begins none.
    """
    if isinstance(value, list):
        return [expand(key, part, origin, variables=variables) for part in value]
    if not isinstance(value, str):
        return value
    if value == "~" or value.startswith("~/"):
        home = os.path.expanduser("~")  # noqa: PTH111 - without a home folder it stays as it is
        value = (home.replace("$", "$$") if variables else home) + value[1:]
    if not variables:
        return value
    where = f"{show(origin)}: {key} = {show(value)}"
    return _VARIABLE.sub(lambda found: _value_of(found, where), value)


def as_in_file(key: str, value: Any) -> Any:
    """A value of the configuration as a file has it: in paths, ``$$`` for a dollar sign; see `expand`."""
    if key not in PATHS:
        return value
    if isinstance(value, list):
        return [part.replace("$", "$$") for part in value]
    return value.replace("$", "$$")


def _value_of(found: re.Match[str], where: str) -> str:
    if found["dollar"]:
        return "$"
    name = found["plain"] or found["braced"]
    if not name:
        raise UsageError(
            f"{where}: a $ that begins no variable", "write $NAME, ${NAME}, or $$ for a $ itself"
        )
    # An empty one would make another path of it: $SCRATCH/k150ka would be /k150ka.
    if not (there := os.environ.get(name)):
        is_empty = name in os.environ
        raise UsageError(
            f"{where}: the variable {name} is {'empty' if is_empty else 'not defined'}",
            f"export {name}=..., or write the path itself; $$ stands for a $",
        )
    return there
