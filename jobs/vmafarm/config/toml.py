"""Reads TOML within bounds, and writes it.

`tomllib` takes minutes for a key of a hundred thousand dots, as its time grows with the square of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from vmafarm.common.errors import show

MOST_BYTES = 64 << 10
"""Size limit of a file; `vmafarm config --template` prints some 8 KB."""
_DOTS = 1000
"""Limit per line; a key of ours has two."""
_KEY = 200
_DEPTH = 10


def parse_toml(text: str) -> dict[str, Any]:
    """Parse a document.

    Raises
    ------
    ValueError
        It is not valid TOML; or it is too large, nested too deeply, or has long keys or integers of more than
        64 bits. The message says what was found.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"{len(text):,} characters, expected at most {MOST_BYTES:,}")
    for number, line in enumerate(text.splitlines(), 1):
        if line.count(".") > _DOTS:
            raise ValueError(f"line {number} has more than {_DOTS:,} dots")
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"nested more than {_DEPTH} deep") from None
    _check(document)
    return document


def _check(document: dict[str, Any]) -> None:
    left: list[tuple[Any, int]] = [(document, 0)]
    while left:
        value, depth = left.pop()
        if depth > _DEPTH:
            raise ValueError(f"nested more than {_DEPTH} deep")
        if isinstance(value, dict):
            if long := next((key for key in value if len(key) > _KEY), ""):
                raise ValueError(f"a key of {len(long):,} characters, expected at most {_KEY}")
            left += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            left += [(inner, depth + 1) for inner in value]
        elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise ValueError("an integer of more than 64 bits")


def _character(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def toml_value(value: Any) -> str:
    """Format a value so that `parse_toml` reads it back."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{"".join(map(_character, value))}"'
    if isinstance(value, list):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        items = (f"{toml_value(key)} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {', '.join(items)} }}" if value else "{}"
    return repr(value)


def as_override(key: str, value: Any) -> str:
    """Format a key and its value for `overrides` of `vmafarm.config.load.load`."""
    return f"{key}={toml_value(value)}"


def to_toml(
    values: Mapping[str, Any],
    *,
    above: Mapping[str, str] | None = None,
    beside: Mapping[str, str] | None = None,
) -> str:
    """Write a document: one table per section.

    Parameters
    ----------
    values
        ``section.key`` to value, the keys of a section together.
    above, beside
        Comments by key: on the line before it, and at the end of its line.
    """
    lines: list[str] = []
    current = ""
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        if section != current:
            lines += ["", f"[{section}]"]
            current = section
        if above:
            lines.append(f"# {show(above[key])}")
        lines.append(f"{name} = {toml_value(value)}" + (f"  # {show(beside[key])}" if beside else ""))
    return "\n".join([*lines[1:], ""])
