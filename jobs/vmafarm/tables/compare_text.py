"""What a comparison of two tables says on a terminal."""

from __future__ import annotations

import math
from typing import Any

from vmafarm.common.errors import show
from vmafarm.common.layout import labelled, unbroken
from vmafarm.common.say import to_json
from vmafarm.common.text import counted
from vmafarm.tables.comparison import Comparison, Difference, Side

_KEYS = 20
"""Most keys of the provenance that are shown; --json has all."""
_VALUE = 200
"""Most characters of a value that are shown."""


def lines(found: Comparison) -> list[str]:
    """Return the lines: only what differs, the worst columns first."""
    rows = [("table A", unbroken(found.a.table)), ("table B", unbroken(found.b.table))]
    rows += [("note", note) for note in found.notes]
    if found.same_file:
        return labelled([*rows, ("result", "equal: A and B are one and the same file")])
    rows.append(("clips", f"{found.clips:,} in both"))
    rows += _only("A", found.a) + _only("B", found.b)
    rows.append(("columns", f"{found.columns} compared"))
    for name, side in (("A", found.a), ("B", found.b)):
        if side.only_columns:
            rows.append((f"only in {name}", _few([show(column) for column in side.only_columns])))
    if found.clips:  # else no value was compared
        rows += _columns("features", found.features)
        rows += _columns("mos", found.mos)
        rows += _columns("other columns", found.others)
    rows += _provenance(found.provenance)
    rows.append(("result", _result(found)))
    return labelled(rows)


def _only(name: str, side: Side) -> list[tuple[str, str]]:
    if not side.only_clips:
        return []
    more = side.only_clips - len(side.only_clips_examples)
    names = _few([unbroken(clip) for clip in side.only_clips_examples], more)
    return [(f"only in {name}", f"{counted(side.only_clips, 'clip')}: {names}")]


def _few(names: list[str], more: int = 0) -> str:
    return ", ".join(names) + (f" and {more:,} more" if more else "")


def _columns(label: str, differing: tuple[Difference, ...]) -> list[tuple[str, str]]:
    if not differing:
        return [(label, "equal")]
    rows = [] if label == "mos" else [(label, _verb(len(differing), "column"))]
    for one in differing:
        by = f", by up to {one.largest:.3g}" if math.isfinite(one.largest) else ""
        nan = f", {one.nan:,} with a value in one table only" if one.nan else ""
        told = f"{counted(one.clips, 'clip')}{by}{nan}"
        rows.append((label, told) if label == "mos" else ("", f"{show(one.column)}: {told}"))
        rows.append(("", f"  {unbroken(one.clip)}: {_value(one.a)} and {_value(one.b)}"))
    return rows


def _verb(number: int, noun: str) -> str:
    return f"{counted(number, noun)} differ{'s' if number == 1 else ''}"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else f"{value:.10g}"
    text = "null" if value is None else str(value)
    return show(text if len(text) <= _VALUE else f"{text[:_VALUE]}...")


def _provenance(differing: dict[str, tuple[Any, Any]]) -> list[tuple[str, str]]:
    if not differing:
        return [("provenance", "equal")]
    rows = [("provenance", _verb(len(differing), "key"))]
    for key, values in list(differing.items())[:_KEYS]:
        rows.append(("", show(key)))
        for name, value in zip("AB", values, strict=True):
            text = value if isinstance(value, str) else "-" if value is None else to_json(value)
            rows.append(("", f"  {name}  {_value(text)}"))
    if len(differing) > _KEYS:
        rows.append(("", f"and {len(differing) - _KEYS:,} more: --json shows all"))
    return rows


def _result(found: Comparison) -> str:
    if found.equal:
        return f"equal within {found.tolerance:g}"
    what = [
        ("clips", found.a.only_clips or found.b.only_clips),
        ("columns", found.lacking),
        ("features", found.features),
        ("mos", found.mos),
        ("other columns", found.others),
    ]
    return f"the tables differ: {', '.join(name for name, differs in what if differs)}"
