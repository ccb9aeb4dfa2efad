"""Writes TOML that `vmafarm.common.toml` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmafarm.common.errors import show


def _character(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def toml_value(value: Any) -> str:
    """Format a value so that `vmafarm.common.toml.parse_toml` reads it back."""
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
