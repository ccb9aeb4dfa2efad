"""What the elements of a submission used, against what was asked for: the arithmetic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Asked:
    """What a submission asked for, for each of its elements.

    Attributes
    ----------
    minutes
        Time limit (``slurm.time``).
    work_minutes
        Work of an element, at most (``slurm.minutes``).
    cpus, gpus
        Processors and GPUs.
    memory
        Bytes; 0: not known, or not asked for.
    workers
        Clips scored at once.
    uses_gpus
        Whether the engine computes on GPUs.
    gres
        Whether GPUs are asked for by ``slurm.gres``.
    canary
        Whether it was a first small job.
    """

    minutes: int
    work_minutes: float
    cpus: int
    gpus: int
    memory: int
    workers: int
    uses_gpus: bool = False
    gres: bool = False
    canary: bool = False


@dataclass(frozen=True)
class ElementUse:
    """What one element used, with all of its starts. What is not known is 0, "" or None.

    Attributes
    ----------
    state
        ``ended``; ``running``; ``killed``; ``unfinished``, killed or running; ``idle``, which found nothing
        to do.
    end
        Of one that was killed, its SLURM state by accounting.
    seconds, cpu_seconds
        Wall time and processor time.
    cpus
        Processors that it had.
    busy
        Mean number of processors that were busy between its first clip and its last.
    work_seconds
        Wall time between them.
    memory, memory_from, memory_with_files
        Most bytes; see `vmafarm.process.usage.Usage`. ``accounting``: MaxRSS.
    gpus, gpu_busy, gpu_memory, gpu_memory_total
        GPUs that it looked at, their mean share of busy time, most bytes taken on one, and what that has.
    clips
        Rows that it wrote.
    out_of_time
        Whether its time limit ended it.
    short_of_memory
        Clips that failed for lack of memory.
    """

    state: str
    end: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    cpus: int = 0
    busy: float = 0.0
    work_seconds: float = 0.0
    memory: int = 0
    memory_from: str = ""
    memory_with_files: int = 0
    gpus: int = 0
    gpu_busy: float | None = None
    gpu_memory: int = 0
    gpu_memory_total: int = 0
    clips: int = 0
    out_of_time: bool = False
    short_of_memory: int = 0


@dataclass(frozen=True)
class ClipTimes:
    """What clips took, each beside the others that were in work.

    Attributes
    ----------
    clips
        How many were measured.
    median, p95
        Seconds of a clip, decoding and scoring together.
    decoding
        Share of all these seconds that went into decoding, 0 to 1.
    """

    clips: int
    median: float
    p95: float
    decoding: float


@dataclass(frozen=True)
class Spent:
    """Sums over elements.

    Attributes
    ----------
    elements
        Elements by state, as `ElementUse.state`.
    killed
        Those that were killed, by SLURM state; "": not known.
    without_time
        Elements that ran but whose wall time is not known, and is not in the sums.
    clips
        Rows that they wrote.
    seconds, core_seconds, gpu_seconds
        Wall time of elements, and multiplied by their processors and GPUs.
    cpu_seconds, cpu_of_core_seconds
        Processor time that was used, and the core seconds of the elements for which it is known.
    """

    elements: Mapping[str, int]
    killed: Mapping[str, int]
    without_time: int
    clips: int
    seconds: float
    core_seconds: float
    gpu_seconds: float
    cpu_seconds: float
    cpu_of_core_seconds: float

    @property
    def cpu_share(self) -> float | None:
        """Share of the processors' time that was used; None: not known."""
        return self.cpu_seconds / self.cpu_of_core_seconds if self.cpu_of_core_seconds else None

    def plus(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(
            dict(Counter(self.elements) + Counter(other.elements)),
            dict(Counter(self.killed) + Counter(other.killed)),
            self.without_time + other.without_time,
            self.clips + other.clips,
            self.seconds + other.seconds,
            self.core_seconds + other.core_seconds,
            self.gpu_seconds + other.gpu_seconds,
            self.cpu_seconds + other.cpu_seconds,
            self.cpu_of_core_seconds + other.cpu_of_core_seconds,
        )


NOTHING = Spent({}, {}, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Peaks:
    """The highest figures of any element. What is not known is 0, "" or None.

    Attributes
    ----------
    seconds, mean_seconds
        Wall time of the longest element, and the mean of those that ended.
    memory, memory_from, memory_with_files
        As `ElementUse`.
    busy
        Mean number of busy processors, among elements that worked for `LONG_ENOUGH` at least.
    gpu_busy
        Mean over all elements, weighted by their wall time, 0 to 1.
    gpu_memory, gpu_memory_total
        As `ElementUse`.
    """

    seconds: float = 0.0
    mean_seconds: float = 0.0
    memory: int = 0
    memory_from: str = ""
    memory_with_files: int = 0
    busy: float = 0.0
    gpu_busy: float | None = None
    gpu_memory: int = 0
    gpu_memory_total: int = 0


LONG_ENOUGH = 60.0
"""Seconds of work after which starting and ending no longer dominate what an element measures."""


@dataclass(frozen=True)
class SubmissionUse:
    """One submission: what it asked for, and what its elements used.

    Attributes
    ----------
    number, at
        Of the submission, and when it was made (ISO 8601, UTC; "": not recorded).
    asked
        For each element.
    spent, peaks
        Sums and highest figures.
    times
        Of its clips; None: no clip log, or only damaged ones.
    advice
        What to ask for next time.
    """

    number: int
    at: str
    asked: Asked
    spent: Spent
    peaks: Peaks
    times: ClipTimes | None = None
    advice: Sequence[Advice] = field(default=())


@dataclass(frozen=True)
class Advice:
    """One key of the configuration.

    Attributes
    ----------
    key
        Such as ``slurm.mem``.
    asked, next
        Its value, and the one to set next time, as the configuration file has them; `next` is "" where
        the measurements do not carry one.
    why
        The measured figure and the headroom; or why there is no value.
    """

    key: str
    asked: str
    next: str
    why: str


def add_up(uses: Sequence[ElementUse], asked: Asked) -> Spent:
    """Sum over elements."""
    known = [use for use in uses if use.seconds]
    with_cpu = [use for use in known if use.cpu_seconds]
    return Spent(
        dict(Counter(use.state for use in uses)),
        dict(Counter(use.end for use in uses if use.state == "killed")),
        sum(use.state in ("ended", "killed", "unfinished") and not use.seconds for use in uses),
        sum(use.clips for use in uses),
        sum(use.seconds for use in known),
        sum(use.seconds * use.cpus for use in known),
        sum(use.seconds * asked.gpus for use in known),
        sum(use.cpu_seconds for use in with_cpu),
        sum(use.seconds * use.cpus for use in with_cpu),
    )


def highest(uses: Sequence[ElementUse]) -> Peaks:
    """Highest figures of any element."""
    largest = max(uses, key=lambda use: use.memory, default=ElementUse("ended"))
    ended = [use.seconds for use in uses if use.state == "ended" and use.seconds]
    gpu = [(use.gpu_busy, use.seconds) for use in uses if use.gpu_busy is not None]
    wall = sum(seconds for _, seconds in gpu)
    fullest = max(uses, key=lambda use: use.gpu_memory, default=ElementUse("ended"))
    return Peaks(
        max((use.seconds for use in uses), default=0.0),
        sum(ended) / len(ended) if ended else 0.0,
        largest.memory,
        largest.memory_from,
        max((use.memory_with_files for use in uses), default=0),
        max((use.busy for use in uses if use.work_seconds >= LONG_ENOUGH), default=0.0),
        sum(busy * seconds for busy, seconds in gpu) / wall if wall else None,
        fullest.gpu_memory,
        fullest.gpu_memory_total,
    )


def clip_times(decoding: Sequence[float], scoring: Sequence[float]) -> ClipTimes | None:
    """Summarise what clips took, in seconds each; None: there are none."""
    each = np.asarray(decoding, dtype=np.float64) + np.asarray(scoring, dtype=np.float64)
    if not each.size:
        return None
    total = float(each.sum())
    median, p95 = np.quantile(each, [0.5, 0.95])
    return ClipTimes(each.size, float(median), float(p95), float(sum(decoding)) / total if total else 0.0)
