"""Headers that columns of names and scores have in the public corpora, and what a first row is."""

from __future__ import annotations

from collections.abc import Sequence

from vmafarm.labels.numbers import to_number

NAME_COLUMNS = (
    "clip_name", "video_name", "file_name", "filename", "video", "name", "video_id", "vid", "video_list",
    "flickr_id",
)  # fmt: skip
"""Headers of the column of names, in any case of letters; the best guess first. ``video`` comes before
``name``: where a file has both, CHUG's ``name`` is that of the source."""

MOS_COLUMNS = ("mos", "video_score", "score", "mos full", "realignment mos", "mos_j")
"""Headers of the column of scores. KoNViD-150k's set A has ``video_score`` alone; set B has ``mos``
beside it, and there ``mos`` is the score on the scale from 1 to 5."""


def known_headers(row: Sequence[str]) -> int:
    """How many of the two columns, names and scores, a first row names: 0, 1 or 2."""
    cells = {cell.strip().lower() for cell in row}
    return bool(cells & set(NAME_COLUMNS)) + bool(cells & set(MOS_COLUMNS))


def is_header(row: Sequence[str], *, decimal_comma: bool) -> bool:
    """Whether a first row names the columns: it has a known header, or no cell that is a number."""
    if known_headers(row):
        return True
    return all(to_number(cell, decimal_comma=decimal_comma) is None for cell in row)
