"""What a split says on a terminal."""

from __future__ import annotations

from vmafarm.common.errors import show
from vmafarm.common.layout import labelled, unbroken, written
from vmafarm.common.text import counted
from vmafarm.tables.split import Part, Split


def lines(found: Split) -> list[str]:
    """Return the lines: groups, clips and scores of each side, and the file."""
    rows = [("table", unbroken(str(found.table)))]
    rows += [("note", note) for note in found.notes]
    source = found.source.told()
    if found.groups == sum(found.counts.values()):
        rows.append(("groups", f"{found.groups:,}, {source}"))
    else:
        largest = f'the largest, "{show(found.largest)}", has {counted(found.largest_clips, "clip")}'
        rows.append(("groups", f"{found.groups:,}, {source}; {largest}"))
    if found.source.is_none:
        rows.append(("", "to keep related clips together: --by, --groups, --pattern"))
    for part in found.parts:
        rows += [(part.side, _clips(part, sum(found.counts.values()))), ("", _mos(part))]
    return [*labelled(rows), *written(found.path, counted(sum(found.counts.values()), "row"))]


def _clips(part: Part, clips: int) -> str:
    share = f"{part.clips / clips:.1%}, asked {part.asked:.1%}"
    return f"{counted(part.clips, 'clip')} ({share}), {counted(part.groups, 'group')}"


def _mos(part: Part) -> str:
    if not part.mos.size:
        return "mos: none"
    mean, std, lowest, highest = part.mos_figures()
    lacking = part.clips - part.mos.size
    without = f", {counted(lacking, 'clip')} without" if lacking else ""
    return f"mos: mean {mean:.4g}, std {std:.4g}, min {lowest:.4g}, max {highest:.4g}{without}"
