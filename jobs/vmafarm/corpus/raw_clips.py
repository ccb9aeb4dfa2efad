"""Raw clips (.yuv): which files they are, and whether their sizes fit the geometry that is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vmafarm.common.errors import UsageError, show
from vmafarm.config.geometry import FORM, Geometry, geometry_columns, geometry_of_cells, read_rule
from vmafarm.labels.label_table import LabelTable

RAW = "yuv"
"""Extension of raw clips, which are clips where their geometry is known."""
GEOMETRY_HINT = (
    f"where names say the size of raw clips, give its pattern: corpus.geometry, for example {FORM}; "
    'where all have one size: "1280x720 30fps 8bit"; or give the label file columns width and height'
)
_EXAMPLES = 3


def is_raw(name: str) -> bool:
    """Whether this is the name of a raw clip."""
    return name[-4:].lower() == f".{RAW}"


def check_raw(names: Sequence[str], sizes: Mapping[str, int], geometry: str) -> None:
    """Raise UsageError if raw clips have no geometry, or are no whole number of its frames."""
    rule, wrong = read_rule(geometry), []
    for name in names:
        try:
            found = rule.of(name)
        except ValueError as error:
            wrong.append(f"{show(name)}: the name {show(str(error))}")
        else:
            wrong += _misfit(name, sizes[name], found)
    if wrong:
        raise UsageError(
            _told(wrong, f"{len(names):,} raw clips do not fit corpus.geometry = {show(geometry)}"),
            "expected a name that says the geometry, and a size that is a multiple of the frame's: correct "
            "corpus.geometry (the bits and the chroma, too), or move these files out of the clips folder",
        )


def _misfit(name: str, size: int, geometry: Geometry) -> list[str]:
    """What is wrong with the size of a raw clip: one line, or none."""
    if size % geometry.frame_bytes == 0:
        return []
    return [f"{show(name)}: {size:,} bytes, but a frame of {geometry} has {geometry.frame_bytes:,}"]


def _told(wrong: Sequence[str], of: str) -> str:
    more = [f"and {len(wrong) - _EXAMPLES:,} more"] if len(wrong) > _EXAMPLES else []
    lines = (*wrong[:_EXAMPLES], *more)
    return "\n".join([f"{len(wrong):,} of {of}:", *(f"  {line}" for line in lines)])


def has_geometry(table: LabelTable) -> bool:
    """Whether a label file has columns that say the geometry of raw clips."""
    return bool(geometry_columns(table.header))


def label_geometry(path: Path, table: LabelTable, clips: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """Geometry of raw clips from columns of the label file, such as width, height and pixfmt.

    Parameters
    ----------
    path
        Of the label file, for messages.
    table
        The file; see `has_geometry`.
    clips
        Size in bytes of each raw clip, and its row in the table; -1: it has none.

    Returns
    -------
    dict
        Name to `Geometry.words`.

    Raises
    ------
    UsageError
        A clip has no row, its row does not say a geometry, or its size is no whole number of frames.
    """
    places, wrong = geometry_columns(table.header), []
    found: dict[str, str] = {}
    for name, (size, row) in clips.items():
        if row < 0:
            wrong.append(f"{show(name)}: no row of the label file is about it")
            continue
        cells = {field: table.columns[at][row] for field, at in places.items()}
        if table.decimal_comma:
            cells = {field: cell.replace(",", ".") for field, cell in cells.items()}
        try:
            geometry = geometry_of_cells(cells)
        except ValueError as error:
            wrong.append(f"{show(name)}: {table.place} {table.lines[row]} {show(str(error))}")
        else:
            wrong += _misfit(name, size, geometry)
            found[name] = geometry.words
    if wrong:
        columns = ", ".join(show(table.header[at]) for at in places.values())
        raise UsageError(
            _told(wrong, f"{len(clips):,} raw clips do not fit the columns {columns} of {show(str(path))}"),
            "expected width and height of each, and a size that is a multiple of the frame's: correct the "
            "file, set corpus.geometry, which is used instead, or move these clips out of the clips folder",
        )
    return found


def raw_geometry(name: str, geometry: str) -> Geometry | None:
    """Geometry of a planned clip; None: it is not a raw one.

    Parameters
    ----------
    name
        Name of the clip.
    geometry
        That of its row in the manifest; where there is none, ``corpus.geometry``, as the plan froze it.

    Raises
    ------
    UsageError
        The plan has a raw clip, and its geometry does not fit.
    """
    if not is_raw(name):
        return None
    try:
        return read_rule(geometry).of(name)
    except ValueError as error:
        raise UsageError(
            f"the plan has the raw clip {show(name)}, which corpus.geometry = {show(geometry)} does not "
            f"describe: {show(str(error))}",
            "plan again under another run.name",
        ) from None
