"""Shows the progress of a run as a table, once or repeatedly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from time import sleep

from rich.console import Console
from rich.live import Live
from rich.text import Text

from vmafarm.cluster.job_states import one_line
from vmafarm.cluster.merge_job import MergeJob
from vmafarm.cluster.status import SLICE_STATES, Status
from vmafarm.cluster.status_json import as_document
from vmafarm.cluster.waiting import Waiting
from vmafarm.common.errors import show
from vmafarm.common.layout import labelled, unbroken
from vmafarm.common.say import printable, say, text_width, to_json
from vmafarm.common.text import counted, format_seconds
from vmafarm.shards.remarks import tell_remarks

_LABEL = 11
_SHOWN_INDICES = 36


def table(status: Status, width: int | None = None) -> list[str]:
    """A status as lines of text.

    Parameters
    ----------
    status
        The status to show.
    width
        Columns, at least 30; None: those of the terminal.
    """
    width = text_width() if width is None else max(width, 30)
    share = status.done / status.clips if status.clips else 1.0
    room = width - _LABEL
    rows = [
        ("run", f"{status.run}, {status.at[:19].replace('T', ' ')} UTC"),
        (
            "clips",
            f"{status.done:,} of {status.clips:,} done ({_percent(share)}), {status.missing:,} missing, "
            f"{status.failed_for_good:,} failed for good",
        ),
        *_waiting(status),
        ("", _bar(share, room)),
        ("slices", _legend(status.slices)),
        *(("", line) for line in grid(status.states, room)),
    ]
    if status.clips_per_second and status.seconds_left is not None:
        left = f", {_left(status)} left" if status.missing else ""
        rows.append(("rate", f"{_rate(status.clips_per_second)}{left}"))
    if status.at_work is not None:
        rows.append(("at work", str(status.at_work)))
    if status.elements:
        rows.append(("elements", _counts(status.elements)))
    rows += [("", _cut(f"{count:,} stopped early: {message}", width)) for count, message in status.messages]
    rows += [
        ("node", _cut(f"{broken.node} is excluded: {one_line(broken.message)}", width))
        for broken in status.broken_nodes
    ]
    rows += _pending(status)
    if status.merge is not None and status.merge.state:
        rows += [("merge", _merge_text(status.merge)), *(("", line) for line in status.merge.reasons)]
    if status.errors:
        rows.append(("checks", f"found errors in the table: {', '.join(status.errors)}: vmafarm qa"))
    rows += [
        ("failed", _cut(f"{failure} {count:,}: {message}", width))
        for failure, (count, message) in status.failures.items()
    ]
    if without_row := status.failed_for_good + status.tried:
        rows.append(("", f"{counted(without_row, 'clip')} tried in vain: vmafarm failures"))
    if status.missing_slices:
        rows.append(("retry", f"would submit slices {_shorten(status.missing_slices)}: vmafarm retry"))
    rows += [("note", note) for note in (*tell_remarks(status.remarks), *status.notes)]
    return labelled(rows, _LABEL, width, strict=True)


def grid(states: str, width: int) -> list[str]:
    """Slices as a grid: one sign per slice, or per group of neighbours.

    Parameters
    ----------
    states
        One letter per slice; see `Status.states`.
    width
        Columns of the grid.

    Returns
    -------
    list of str
        At most six lines; empty for a single slice.
    """
    if len(states) < 2:
        return []
    together = -(-len(states) // (width * _GRID_LINES))
    signs = []
    for first in range(0, len(states), together):
        group = states[first : first + together]
        # Of a group, the state that matters most is shown.
        signs.append(next(sign for letter, sign in _SIGNS.items() if letter in group))
    text = "".join(signs)
    lines = [text[first : first + width] for first in range(0, len(text), width)]
    return [*lines, *([f"each sign: {together} slices"] if together > 1 else [])]


_GRID_LINES = 5
_SIGNS = {"f": "x", "u": "?", "r": ">", "p": ".", "n": "-", "d": "#"}
"""First letter of a state to its sign, distinguishable without colour; the most important first."""


def _waiting(status: Status) -> list[tuple[str, str]]:
    if not status.waiting:
        return []
    clips = counted(status.waiting, "missing clip")
    return [("", f"{clips} failed on one node only, to be tried on another one")]


def _pending(status: Status) -> list[tuple[str, str]]:
    """Why jobs wait, all together; then those that never start, each with what to do."""
    if not status.pending:
        return []
    together = ", ".join(unbroken(f"{one.count:,} {one.reason or 'no reason yet'}") for one in status.pending)
    return [
        ("pending", together),
        *(("", f"{_jobs(one)} will not start by itself: {one.hint}") for one in status.pending if one.hint),
    ]


def _jobs(waiting: Waiting) -> str:
    more = f" and {len(waiting.jobs) - 1:,} more" if len(waiting.jobs) > 1 else ""
    return f"{waiting.reason}: job {waiting.jobs[0]}{more}"


def _legend(slices: Mapping[str, int]) -> str:
    counts = {f"{state} {_SIGNS[state[0]]}": slices[state] for state in SLICE_STATES}
    return _counts(counts)


def _bar(share: float, width: int) -> str:
    full = int(share * (width - 2))
    return f"[{'#' * full}{'-' * (width - 2 - full)}]"


def _left(status: Status) -> str:
    if status.seconds_left_between is not None:
        shortest, longest = map(format_seconds, status.seconds_left_between)
        return shortest if shortest == longest else f"{shortest} to {longest}"
    return format_seconds(status.seconds_left or 0.0)


def as_json(status: Status) -> str:
    """A status as one line of JSON."""
    return to_json(as_document(status))


def show_once(status: Status, show_json: bool = False) -> None:
    """Print a status as a table or as JSON."""
    say(*([as_json(status)] if show_json else table(status)))


def watch(look: Callable[[], Status], seconds: float, show_json: bool = False) -> Status:
    """Show the status repeatedly, until no job of the run is queued and no process works on it.

    In place on a terminal, elsewhere as blocks separated by empty lines; JSON as one line each.

    Parameters
    ----------
    look
        Reads the status.
    seconds
        Pause between updates.
    show_json
        Print JSON.

    Returns
    -------
    Status
        The last status.
    """
    console = Console()
    if show_json or not console.is_terminal:
        first = True
        for status in _looks(look, seconds):
            lines = [as_json(status)] if show_json else table(status)
            say(*lines if first or show_json else ["", *lines])
            first = False
        return status
    with Live(console=console, auto_refresh=False) as live:
        for status in _looks(look, seconds):
            text = "\n".join(table(status))
            live.update(Text(printable(text)), refresh=True)
    return status


def _looks(look: Callable[[], Status], seconds: float) -> Iterator[Status]:
    while True:
        status = look()
        yield status
        # If the queue is unknown, the disk says when there is nothing left to do.
        if status.working is False or (status.working is None and not status.missing):
            return
        sleep(seconds)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(unbroken(f"{count:,} {what}") for what, count in counts.items() if count)


def _rate(clips_per_second: float) -> str:
    for unit, seconds in (("second", 1), ("minute", 60)):
        if clips_per_second * seconds >= 1:
            return f"{clips_per_second * seconds:,.1f} clips per {unit}"
    return f"{clips_per_second * 3600:,.1f} clips per hour"


def _merge_text(merge: MergeJob) -> str:
    if merge.published:
        return f"{merge.state}, the table is there"
    return f"{merge.state}, nothing published:" if merge.reasons else merge.state


def _percent(share: float) -> str:
    """A percentage that is 100.0% only if nothing is missing."""
    return f"{share:.1%}" if share in (0.0, 1.0) else f"{min(0.999, max(0.001, share)):.1%}"


def _shorten(indices: str) -> str:
    """Cut a list of numbers to one line; the JSON has all of them."""
    if len(indices) <= _SHOWN_INDICES:
        return indices
    return indices[:_SHOWN_INDICES].rpartition(",")[0] + ",..."


def _cut(text: str, width: int) -> str:
    """Cut a message to one line."""
    room = width - _LABEL
    text = show(text)
    return text if len(text) <= room else text[: room - 3] + "..."
