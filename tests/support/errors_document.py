"""docs/errors.md: each of its rows has a test, which says so."""

from __future__ import annotations

from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "errors.md"


def documented(row: str) -> None:
    """Fail unless the document has this row; another test looks for rows that no test names."""
    assert f"| {row} |" in DOCUMENT.read_text(), f"docs/errors.md has no row: {row}"
