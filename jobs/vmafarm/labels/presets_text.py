"""Presets for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vmafarm.common.layout import labelled
from vmafarm.labels.presets import Preset

_ROOM = 15


def lines(presets: Sequence[Preset]) -> list[str]:
    """One entry per preset: its name, and beside it title, range and label files."""
    rows = []
    for preset in presets:
        files = ", ".join(preset.files) or "a file of any name"
        rows.append((preset.name, f"{preset.title}; scores {preset.range()}; {files}"))
    return labelled(rows, _ROOM)


def tell(preset: Preset) -> list[str]:
    """All of one preset."""
    rows = [
        ("name", preset.name),
        ("title", preset.title),
        ("label file", ", ".join(preset.files) or "not known"),
        *(("header", line) for line in preset.header),
        *((f"{key}", _value(value)) for key, value in preset.settings().items()),
        ("full reference", "yes" if preset.full_reference else "no"),
        ("source", preset.source),
    ]
    return labelled(rows)


def as_document(presets: Sequence[Preset]) -> dict[str, Any]:
    """The document of ``vmafarm presets --json``: see docs/json.md."""
    return {"version": 1, "presets": [preset.as_dict() for preset in presets]}


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
