"""Submits a run to SLURM: arrays of elements, and the merge behind them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit.core.utils import FailedJobError, FailedSubmissionError

from jobs.apptainer import ask, find_apptainer
from jobs.config import Config, flat
from jobs.errors import UnavailableError, UsageError, VmafarmError, show
from jobs.manifest import Manifest, load_manifest
from jobs.queue import Queue
from jobs.sif import check_sif, read_digest
from jobs.slices import format_indices
from jobs.slurm import Slurm, explain
from jobs.submission import (
    Array,
    Submission,
    check_request,
    container_python,
    depend_on,
    merge_parameters,
    new_submission,
    note_job,
    read_submissions,
    run_job_name,
    sbatch_parameters,
    split,
)
from jobs.toolkit import version
from jobs.work import find_todo

_SIF_SECONDS = 300.0


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
        What starts Python in an element.
    chunks
        Arrays of one round, each with its offset and count.
    """

    submission: Submission
    script: str
    command: str
    chunks: list[tuple[int, int]]

    def lines(self) -> list[str]:
        """What happened, for a terminal."""
        submission = self.submission
        arrays = len([array for array in submission.arrays if array.round == 0])
        lines = [
            f"submitted {len(submission.slices):,} slices: {format_indices(submission.slices)}",
            f"jobs {', '.join(submission.jobs())} called {submission.job_name}",
        ]
        if arrays > 1:
            lines.append(f"{arrays} arrays a round: the cluster's MaxArraySize allows no larger ones")
        return lines


def submit(config: Config, slurm: Slurm, *, again: bool = False, dry_run: bool = False) -> Submitted:
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

    Returns
    -------
    Submitted

    Raises
    ------
    UsageError
        Nothing is missing, the run is in the queue already, or the cluster has not what is asked for.
    UnavailableError
        No SLURM, no answer, a limit, or no usable image.
    """
    folder, section = config.folder, config.slurm
    manifest = load_manifest(folder)
    slurm.check()
    check_request(section, slurm.partitions())
    chunk_size = slurm.max_array_size()
    name = run_job_name(folder, manifest.digest)
    slices = _missing(config, manifest, slurm, name, again)
    digest = check_image(section.image) if section.image else ""
    earlier = read_submissions(folder)
    submission = Submission(
        max((s.number for s in earlier), default=0) + 1, name, slices, version(),
        section.image, digest, _changing(config),
    )  # fmt: skip
    chunks = split(len(slices), chunk_size)
    python = container_python(
        section, folder, Path(config.corpus.clips), config.extract.scratch, shlex.quote(sys.executable)
    )
    command = shlex.join(python) if section.image else python[0]
    queue = Queue(config, submission, command)
    parallelism = max(1, section.parallelism // len(chunks))
    script = queue.script(sbatch_parameters(section, name, parallelism), chunks[0][1])
    if dry_run:
        return Submitted(submission, script, command, chunks)
    new_submission(folder, submission)
    arrays: list[Array] = []
    try:
        for number in range(section.rounds):
            before = [array.job for array in arrays if array.round == number - 1]
            for offset, count in chunks:
                parameters = sbatch_parameters(section, name, parallelism)
                if before:
                    parameters["dependency"] = depend_on(before)
                arrays.append(Array(queue.array(parameters, offset, count), number, offset, count))
                note_job(folder, submission.number, vars(arrays[-1]))
        merge_job = queue.merge(merge_parameters(section, name, [array.job for array in arrays]))
        note_job(folder, submission.number, {"merge_job": merge_job})
    except (FailedJobError, FailedSubmissionError, OSError, UnavailableError) as error:
        raise _refused(error, [array.job for array in arrays]) from None
    return Submitted(read_submissions(folder)[-1], script, command, chunks)


def _missing(config: Config, manifest: Manifest, slurm: Slurm, name: str, again: bool) -> tuple[int, ...]:
    folder = config.folder
    every = tuple(range(manifest.slice_count))
    todo = sorted({clip.slice for clip in find_todo(folder, config, manifest, every)})
    if not todo:
        raise UsageError(
            f'nothing is missing: every clip of "{folder.name}" has a row or was set aside',
            f"publish the table: vmafarm merge --run {folder.name}",
        )
    busy, strangers = _look_in_queue(config, slurm, name)
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
    left = tuple(number for number in todo if number not in busy)
    if not left:
        raise UsageError(
            f"everything that is missing waits or runs: slices {format_indices(busy)}", "look: vmafarm status"
        )
    return left


def _look_in_queue(config: Config, slurm: Slurm, name: str) -> tuple[set[int], list[str]]:
    """Slices whose elements wait or run, and jobs of this name that stand in no record."""
    submissions = read_submissions(config.folder)
    noted = {job for submission in submissions for job in submission.jobs()}
    tasks = slurm.queue(name)
    found = (submission.slice_of(task.job, task.index) for task in tasks for submission in submissions)
    strangers = sorted({task.job for task in tasks} - noted, key=int)
    return {number for number in found if number is not None}, strangers


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


def check_image(image: str) -> str:
    """SHA-256 of a SIF whose toolkit is this version.

    Raises
    ------
    UsageError
        No such file, not a SIF, or of another version.
    UnavailableError
        Apptainer is not there or does not start the image.
    """
    path = Path(image).absolute()
    check_sif(path)
    python = ["exec", "--no-home", "--pwd", "/", "--env", "PYTHONPATH=", str(path), "/opt/venv/bin/python"]
    inside = ask([str(find_apptainer()), *python, "-c", "from jobs import toolkit; print(toolkit.version())"])
    if inside.strip() != version():
        raise UsageError(
            f"{show(image)} holds vmafarm {show(inside.strip())}, this is {version()}",
            "build the image again (vmafarm image), or use the version that it was built from",
        )
    return read_digest(path)


def _changing(config: Config) -> dict[str, Any]:
    return {key: value for key, value in flat(config).items() if not key.startswith("corpus.")}


def _refused(error: Exception, queued: Sequence[str]) -> VmafarmError:
    if isinstance(error, VmafarmError):
        message, hint = error.message, error.hint
    elif isinstance(error, OSError):
        message, hint = f"cannot write what the jobs need: {error}", "free space, or make the folder writable"
    else:
        said = [show(line.strip()) for line in str(error).splitlines() if line.strip()] or ["no message"]
        message = f"sbatch refuses: {said[0 if isinstance(error, FailedSubmissionError) else -1]}"
        hint = explain(str(error))
    if queued:
        hint += f"\nqueued before that: {', '.join(queued)}; vmafarm cancel removes them"
    return UnavailableError(message, hint)
