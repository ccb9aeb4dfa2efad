"""What the rest of a run will take, from what its clips have taken so far."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vmafarm.common.text import counted, format_seconds
from vmafarm.config.sections import SlurmSection
from vmafarm.corpus.sample import AT_LEAST
from vmafarm.cost.measured import Measured, measure
from vmafarm.run_folder.element_records import ElementRecord
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import Submission


@dataclass(frozen=True)
class Cost:
    """What a clip takes.

    Attributes
    ----------
    seconds
        Of an element, with all its workers, on average of the clips that are missing.
    clips
        How many it was measured on.
    error
        Half the width of the 95% interval of `seconds`; None: too few were measured.
    """

    seconds: float
    clips: int
    error: float | None = None


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
        hours = f"{hours_text(self.core_hours)} core hours"
        if self.gpu_hours:
            hours += f", {hours_text(self.gpu_hours)} GPU hours"
        return [
            f"measured on {counted(self.cost.clips, 'clip')}: "
            f"{self.cost.seconds:.2f} s of an element for a clip",
            f"estimate for {counted(self.clips, 'clip')}: {hours},",
            f"  {format_seconds(self.wall_seconds)} once elements run, the longest takes "
            f"{format_seconds(self.element_seconds)}",
            f"  {self._interval()}",
        ]

    def _interval(self) -> str:
        error = self.cost.error
        if error is None or not self.cost.seconds:
            return f"too few clips for an interval, which takes {AT_LEAST}"
        low, high = (max(0.0, 1 + sign * error / self.cost.seconds) for sign in (-1, 1))
        ends = f"{hours_text(self.core_hours * low)} to {hours_text(self.core_hours * high)} core hours"
        if self.gpu_hours:
            ends += f", {hours_text(self.gpu_hours * low)} to {hours_text(self.gpu_hours * high)} GPU hours"
        return f"95% interval: {ends}"


def measure_latest(
    folder: RunFolder, records: Iterable[ElementRecord], submissions: Sequence[Submission]
) -> Measured | None:
    """What clips took in the latest submission that has any to show.

    Workers, processors and GPUs may change from one submission to the next, so older ones do not
    count.

    Returns
    -------
    Measured or None
        None: nothing was measured.
    """
    known = list(records)
    for submission in reversed(submissions):
        jobs = {array.job for array in submission.arrays}
        measured = measure(folder, [record for record in known if record.job in jobs])
        if measured is not None:
            return measured
    return None


def cost_of(measured: Measured, missing: Collection[str], sizes: Mapping[str, int]) -> Cost:
    """What each of these clips will take of an element, from those of all sizes that were measured.

    Parameters
    ----------
    measured
        Of clips of the same run.
    missing
        Names of the clips to be done, at least one.
    sizes
        Bytes of every clip.
    """
    mean = measured.predict(missing, sizes).times(measured.element_share / len(missing))
    return Cost(mean.value, len(measured.seconds), mean.error)


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


def hours_text(hours: float) -> str:
    """Hours with as many digits as mean something."""
    digits = 0 if hours >= 100 else 1 if hours >= 1 else 3 if hours >= 0.01 else 5
    return f"{hours:,.{digits}f}"
