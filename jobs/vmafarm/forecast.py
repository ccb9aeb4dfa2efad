"""What a run takes, from a sample of its clips that is scored on this machine."""

from __future__ import annotations

import os
from typing import IO

from vmafarm.common.errors import IncompleteError
from vmafarm.common.say import say
from vmafarm.config.sections import Config
from vmafarm.config.workers import worker_count
from vmafarm.cost.estimate import Estimate, Work, gpus_of
from vmafarm.cost.footprint import footprint
from vmafarm.cost.measured import Measured, measure
from vmafarm.cost.predict import Total
from vmafarm.engines import find_engine
from vmafarm.process.node import node_name, visible_gpus
from vmafarm.run import begun, extract_missing
from vmafarm.run_folder.element_records import read_elements
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.run_folder.submissions import read_submissions
from vmafarm.scoring.attempts import clips_at_once
from vmafarm.scoring.local_executor import gpus_here
from vmafarm.scoring.todo import find_todo


def estimate_run(config: Config, sample: int, file: IO[str] | None = None) -> Estimate:
    """Score a sample of a run's clips on this machine, and estimate what the others take.

    The run is planned if it is not planned yet, and the rows of the sample are kept. Clips that were
    measured here earlier in the same way count too: only as many as `sample` lacks are scored.

    Parameters
    ----------
    config
        The configuration, with the corpus.
    sample
        Clips to measure at least, if there are as many.
    file
        Where to print progress; None: the standard output.

    Raises
    ------
    IncompleteError
        It was stopped, or nothing could be measured.
    VmafarmError
        See `plan` and `run_local`.
    """
    with begun(config, file) as (config, manifest):
        measured = _measured_here(config)
        lacking = sample - (len(measured.seconds) if measured else 0)
        if lacking > 0 and extract_missing(config, manifest, lacking, file):
            measured = _measured_here(config)
        elif lacking <= 0:
            say("enough clips were measured on this machine earlier: none is scored", file=file)
        if measured is None:
            raise IncompleteError(
                f'nothing could be measured: no clip of "{config.folder.name}" was scored on this machine',
                f"failures are in {config.folder.failures}; to measure a finished run again, give it "
                "another name (--run)",
            )
        return forecast(config, manifest, measured)


def _measured_here(config: Config) -> Measured | None:
    """What was measured on this machine, outside of SLURM's jobs, with as many clips at once."""
    engine = config.engine
    gpus = len(visible_gpus(os.environ)) if engine.backend == "cuda" else 0
    workers = worker_count(config.extract.workers, engine.threads, gpus)
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


def forecast(config: Config, manifest: Manifest, measured: Measured) -> Estimate:
    """What a run takes by what was measured on this machine.

    Parameters
    ----------
    config
        The configuration; ``[slurm]`` says how many elements run at the same time.
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
        return Work(clips, cores, here if cuda else None, slurm, here.times(1 / len(gpus_here(config))))

    known = sum(measured.seconds.values())
    return Estimate(
        run=config.folder.name, measured=len(measured.seconds),
        at_once=measured.at_once, threads=measured.threads,
        missing=work(len(missing), measured.predict(missing, sizes)),
        all=work(len(manifest.names), measured.predict(others, sizes).times(1, plus=known)),
        elements=elements, cpus=section.cpus, gpus=gpus,
        space=footprint(config.folder, measured.logs, len(manifest.names), manifest.slice_count),
    )  # fmt: skip
