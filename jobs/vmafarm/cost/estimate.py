"""What clips of a run take, and how it is printed: by `vmafarm estimate`, and before a submission."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vmafarm.common.layout import labelled, unbroken
from vmafarm.common.text import counted, format_seconds, size
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.cost.footprint import Footprint
from vmafarm.cost.measured import Measured
from vmafarm.cost.predict import AT_LEAST, Total


@dataclass(frozen=True)
class Work:
    """What some clips take.

    Attributes
    ----------
    clips
        How many.
    core_seconds
        Processor time: busy on this machine, or as SLURM charges it for elements.
    gpu_seconds
        GPU time; None: the engine computes on the CPU.
    slurm_seconds
        Wall time once all elements of ``[slurm]`` run.
    here_seconds
        Wall time on this machine; None: not measured here.
    longest_seconds
        Wall time of the longest element; None: not packed into elements yet.
    """

    clips: int
    core_seconds: Total
    gpu_seconds: Total | None
    slurm_seconds: Total
    here_seconds: Total | None = None
    longest_seconds: Total | None = None

    def rows(self, elements: str) -> list[tuple[str, str]]:
        """Label and text of each figure; `elements` says what runs at the same time in SLURM."""
        totals = (
            ("  core hours", self.core_seconds, hours, ""),
            ("  GPU hours", self.gpu_seconds, hours, ""),
            ("  this machine", self.here_seconds, format_seconds, ""),
            ("  SLURM, at best", self.slurm_seconds, format_seconds, f", {unbroken(elements)}"),
            ("  longest", self.longest_seconds, format_seconds, ""),
        )
        return [
            (label, _with_interval(total, text) + more)
            for label, total, text, more in totals
            if total is not None
        ]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: see docs/json.md."""
        totals = ("core_seconds", "gpu_seconds", "here_seconds", "slurm_seconds")
        return {"clips": self.clips} | {
            name: total and {"value": total.value, "low": total.low, "high": total.high}
            for name in totals
            for total in [getattr(self, name)]
        }


@dataclass(frozen=True)
class Other:
    """What all clips take on the backend that the run does not use.

    Attributes
    ----------
    backend
        ``cpu`` or ``cuda``.
    measured
        Clips that were measured on it.
    all
        What all clips take.
    """

    backend: str
    measured: int
    all: Work

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: see docs/json.md."""
        return {"backend": self.backend, "measured": self.measured, "all": self.all.as_dict()}


@dataclass(frozen=True)
class Estimate:
    """What a run takes, by clips of it that were measured.

    Attributes
    ----------
    run
        Its name.
    measured, at_once, threads
        Clips that were measured, how many of them were in work at once, and threads of each program.
    missing, all
        What the missing clips take, and what all take; None: not asked for.
    elements, cpus, gpus
        Elements that run at the same time in SLURM, and what each has.
    space
        On disk; None: not known.
    other
        The other backend, where this machine has a GPU and a program for both; else None.
    no_gpu
        Where CUDA is asked for and no GPU was seen: what was looked at.
    """

    run: str
    measured: int
    at_once: int
    threads: int
    missing: Work
    elements: int
    cpus: int
    gpus: int
    all: Work | None = None
    space: Footprint | None = None
    other: Other | None = None
    no_gpu: str = ""

    @property
    def faster(self) -> str:
        """The backend that takes less time on this machine; "": the other one was not measured."""
        if self.other is None or self.all is None:
            return ""
        here, there = self.all.here_seconds, self.other.all.here_seconds
        own = "cpu" if self.other.backend == "cuda" else "cuda"
        return own if here and there and here.value <= there.value else self.other.backend

    def lines(self) -> list[str]:
        """As lines that fit the terminal."""
        where = "in SLURM jobs" if self.all is None else "on this machine"
        interval = "from sampling clips, in brackets; other machines differ"
        if self.missing.core_seconds.high is None or (self.all and self.all.core_seconds.high is None):
            interval = f"none: it takes at least {AT_LEAST} measured clips (--sample, --canary)"
        rows = [
            ("measured", f"{counted(self.measured, 'clip')} {where}, {self.at_once} at once, "
                         f"{counted(self.threads, 'thread')} each"),
            ("95% interval", interval),
        ]  # fmt: skip
        if self.measured < 2 * self.at_once:
            rows.append(("", "too few clips to measure how parallel work slows down"))
        each = counted(self.cpus, "cpu") + (f", {counted(self.gpus, 'GPU')}" if self.gpus else "")
        elements = f"{counted(self.elements, 'element')} at once with {each}"
        for name, work in (("missing", self.missing), ("all", self.all)):
            if work is not None:
                rows.append((f"{name}: {counted(work.clips, 'clip')}", ""))
                rows += work.rows(elements) if work.clips else []
        if self.other is not None:
            name = "GPU" if self.other.backend == "cuda" else "CPU"
            rows.append(
                (f"all, on the {name}:", f"by {counted(self.other.measured, 'clip')} scored on it too")
            )
            rows += self.other.all.rows(elements)
            rows.append(("take", f'engine.backend = "{self.faster}", the faster one here'))
        if self.no_gpu:
            rows.append(("GPU", f"none was seen, these are not a GPU's figures: {self.no_gpu}"))
        return labelled(rows + self._space_rows())

    def _space_rows(self) -> list[tuple[str, str]]:
        space = self.space
        if space is None:
            return []
        scratch = "none, the engine reads the clips themselves"
        if space.scratch_bytes:
            scratch = (
                f"{size(space.scratch_bytes)} per clip, {self.at_once} at once; the largest measured clip: "
                f"{space.width}x{space.height}, {counted(space.frames, 'frame')}, {space.bit_depth} bit"
            )
        output = f"table {size(space.table_bytes)}, run folder {size(space.folder_bytes)}"
        if space.frames_bytes:
            output += f", frames {size(space.frames_bytes)} more"
        return [("scratch", scratch), ("output", output)]

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: see docs/json.md."""
        space = self.space
        return {
            "version": 1,
            "run": self.run,
            "measured": self.measured,
            "at_once": self.at_once,
            "threads": self.threads,
            "missing": self.missing.as_dict(),
            "all": self.all and self.all.as_dict(),
            "elements": self.elements,
            "cpus": self.cpus,
            "gpus": self.gpus,
            "other": self.other and self.other.as_dict(),
            "faster": self.faster,
            "no_gpu": self.no_gpu,
            "space": space
            and {
                "scratch_bytes": space.scratch_bytes,
                "width": space.width,
                "height": space.height,
                "frames": space.frames,
                "bit_depth": space.bit_depth,
                "table_bytes": space.table_bytes,
                "folder_bytes": space.folder_bytes,
                "frames_bytes": space.frames_bytes,
            },
        }


def of_submission(
    run: str, measured: Measured, seconds: Total, elements: Sequence[int], section: SlurmSection
) -> Estimate:
    """What a submission takes.

    Parameters
    ----------
    run
        Name of the run.
    measured
        What its clips took in elements.
    seconds
        Of an element, for all clips of the submission.
    elements
        Clips of each element, at least one.
    section
        ``[slurm]``: processors, GPUs, and how many elements run at the same time.
    """
    clips, gpus = sum(elements), gpus_of(section)
    at_once = min(section.parallelism, len(elements))
    longest = max(elements) / clips
    work = Work(
        clips,
        core_seconds=seconds.times(section.cpus),
        gpu_seconds=seconds.times(gpus) if gpus else None,
        slurm_seconds=seconds.times(max(longest, 1 / at_once)),
        longest_seconds=seconds.times(longest),
    )
    return Estimate(
        run, len(measured.seconds), measured.at_once, measured.threads, work, at_once, section.cpus, gpus
    )


def gpus_of(section: SlurmSection) -> int:
    """GPUs of an element, also where they are asked for as generic resources (``gpu:a100:2``)."""
    if not section.gres:
        return section.gpus
    parts = [part for part in section.gres.split(",") if part.startswith("gpu")]
    return sum(int(found[1]) if (found := re.search(r":(\d+)$", part)) else 1 for part in parts)


def hours(seconds: float) -> str:
    """Hours with as many digits as mean something."""
    number = seconds / 3600
    digits = 0 if number >= 100 else 1 if number >= 1 else 3 if number >= 0.01 else 5
    return f"{number:,.{digits}f}"


def _with_interval(total: Total, text: Callable[[float], str]) -> str:
    if total.low is None or total.high is None or total.low == total.high:
        return text(total.value)
    return f"{text(total.value)} ({text(total.low)} to {text(total.high)})"
