"""Reads TOML within bounds.

`tomllib` takes minutes for a key of a hundred thousand dots, as its time grows with the square of them.
"""

from __future__ import annotations

import tomllib
from typing import Any

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
        document = tomllib.loads(text.removeprefix("\ufeff"))  # as editors on Windows begin a file
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
