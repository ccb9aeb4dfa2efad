"""An efficiency as lines of text and as JSON: docs/json.md says what each field is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vmafarm.cluster.efficiency import Efficiency
from vmafarm.common.layout import labelled, unbroken
from vmafarm.common.text import counted, format_seconds
from vmafarm.cost.efficiency import Advice, Spent, SubmissionUse
from vmafarm.cost.estimate import hours
from vmafarm.process.process_limits import show_bytes
from vmafarm.process.usage import CGROUP, PROCESSES

_COLUMN = 19
_STATES = {
    "running": "running",
    "unfinished": "without an end (killed, or running)",
    "idle": "with nothing to do",
}
_MEMORY_FROM = {
    CGROUP: "by its control group",
    PROCESSES: "sum over its processes",
    "accounting": "MaxRSS of accounting",
}


def lines(efficiency: Efficiency) -> list[str]:
    """As lines that fit the terminal."""
    return labelled([("run", efficiency.run), *rows(efficiency)], _COLUMN)


def rows(efficiency: Efficiency) -> list[tuple[str, str]]:
    """Label and text of each line but the first, which names the run."""
    found: list[tuple[str, str]] = []
    for submission in efficiency.submissions:
        found += _submission(submission, efficiency.count)
    if efficiency.count > 1:
        text = f"{counted(efficiency.count, 'submission')}: {_spent(efficiency.all, _any_gpus(efficiency))}"
        found.append(("all", text))
    return found + [("note", note) for note in efficiency.notes]


def _any_gpus(efficiency: Efficiency) -> bool:
    return efficiency.all.gpu_seconds > 0


def _submission(use: SubmissionUse, count: int) -> list[tuple[str, str]]:
    asked, spent, peaks = use.asked, use.spent, use.peaks
    at = f", {use.at[:19].replace('T', ' ')} UTC" if use.at else ""
    found = [
        ("submission", f"{use.number} of {count}{at}{', a canary' if asked.canary else ''}"),
        ("elements", _elements(spent)),
        ("time", _time(use)),
    ]
    if use.times is not None:
        times = use.times
        found.append(
            (
                "clips",
                f"{spent.clips:,} scored; {times.median:.1f} s median, {times.p95:.1f} s 95th percentile; "
                f"{times.decoding:.0%} decoding, {1 - times.decoding:.0%} scoring",
            )
        )
    if spent.cpu_share is not None:
        busy = f"; {peaks.busy:.1f} in the busiest element" if peaks.busy else ""
        text = f"{spent.cpu_share * asked.cpus:.1f} of {asked.cpus} busy ({spent.cpu_share:.0%}){busy}"
        found.append(("processors", text))
    if peaks.memory:
        of = f" of {show_bytes(asked.memory)} asked for" if asked.memory else ""
        text = f"{show_bytes(peaks.memory)}{of}, highest of an element, {_MEMORY_FROM[peaks.memory_from]}"
        if peaks.memory_with_files:
            text += f"; {show_bytes(peaks.memory_with_files)} with page cache"
        found.append(("memory", text))
    if peaks.gpu_memory_total:
        busy = "busy time not known" if peaks.gpu_busy is None else f"busy {peaks.gpu_busy:.0%} of the time"
        memory = f"{show_bytes(peaks.gpu_memory)} of {show_bytes(peaks.gpu_memory_total)}"
        found.append(("GPU", f"{busy}; memory {memory} at most"))
    found.append(("spent", _spent(spent, bool(asked.gpus))))
    return [*found, *_advice(use.advice)]


def _elements(spent: Spent) -> str:
    parts = [unbroken(f"{spent.elements.get('ended', 0):,} ended")]
    parts += [
        unbroken(f"{spent.elements[state]:,} {text}")
        for state, text in _STATES.items()
        if spent.elements.get(state)
    ]
    if killed := spent.elements.get("killed", 0):
        why = ", ".join(f"{count:,} {end or 'for an unknown reason'}" for end, count in spent.killed.items())
        parts.append(f"{killed:,} killed ({why})")
    if spent.without_time:
        parts.append(f"{counted(spent.without_time, 'element')} without a time, not counted below")
    return ", ".join(parts)


def _time(use: SubmissionUse) -> str:
    asked, peaks = format_seconds(use.asked.minutes * 60), use.peaks
    if not peaks.mean_seconds:
        return f"{asked} asked for; no element has ended in order"
    mean, longest = format_seconds(peaks.mean_seconds), format_seconds(peaks.seconds)
    return f"{mean} of {asked} asked for, mean of an element; the longest {longest}"


def _spent(spent: Spent, with_gpus: bool) -> str:
    found = [f"{hours(spent.seconds)} hours of elements", f"{hours(spent.core_seconds)} core hours"]
    if with_gpus:
        found.append(f"{hours(spent.gpu_seconds)} GPU hours")
    return ", ".join(map(unbroken, found))


def _advice(advice: Sequence[Advice]) -> list[tuple[str, str]]:
    found = [("next time", "")]
    for one in advice:
        if not one.next:
            text = f"no recommendation: {one.why}"
        elif one.next == one.asked:
            text = f"{one.next} as before: {one.why}"
        else:
            text = f"{one.next}{f' instead of {one.asked}' if one.asked else ''}: {one.why}"
        found.append((f"  {one.key}", text))
    return found


def as_document(efficiency: Efficiency) -> dict[str, Any]:
    """What ``vmafarm efficiency --json`` prints."""
    return {
        "version": 1,
        "run": efficiency.run,
        "submissions": [_submission_document(use) for use in efficiency.submissions],
        "count": efficiency.count,
        "all": _spent_document(efficiency.all),
        "notes": list(efficiency.notes),
    }


def _submission_document(use: SubmissionUse) -> dict[str, Any]:
    asked, peaks, times = use.asked, use.peaks, use.times
    return {
        "number": use.number,
        "at": use.at,
        "canary": asked.canary,
        "asked": {
            "seconds": asked.minutes * 60,
            "cpus": asked.cpus,
            "gpus": asked.gpus,
            "memory": asked.memory,
            "workers": asked.workers,
        },
        "spent": _spent_document(use.spent),
        "peaks": {
            "seconds": peaks.seconds,
            "mean_seconds": peaks.mean_seconds,
            "busy_cpus": peaks.busy,
            "memory": peaks.memory,
            "memory_from": peaks.memory_from,
            "memory_with_files": peaks.memory_with_files,
            "gpu_busy": peaks.gpu_busy,
            "gpu_memory": peaks.gpu_memory,
            "gpu_memory_total": peaks.gpu_memory_total,
        },
        "times": times
        and {"clips": times.clips, "median": times.median, "p95": times.p95, "decoding": times.decoding},
        "advice": [
            {"key": one.key, "asked": one.asked, "next": one.next, "why": one.why} for one in use.advice
        ],
    }


def _spent_document(spent: Spent) -> dict[str, Any]:
    return {
        "elements": dict(spent.elements),
        "killed": {state or "unknown": count for state, count in spent.killed.items()},
        "without_time": spent.without_time,
        "clips": spent.clips,
        "seconds": spent.seconds,
        "core_seconds": spent.core_seconds,
        "gpu_seconds": spent.gpu_seconds,
        "cpu_seconds": spent.cpu_seconds,
        "cpu_share": spent.cpu_share,
    }
