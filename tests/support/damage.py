"""How files get damaged: cut, flipped, overwritten, blocks lost, doubled or put in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("N") or 25)
"""Examples of each test; make fuzz N=10000 takes more."""

fuzz = settings(
    max_examples=EXAMPLES, deadline=None, derandomize="N" not in os.environ, print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
"""The same examples every time, but for make fuzz."""

TOKENS = (
    b"NaN", b"-Infinity", b"1e999", b"-0.0", b"null", b"true", b"{}", b"[]", b'"', b"'", b",", b"\n", b"\r",
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"[" * 5000, b"9" * 5000, b"\\ud800",
    b"\xed\xa0\x80", b"=", b"]", b"}",
)  # fmt: skip


def cuts(content: bytes) -> Iterator[bytes]:
    """The content cut at every 64th byte."""
    for length in range(0, len(content), 64):
        yield content[:length]


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """The content after one to three accidents; always other than before."""
    found = content
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        size = draw(st.sampled_from([1, 2, 16, 64, 512]))
        kind = draw(st.sampled_from(["cut", "flip", "zero", "lose", "double", "random", "token", "swap"]))
        block = found[at : at + size]
        if kind == "cut":
            found = found[:at]
        elif kind == "flip" and block:
            found = found[:at] + bytes([block[0] ^ 1 << draw(st.integers(0, 7))]) + found[at + 1 :]
        elif kind == "zero":
            found = found[:at] + bytes(len(block)) + found[at + size :]
        elif kind == "lose":
            found = found[:at] + found[at + size :]
        elif kind == "double":
            found = found[: at + size] + block + found[at + size :]
        elif kind == "random":
            found = found[:at] + draw(st.binary(min_size=1, max_size=64)) + found[at + size :]
        elif kind == "token":
            found = found[:at] + draw(st.sampled_from(TOKENS)) + found[at:]
        elif kind == "swap":
            found = found[:at] + found[at + size : at + 2 * size] + block + found[at + 2 * size :]
    return found if found != content else content[:-1]


HALF = "half of a character"
HOSTILE = [HALF, 10**30, -(10**30), {"a": [{}]}, [[[]]], 1.5e300]
"""None of these is a value of any field, but that a number may be large and an object may hold any."""


def as_json(document: Any) -> bytes:
    return json.dumps(document).replace(json.dumps(HALF), '"\\ud800"').encode()


def spoiled(document: Any) -> Iterator[tuple[str, Any]]:
    """The document with another value in each place, one at a time, and where that is."""
    if isinstance(document, dict):
        for key, inner in document.items():
            for where, odd in spoiled(inner):
                yield f"{key}.{where}", {**document, key: odd}
    elif isinstance(document, list) and document:
        for where, odd in spoiled(document[0]):
            yield where, [odd, *document[1:]]
    if not isinstance(document, dict) or not document:
        yield from (("", value) for value in HOSTILE)
    else:
        yield from (("", value) for value in HOSTILE if not isinstance(value, dict))
