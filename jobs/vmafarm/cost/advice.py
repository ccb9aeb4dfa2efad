"""What to ask for next time, from what elements used: pure decisions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vmafarm.common.text import counted, format_seconds
from vmafarm.cost.efficiency import LONG_ENOUGH, Advice, Asked, ElementUse, highest
from vmafarm.process.process_limits import show_bytes

MEMORY_HEADROOM = 1.25
"""Clips differ in size, and a look once a second can miss a peak."""
TIME_HEADROOM = 1.5
"""Nodes differ in speed; an element that runs out of time leaves its clips to the next round."""
CPU_HEADROOM = 1.1
GPU_HEADROOM = 1.25
_MORE_MEMORY = 1.5
_MORE_TIME = 2
_GIB, _MIB = 1 << 30, 1 << 20
_TIME_STEP = 5
"""Minutes."""


def advise(asked: Asked, uses: Sequence[ElementUse]) -> list[Advice]:
    """Decide what to ask for next time.

    Parameters
    ----------
    asked
        What was asked for.
    uses
        The elements of the submission.

    Returns
    -------
    list of Advice
        ``slurm.mem``, ``slurm.cpus``, perhaps ``extract.workers``, ``slurm.time``, and ``slurm.gpus`` where
        GPUs were asked for.
    """
    advice = [_memory(asked, uses), *_cpus(asked, uses), _time(asked, uses)]
    return [*advice, _gpus(asked, uses)] if asked.gpus else advice


def _memory(asked: Asked, uses: Sequence[ElementUse]) -> Advice:
    was = memory_text(asked.memory) if asked.memory else ""

    def advice(following: str, why: str) -> Advice:
        return Advice("slurm.mem", was, following, why)

    killed = sum(use.end == "OUT_OF_MEMORY" for use in uses)
    if killed and asked.memory:
        why = f"{counted(killed, 'element')} ran out of memory with {was}: half as much again"
        return advice(memory_text(round_memory(asked.memory * _MORE_MEMORY)), why)
    if killed:
        return advice("", f"{counted(killed, 'element')} ran out of memory; how much they had is not known")
    peak = highest(uses).memory
    if not peak:
        return advice("", "no element has measured its memory")
    measured = f"{show_bytes(peak)} at most, plus {MEMORY_HEADROOM - 1:.0%}"
    following = round_memory(peak * MEMORY_HEADROOM)
    if asked.memory and following < asked.memory:
        short = sum(use.short_of_memory for use in uses)
        if short:
            return advice("", f"{counted(short, 'clip')} failed for lack of memory (out_of_memory)")
        if unknown := _killed_for_unknown_reasons(uses):
            return advice("", f"{unknown}, perhaps for lack of memory; {measured} would be less")
    return advice(memory_text(following), measured)


def _cpus(asked: Asked, uses: Sequence[ElementUse]) -> list[Advice]:
    was = str(asked.cpus)
    busy = highest(uses).busy
    if not busy:
        why = f"no element has measured {LONG_ENOUGH:.0f} s of work"
        return [Advice("slurm.cpus", was, "", why)]
    measured = f"{busy:.1f} busy in the busiest element"
    following = max(1, math.ceil(round(busy * CPU_HEADROOM, 6)))
    if following >= asked.cpus:
        # Without binding, SLURM lets a job use processors that it did not ask for.
        following = max(asked.cpus, math.ceil(round(busy / CPU_HEADROOM, 6)))
        return [Advice("slurm.cpus", was, str(following), measured)]
    return [
        Advice("slurm.cpus", was, str(following), f"{measured}, plus {CPU_HEADROOM - 1:.0%}"),
        Advice("extract.workers", str(asked.workers), str(asked.workers), "as many clips at once as before"),
    ]


def _time(asked: Asked, uses: Sequence[ElementUse]) -> Advice:
    was = str(asked.minutes)

    def advice(following: str, why: str) -> Advice:
        return Advice("slurm.time", was, following, why)

    late = sum(use.out_of_time for use in uses)
    if late:
        why = (
            f"{counted(late, 'element')} ran out of time within {asked.minutes} min: twice as much, "
            "or a lower slurm.minutes"
        )
        return advice(str(asked.minutes * _MORE_TIME), why)
    if asked.canary:
        return advice("", "a canary is shorter than the elements after it")
    longest = max((use.seconds for use in uses if use.state == "ended"), default=0.0)
    if not longest:
        return advice("", "no element has measured its time")
    # An element that had less to do than slurm.minutes says nothing about one that has more.
    of_work = min(_rounded_minutes(asked.work_minutes * TIME_HEADROOM), asked.minutes)
    following = _rounded_minutes(longest / 60 * TIME_HEADROOM)
    measured = f"longest element {format_seconds(longest)}"
    why = f"{measured}, plus {TIME_HEADROOM - 1:.0%}"
    if of_work > following:
        following = of_work
        why = f"slurm.minutes {asked.work_minutes:g}, plus {TIME_HEADROOM - 1:.0%}; {measured}"
    if following < asked.minutes and (unknown := _killed_for_unknown_reasons(uses)):
        return advice("", f"{unknown}, perhaps for lack of time")
    return advice(str(following), why)


def _gpus(asked: Asked, uses: Sequence[ElementUse]) -> Advice:
    was = str(asked.gpus)

    def advice(following: str, why: str) -> Advice:
        return Advice("slurm.gpus", was, following, why + (" (in slurm.gres)" if asked.gres else ""))

    if not asked.uses_gpus:
        return advice("0", "the engine computes on the CPU")
    peaks = highest(uses)
    if peaks.gpu_busy is None:
        return advice("", "no element has measured its GPUs")
    measured = f"busy {peaks.gpu_busy:.0%} of the time"
    following = min(asked.gpus, max(1, math.ceil(round(asked.gpus * peaks.gpu_busy * GPU_HEADROOM, 6))))
    if following < asked.gpus:
        return advice(str(following), f"{measured}, plus {GPU_HEADROOM - 1:.0%}")
    return advice(was, measured)


def _killed_for_unknown_reasons(uses: Sequence[ElementUse]) -> str:
    unfinished = sum(use.state == "unfinished" for use in uses)
    killed = sum(use.state == "killed" and not use.end for use in uses)
    if unfinished:
        return f"{counted(unfinished + killed, 'element')} may have been killed"
    return f"{counted(killed, 'element')} {'was' if killed == 1 else 'were'} killed" if killed else ""


def _rounded_minutes(minutes: float) -> int:
    return max(_TIME_STEP, math.ceil(round(minutes / _TIME_STEP, 6)) * _TIME_STEP)


def round_memory(size: float) -> int:
    """Round bytes up to whole GiB; below one, to a quarter of it."""
    step = _GIB if size > _GIB else _GIB // 4
    return math.ceil(size / step) * step


def memory_text(size: int) -> str:
    """A size as ``slurm.mem`` has it, where GB means GiB: ``16GB``, ``512MB``."""
    return f"{size // _GIB}GB" if size % _GIB == 0 else f"{-(-size // _MIB)}MB"
