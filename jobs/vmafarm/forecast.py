"""What a run will take, from a sample of its clips that is scored on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from vmafarm.common.errors import IncompleteError
from vmafarm.common.say import say
from vmafarm.common.text import counted, format_seconds, size
from vmafarm.config.load import Config
from vmafarm.config.workers import worker_count
from vmafarm.corpus.sample import AT_LEAST, Total
from vmafarm.cost.footprint import Footprint, footprint
from vmafarm.cost.measured import Measured, measure
from vmafarm.cost.submission_cost import gpus_of, hours_text
from vmafarm.engines import find_engine
from vmafarm.process.node import node_name
from vmafarm.run import begin, extract_missing
from vmafarm.run_folder.element_records import read_elements
from vmafarm.run_folder.manifest import Manifest
from vmafarm.run_folder.submissions import read_submissions
from vmafarm.scoring.attempts import clips_at_once
from vmafarm.scoring.local_executor import gpus_here
from vmafarm.scoring.todo import find_todo

_LABEL = 17


@dataclass(frozen=True)
class Work:
    """What some clips take.

    Attributes
    ----------
    clips
        How many.
    core_seconds
        Of processors, as they were busy here.
    gpu_seconds
        Of GPUs; None: the engine computes on the CPU.
    here_seconds
        Wall time on this machine.
    slurm_seconds
        Wall time at the best, when all elements of ``[slurm]`` run.
    """

    clips: int
    core_seconds: Total
    gpu_seconds: Total | None
    here_seconds: Total
    slurm_seconds: Total


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Attributes
    ----------
    run
        Its name.
    measured, at_once, threads
        Clips that were measured on this machine, how many of them were in work at once, and threads
        of each program.
    missing, all
        What the clips that are missing take, and what all take.
    elements, cpus, gpus
        That run at the same time in SLURM, and what each has.
    space
        On disk.
    """

    run: str
    measured: int
    at_once: int
    threads: int
    missing: Work
    all: Work
    elements: int
    cpus: int
    gpus: int
    space: Footprint | None

    def lines(self) -> list[str]:
        """For a terminal of 80 columns."""
        enough = self.all.core_seconds.error is not None
        facts = [
            ("measured", f"on {counted(self.measured, 'clip')} on this machine, {self.at_once} at once, "
                         f"{counted(self.threads, 'thread')} each"),
            ("interval", "95% in brackets, by the choice of clips; other machines differ" if enough
                         else f"none: too few clips, it takes {AT_LEAST} (--sample)"),
        ]  # fmt: skip
        if self.measured < 2 * self.at_once:
            facts.append(("", f"{self.at_once} at once slow each other down more than so few clips show"))
        facts += self._work_facts(f"missing: {counted(self.missing.clips, 'clip')}", self.missing)
        facts += self._work_facts(f"all: {counted(self.all.clips, 'clip')}", self.all)
        facts += self._space_facts()
        return [f"{label:<{_LABEL}}{text}".rstrip() for label, text in facts]

    def _work_facts(self, title: str, work: Work) -> list[tuple[str, str]]:
        if not work.clips:
            return [(title, "")]
        each = counted(self.cpus, "cpu") + (
            f", {counted(self.gpus, 'GPU')}" if work.gpu_seconds is not None else ""
        )
        facts = [(title, ""), ("  core hours", _hours(work.core_seconds))]
        if work.gpu_seconds is not None:
            facts.append(("  GPU hours", _hours(work.gpu_seconds)))
        return [
            *facts,
            ("  this machine", _duration(work.here_seconds)),
            ("  SLURM, at best", _duration(work.slurm_seconds)),
            ("", f"{counted(self.elements, 'element')} at once with {each}"),
        ]

    def _space_facts(self) -> list[tuple[str, str]]:
        space = self.space
        if space is None:
            return []
        scratch = "none, the engine reads the clips themselves"
        shape = f"{space.width}x{space.height}, {counted(space.frames, 'frame')}, {space.bit_depth} bit"
        if space.scratch_bytes:
            scratch = f"{size(space.scratch_bytes)} a clip in work, {self.at_once} at once"
        return [
            ("scratch", scratch),
            *([("", f"{shape}, the largest of those measured")] if space.scratch_bytes else []),
            ("output", f"{size(space.table_bytes)} the table, {space.row_bytes:.0f} bytes a row; "
                       f"{size(space.folder_bytes)} the run folder"),
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """The same for machines: each total with both ends of its interval."""
        document = asdict(self)
        for key in ("missing", "all"):
            work = getattr(self, key)
            totals = {name: value for name, value in vars(work).items() if isinstance(value, Total)}
            document[key] |= {
                name: {"value": total.value, "low": total.low, "high": total.high}
                for name, total in totals.items()
            }
        return document


def _hours(total: Total) -> str:
    return _with_interval(total, lambda seconds: hours_text(seconds / 3600))


def _duration(total: Total) -> str:
    return _with_interval(total, format_seconds)


def _with_interval(total: Total, text: Callable[[float], str]) -> str:
    if total.low is None or total.high is None or not total.error:
        return text(total.value)
    return f"{text(total.value)} ({text(total.low)} to {text(total.high)})"


def estimate_run(config: Config, console: Console, sample: int, limit: int | None = None) -> Forecast:
    """Score a sample of a run's clips on this machine, and tell what the others will take.

    The run is planned if it is not yet, and the rows of the sample count as done. Clips that were
    measured on this machine before, in the same way, count too: only what lacks to `sample` is scored.

    Parameters
    ----------
    config
        The configuration, with the corpus.
    console
        Where to tell what is done.
    sample
        Clips to be measured at the least, if there are so many.
    limit
        See `vmafarm.corpus.plan.plan`.

    Raises
    ------
    IncompleteError
        It was stopped, or nothing could be measured.
    VmafarmError
        See `plan` and `run_local`.
    """
    config, manifest = begin(config, console, limit)
    measured = _measured_here(config)
    lacking = sample - (len(measured.seconds) if measured else 0)
    if lacking > 0 and extract_missing(config, manifest, console, lacking):
        measured = _measured_here(config)
    elif lacking <= 0:
        say("measured before on this machine: no clip is scored", file=console.file)
    if measured is None:
        raise IncompleteError(
            f'nothing could be measured: no clip of "{config.folder.name}" was scored on this machine',
            f"what failed stands in {config.folder.failures}; to measure a run that is done, give it "
            "another name (--run)",
        )
    return forecast(config, manifest, measured)


def _measured_here(config: Config) -> Measured | None:
    """What was measured on this machine, outside of SLURM's jobs, with as many clips at once."""
    engine = config.engine
    workers = worker_count(config.extract.workers, engine.threads)
    at_once = clips_at_once(find_engine(engine), workers)
    submitted = {job for one in read_submissions(config.folder) for job in one.jobs()}
    here = node_name(os.environ)
    return measure(
        config.folder,
        [
            record
            for record in read_elements(config.folder)
            if (record.node, record.at_once, record.threads) == (here, at_once, engine.threads)
            and record.cpu_seconds > 0
            and record.job not in submitted
        ],
    )


def forecast(config: Config, manifest: Manifest, measured: Measured) -> Forecast:
    """What a run takes by what was measured on this machine.

    Parameters
    ----------
    config
        The configuration; ``[slurm]`` tells how many elements run at the same time.
    manifest
        Its clips.
    measured
        Some of them.
    """
    section = config.slurm
    sizes = manifest.sizes()
    every = tuple(range(manifest.slice_count))
    missing = [clip.name for clip in find_todo(config.folder, config, manifest, every)]
    others = [name for name in manifest.names if name not in measured.seconds]
    elements = min(section.parallelism, manifest.slice_count)
    cuda = config.engine.backend == "cuda"
    gpus = max(1, gpus_of(section)) if cuda else 0

    def work(clips: int, seconds: Total) -> Work:
        cores = seconds.times(measured.cpu_share)
        here = seconds.times(measured.element_share)  # an element has one GPU here
        slurm = here.times(1 / (elements * gpus)) if cuda else cores.times(1 / (elements * section.cpus))
        return Work(clips, cores, here if cuda else None, here.times(1 / len(gpus_here(config))), slurm)

    known = sum(measured.seconds.values())
    return Forecast(
        run=config.folder.name, measured=len(measured.seconds),
        at_once=measured.at_once, threads=measured.threads,
        missing=work(len(missing), measured.predict(missing, sizes)),
        all=work(len(manifest.names), measured.predict(others, sizes).plus(known)),
        elements=elements, cpus=section.cpus, gpus=gpus,
        space=footprint(config.folder, measured.logs, len(manifest.names), manifest.slice_count),
    )  # fmt: skip
