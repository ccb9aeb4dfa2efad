"""What the rest of a run will take, from what its clips have taken so far."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jobs.element_log import ElementRecord
from jobs.progress import format_seconds
from jobs.settings import SlurmSection
from jobs.submission import Submission


@dataclass(frozen=True)
class Cost:
    """What a clip takes.

    Attributes
    ----------
    seconds
        Of an element, with all its workers: its wall time by the clips that it did.
    clips
        How many it was measured on.
    """

    seconds: float
    clips: int


@dataclass(frozen=True)
class Estimate:
    """What a submission will take.

    Attributes
    ----------
    clips
        Clips to be done.
    cost
        Of one.
    element_seconds
        Of the longest element.
    core_hours, gpu_hours
        That SLURM will charge, without starting up.
    wall_seconds
        At the given parallelism, if the queue lets all in at once.
    """

    clips: int
    cost: Cost
    element_seconds: float
    core_hours: float
    gpu_hours: float
    wall_seconds: float

    def lines(self) -> list[str]:
        """For a terminal of 80 columns."""
        hours = f"{_hours(self.core_hours)} core hours"
        if self.gpu_hours:
            hours += f", {_hours(self.gpu_hours)} GPU hours"
        return [
            f"measured on {self.cost.clips:,} clips: {self.cost.seconds:.2f} s of an element for a clip",
            f"estimate for {self.clips:,} clips: {hours},",
            f"  {format_seconds(self.wall_seconds)} once elements run, the longest takes "
            f"{format_seconds(self.element_seconds)}",
        ]


def measure(records: Iterable[ElementRecord], submissions: Sequence[Submission]) -> Cost | None:
    """Cost of a clip in the latest submission that has any to show.

    Workers, processors and GPUs may change from one submission to the next, so older ones do not
    count. An element that was killed says nothing.

    Returns
    -------
    Cost or None
        None: nothing was measured.
    """
    ended = [record for record in records if record.ended_at and record.done and record.seconds > 0]
    for submission in reversed(submissions):
        jobs = {array.job for array in submission.arrays}
        of_it = [record for record in ended if record.job in jobs]
        if of_it:
            clips = sum(record.done for record in of_it)
            return Cost(sum(record.seconds for record in of_it) / clips, clips)
    return None


def estimate(cost: Cost, elements: Sequence[int], section: SlurmSection) -> Estimate:
    """What so many clips in each element will take.

    Parameters
    ----------
    cost
        Of one clip.
    elements
        Clips of each element.
    section
        ``[slurm]``: processors, GPUs, and how many elements run at the same time.
    """
    seconds = cost.seconds * sum(elements)
    longest = cost.seconds * max(elements)
    hours = seconds / 3600
    return Estimate(
        clips=sum(elements),
        cost=cost,
        element_seconds=longest,
        core_hours=hours * section.cpus,
        gpu_hours=hours * gpus_of(section),
        wall_seconds=max(longest, seconds / min(section.parallelism, len(elements))),
    )


def gpus_of(section: SlurmSection) -> int:
    """GPUs of an element, also where they are asked for as generic resources (``gpu:a100:2``)."""
    if not section.gres:
        return section.gpus
    parts = [part for part in section.gres.split(",") if part.startswith("gpu")]
    return sum(int(found[1]) if (found := re.search(r":(\d+)$", part)) else 1 for part in parts)


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.3f}"
