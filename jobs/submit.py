"""Submits a run to SLURM: arrays of elements, and the merge behind them."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from submitit.core.utils import FailedJobError, FailedSubmissionError

from jobs.canary import run_canary
from jobs.clip import Clip
from jobs.config import Config
from jobs.element_log import read_elements
from jobs.errors import UnavailableError, UsageError
from jobs.estimate import Estimate, cost_of, estimate, measure_latest
from jobs.layout import deal, group, group_by_size, lay_out, slots, split
from jobs.manifest import load_manifest
from jobs.prepare import Prepared, prepare, refused
from jobs.sbatch import depend_on, merge_parameters, sbatch_parameters
from jobs.slices import format_indices
from jobs.slurm import Slurm
from jobs.submission import (
    Array,
    Submission,
    note_job,
    read_submissions,
    run_job_name,
)
from jobs.trust import check_run_folders, secure_logs
from jobs.work import find_todo


@dataclass(frozen=True)
class Submitted:
    """What was submitted, or would be.

    Attributes
    ----------
    submission
        With the jobs that were queued.
    script
        The sbatch script of the first array.
    command
        What starts Python in an element, in the container.
    rounds
        Arrays of each round, as numbers of elements.
    estimate
        What it will take; None: nothing was measured.
    """

    submission: Submission
    script: str
    command: str
    rounds: list[list[int]]
    estimate: Estimate | None

    def plan(self) -> str:
        """What would be queued."""
        rounds = "; ".join(
            f"round {number}: " + " + ".join(f"{count:,}" for count in counts)
            for number, counts in enumerate(self.rounds, 1)
        )
        return f"elements of each array: {rounds}\nnothing queued (--dry-run)"

    def lines(self) -> list[str]:
        """What happened, for a terminal."""
        submission = self.submission
        slices, elements = len(submission.slices), len(submission.elements)
        within = f" in {elements:,} elements" if elements < slices else ""
        lines = [
            f"submitted {slices:,} slices{within}: {format_indices(submission.slices)}",
            f"jobs {', '.join(submission.jobs())} called {submission.job_name}",
        ]
        if len(self.rounds[0]) > 1:
            lines.append(f"{len(self.rounds[0])} arrays: the cluster's MaxArraySize allows no larger ones")
        return lines


def submit(
    config: Config, slurm: Slurm, *, again: bool = False, dry_run: bool = False, canary: int = 0,
    say: Callable[[str], None] = print, preflight: Callable[[], None] | None = None,
) -> Submitted:  # fmt: skip
    """Queue what is missing of a planned run.

    Parameters
    ----------
    config
        The configuration, with what the plan has frozen.
    slurm
        The cluster.
    again
        A retry: slices whose elements still wait or run are left to them. Otherwise such a run is
        refused.
    dry_run
        Queue and write nothing.
    canary
        Before all else, score so many clips in a first small job and wait for it.
    say
        Told what the canary does, and the estimate before the arrays go out.
    preflight
        Called when all else is right, before the first job is queued; an error of it ends the call.

    Returns
    -------
    Submitted

    Raises
    ------
    UsageError
        Nothing is missing, the run is in the queue already, the cluster has not what is asked for, or
        somebody else could write what the jobs run.
    UnavailableError
        No SLURM, no answer, a limit, or no usable image.
    IncompleteError
        The canary failed.
    """
    prepared = prepare(config, slurm)
    for line in check_run_folders(config.folder):
        say(line)
    if not dry_run:
        secure_logs(config.folder)
    todo = _missing(prepared, slurm, again)
    if preflight is not None and not dry_run:
        preflight()
    few = len(todo) // 2  # something must be left for the arrays
    if canary and few and not dry_run:
        slices = sorted({clip.slice for clip in todo})
        job = run_canary(prepared, slurm, slices, min(canary, few), say)
        todo = _missing(prepared, slurm, again, ended=job)
    request = _request(prepared, slurm, todo)
    for line in request.estimate.lines() if request.estimate else []:
        say(line)
    if dry_run:
        return request
    return _queue(prepared, request)


def _request(prepared: Prepared, slurm: Slurm, todo: Sequence[Clip]) -> Submitted:
    """What is to be submitted: elements, rounds, script."""
    section = prepared.config.slurm
    folder = prepared.config.folder
    submissions = read_submissions(folder)
    weights = Counter(clip.slice for clip in todo)
    measured = measure_latest(folder, read_elements(folder), submissions)
    cost = measured and cost_of(measured, [clip.name for clip in todo], prepared.manifest.sizes())
    minutes = cost.seconds * len(todo) / 60 if cost else None
    left = section.max_jobs or slurm.jobs_left(section.account, section.qos)
    layout = lay_out(len(weights), minutes, section, prepared.max_array_size, left)
    sizes = layout.sizes
    elements = group_by_size(weights, sizes) if sizes else group(weights, layout.first)
    arrays = split(len(elements), prepared.max_array_size, section.parallelism)
    if sizes:
        elements = deal(elements, arrays)
    submission = Submission(
        number=max((s.number for s in submissions), default=0) + 1,
        job_name=prepared.job_name,
        elements=elements,
        version=prepared.version,
        image=section.image,
        image_digest=prepared.image_digest,
        engine=prepared.config.engine.kind,
        settings=prepared.settings,
        done=len(prepared.manifest.names) - len(todo),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    chunks = [count for _, count in arrays]
    rounds = [chunks, *([layout.later] for _ in range(section.rounds - 1))]
    at_once = slots(section.parallelism, len(chunks))
    parameters = sbatch_parameters(section, prepared.job_name, at_once[0])
    clips = [sum(weights[number] for number in element) for element in elements]
    return Submitted(
        submission=submission,
        script=prepared.queue(submission.number).script(parameters, chunks[0]),
        command=shlex.join(prepared.python),
        rounds=rounds,
        estimate=estimate(cost, clips, section) if cost else None,
    )


def _queue(prepared: Prepared, request: Submitted) -> Submitted:
    """Queue it: the first round, those behind it, and the merge behind all."""
    folder, section, name = prepared.config.folder, prepared.config.slurm, prepared.job_name
    submission = prepared.begin(request.submission)
    queue = prepared.queue(submission.number)
    arrays: list[Array] = []
    try:
        for number, counts in enumerate(request.rounds):
            before = [array.job for array in arrays if array.round == number - 1]
            for i, (count, at_once) in enumerate(
                zip(counts, slots(section.parallelism, len(counts)), strict=True)
            ):
                parameters = sbatch_parameters(section, name, at_once)
                if before:
                    parameters["dependency"] = depend_on(before)
                array = Array("", number, sum(counts[:i]), count)
                elements = [submission.slices_in(array, index) for index in range(count)]
                arrays.append(replace(array, job=queue.array(parameters, elements)))
                note_job(folder, submission.number, vars(arrays[-1]))
        merge_job = queue.merge(merge_parameters(section, name, [array.job for array in arrays]))
        note_job(folder, submission.number, {"merge_job": merge_job})
    except (FailedJobError, FailedSubmissionError, OSError, UnavailableError) as error:
        raise refused(error, [array.job for array in arrays]) from None
    return replace(request, submission=read_submissions(folder)[-1])


def _missing(prepared: Prepared, slurm: Slurm, again: bool, ended: str = "") -> list[Clip]:
    """Missing clips of the slices that nobody works on.

    A job of which it is known that it has ended does not count, in whatever state squeue still has it.
    """
    config, manifest = prepared.config, prepared.manifest
    folder = config.folder
    every = tuple(range(manifest.slice_count))
    todo = find_todo(folder, config, manifest, every)
    if not todo:
        raise UsageError(
            f'nothing is missing: every clip of "{folder.name}" has a row or was set aside',
            f"publish the table: vmafarm merge --run {folder.name}",
        )
    busy, strangers = _look_in_queue(config, slurm, prepared.job_name, ended)
    busy &= {clip.slice for clip in todo}
    if strangers:
        raise UsageError(
            f'jobs of "{folder.name}" are in the queue that no submission has noted: {", ".join(strangers)}',
            "wait for the vmafarm that queues them; should it have died: vmafarm cancel, then vmafarm retry",
        )
    if busy and not again:
        raise UsageError(
            f'the run "{folder.name}" is in the queue already: slices {format_indices(busy)}',
            "look: vmafarm status; submit only what nobody works on: vmafarm retry; or: vmafarm cancel",
        )
    left = [clip for clip in todo if clip.slice not in busy]
    if not left:
        raise UsageError(
            f"everything that is missing waits or runs: slices {format_indices(busy)}",
            "look: vmafarm status",
        )
    return left


def _look_in_queue(config: Config, slurm: Slurm, name: str, ended: str) -> tuple[set[int], list[str]]:
    """Slices whose elements wait or run, and jobs of this name that stand in no record."""
    submissions = read_submissions(config.folder)
    noted = {job for submission in submissions for job in submission.jobs()}
    tasks = [task for task in slurm.queue(name) if task.job != ended]
    busy = {
        number
        for task in tasks
        for submission in submissions
        for number in submission.slices_of(task.job, task.index)
    }
    return busy, sorted({task.job for task in tasks} - noted, key=int)


def cancel(config: Config, slurm: Slurm) -> list[str]:
    """Cancel the jobs that have this run's name, orphans of a dropped shell too.

    Returns
    -------
    list of str
        Their ids.
    """
    manifest = load_manifest(config.folder)
    slurm.check()
    jobs = sorted({task.job for task in slurm.queue(run_job_name(config.folder, manifest.digest))}, key=int)
    slurm.cancel(jobs)
    return jobs
