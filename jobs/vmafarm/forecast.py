"""What a run takes, from a sample of its clips that is scored on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

from vmafarm.common.errors import IncompleteError, UnavailableError
from vmafarm.common.say import say
from vmafarm.common.text import counted
from vmafarm.config.clip_limits import Limits
from vmafarm.config.sections import Config
from vmafarm.config.workers import worker_count
from vmafarm.corpus.planned_set import measured_set
from vmafarm.corpus.raw_clips import raw_geometry
from vmafarm.corpus.sample import stratified
from vmafarm.cost.estimate import Estimate, Other, Work, gpus_of
from vmafarm.cost.footprint import footprint
from vmafarm.cost.measured import Measured, makespan, measure
from vmafarm.cost.predict import Total
from vmafarm.engines import find_engine, make_engine
from vmafarm.engines.vmaf import VmafEngine
from vmafarm.process.gpu_here import look_for_gpu
from vmafarm.process.node import node_name, visible_gpus
from vmafarm.process.run import Stop
from vmafarm.process.scratch import scratch_folder
from vmafarm.process.usage import cpu_seconds
from vmafarm.run import begun, extract_missing
from vmafarm.run_folder.element_records import read_elements
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.run_folder.submissions import read_submissions
from vmafarm.scoring.attempts import Attempts, clips_at_once
from vmafarm.scoring.clip import Clip
from vmafarm.scoring.extract import Scorer
from vmafarm.scoring.local_executor import gpus_here
from vmafarm.scoring.probing import probed_on
from vmafarm.scoring.todo import find_todo
from vmafarm.scoring.trial import side_by_side

_COMPARED = 8
"""Clips that are scored on the other backend as well."""


def estimate_run(config: Config, sample: int, file: IO[str] | None = None) -> Estimate:
    """Score a sample of a run's clips on this machine, and estimate what the others take.

    The run is planned if it is not planned yet, and the rows of the sample are kept. Clips that were
    measured here earlier in the same way count too: only as many as `sample` lacks are scored. Where there
    is a GPU and a program for GPU and CPU, a few clips are scored on the other backend as well.

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
        found = forecast(config, manifest, measured)
        gpu = look_for_gpu()
        if config.engine.backend == "cuda" and not gpu.seen:
            return replace(found, no_gpu=gpu.tell())
        if gpu.seen and find_engine(config.engine) is VmafEngine:
            return replace(found, other=_measure_other(config, manifest, measured, file))
        return found


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


def _measure_other(
    config: Config, manifest: Manifest, measured: Measured, file: IO[str] | None
) -> Other | None:
    """Score a few of the measured clips on the other backend as well; no row of it is kept.

    None: that does not work, or no clip could be scored; it is said.
    """
    backend = "cpu" if config.engine.backend == "cuda" else "cuda"
    name = "GPU" if backend == "cuda" else "CPU"
    config = config.model_copy(update={"engine": config.engine.model_copy(update={"backend": backend})})
    sizes, known = manifest.sizes(), sorted(measured.seconds, key=str.encode)
    names = [known[at] for at in stratified(known, [sizes[name] for name in known], _COMPARED)]
    say(f"scoring {counted(len(names), 'clip')} on the {name} too, for comparison", file=file)
    try:
        found = _score_aside(config, manifest, names)
    except UnavailableError as error:
        say(f"the {name} cannot be measured: {error.message}", file=file)
        return None
    if found is None:
        say(f"the {name} cannot be measured: it scores none of these clips", file=file)
        return None
    work = forecast(config, manifest, found).all
    assert work is not None
    return Other(backend, len(found.seconds), work)


def _score_aside(config: Config, manifest: Manifest, names: Sequence[str]) -> Measured | None:
    """What clips take with this configuration in an element of one GPU, or on the CPU; nothing is kept."""
    section, folder = config.engine, Path(config.corpus.clips)
    rules = [manifest.geometry.get(name) or config.corpus.geometry for name in names]
    clips = [
        Clip(name, folder / name, 0.0, 0, raw=raw_geometry(name, rule))
        for name, rule in zip(names, rules, strict=True)
    ]
    gpus = visible_gpus(os.environ)[:1] if section.backend == "cuda" else []
    stop = Stop()
    made = make_engine(section, Limits.of(config.extract), measured_set(config))
    with scratch_folder(config.extract.scratch) as scratch:
        engine, gpus, _ = probed_on(made, gpus, scratch, stop)
        workers = worker_count(config.extract.workers, section.threads, len(gpus))
        scorer = Scorer(engine, scratch, stop, config.extract.timeout)
        attempts = Attempts(scorer, workers, 1, gpus)
        began, cpu = time.monotonic(), cpu_seconds()
        seconds: dict[str, float] = {}
        tasks = [partial(attempts.run, clip) for clip in clips]
        for at, outcome in side_by_side(tasks, attempts.at_once, stop):
            if (done := outcome.extracted) is not None:
                seconds[names[at]] = done.seconds_decoding + done.seconds_scoring
        wall, cpu = time.monotonic() - began, cpu_seconds() - cpu
    stop.close()
    if not seconds:
        return None
    each = list(seconds.values())
    ideal = attempts.at_once * makespan(each, attempts.at_once)
    return Measured(seconds, wall / ideal, cpu / sum(each), attempts.at_once, section.threads)


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
