"""What a label file holds, as text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class LabelTable:
    """A label file as text.

    Attributes
    ----------
    header
        Names of the columns, "" where a column has none; empty where the file has no header.
    columns
        Cells of each column, all of length rows. White space around them is removed unless it is quoted.
    lines
        Number of the line (row of a sheet, place in a MATLAB file) of each row, from 1.
    notes
        What was assumed and must be told, one short sentence each.
    decimal_comma
        Whether numbers have a decimal comma.
    place
        What `lines` counts: "line" or "row".
    undecoded
        All bytes of a file that is not UTF-8; empty for all others. Each byte that is not ASCII is then a
        lone surrogate in the cells (PEP 383), so such cells cannot be used or written.
    """

    header: list[str]
    columns: list[list[str]]
    lines: list[int]
    notes: tuple[str, ...] = ()
    decimal_comma: bool = False
    place: str = "line"
    undecoded: bytes = b""

    @property
    def titles(self) -> list[str]:
        """Names of the columns for messages; by their numbers where the file has no header."""
        return self.header or [f"column {at}" for at in range(1, len(self.columns) + 1)]
