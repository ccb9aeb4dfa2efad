"""Submits a run to SLURM: one array per round, and the merge behind them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from vmafarm.cluster.clusters import refuse_elsewhere
from vmafarm.cluster.executor import Queue
from vmafarm.cluster.job_states import one_line
from vmafarm.cluster.pilot import run_canary
from vmafarm.cluster.preparation import Prepared, prepare, refused
from vmafarm.cluster.request import Missing, Submitted, make_request
from vmafarm.cluster.sbatch import depend_on, merge_parameters, sbatch_parameters
from vmafarm.cluster.slurm import NoCluster, Slurm
from vmafarm.cluster.slurm_programs import ignored_variables
from vmafarm.common.errors import UnavailableError, UsageError, VmafarmError, show
from vmafarm.common.interrupts import tell_from_now_on, telling
from vmafarm.common.steps import step, working
from vmafarm.config.sections import Config
from vmafarm.config.workers import tell_idle_gpus
from vmafarm.corpus.slices import format_indices
from vmafarm.disk.locks import locked
from vmafarm.images.linked_clips import check_linked_clips
from vmafarm.process.job_ids import in_order
from vmafarm.run_folder.at_work import read_worker
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.permissions import check_image_way, check_run_folders, secure_logs
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.run_folder.submissions import (
    ELSEWHERE,
    EVERYTHING,
    LAST_LOOK,
    ORDINARY,
    Array,
    note_job,
    read_submissions,
    write_next_look,
)
from vmafarm.shards.completeness import read_states


class NothingToSubmitError(UsageError):
    """Every clip has a row, has failed for good, or is worked on."""


def preview(
    config: Config, slurm: Slurm, manifest: Manifest, *, again: bool = False,
    say: Callable[[str], None] | None = None,
) -> Submitted:  # fmt: skip
    """Show what `submit` would queue; nothing is written, and SLURM is not needed.

    Parameters
    ----------
    config, slurm, again
        As for `submit`.
    manifest
        Of the run, which need not be planned yet.
    say
        Told what could not be looked at here; None: that is an error, as for `submit`.

    Raises
    ------
    UsageError
        As for `submit`.
    NothingToSubmitError
        Every clip has a row, has failed for good, or is worked on.
    """
    try:
        slurm.check()
    except UnavailableError as error:
        if say is None:
            raise
        say(f"no cluster to ask ({one_line(error.message)}): its limits are not known here")
        slurm = NoCluster()
    _warn(config, say or (lambda _: None))
    prepared = prepare(config, slurm, manifest, say)
    try:
        _check_links(config, manifest, say or (lambda _: None))
    except UsageError as error:
        if say is None:
            raise
        say(f"a submission would be refused: {error.message}")
    return make_request(prepared, slurm, _missing(prepared, slurm, again))


def submit(
    config: Config, slurm: Slurm, *, again: bool = False, canary: int = 0,
    say: Callable[[str], None] = print, preflight: Callable[[], None] | None = None,
) -> Submitted:  # fmt: skip
    """Queue what is missing of a planned run.

    Parameters
    ----------
    config
        The configuration, with what the plan froze.
    slurm
        The cluster.
    again
        A retry: slices whose elements are pending or running are left to them. Otherwise such a run is
        refused.
    canary
        First score this many clips in a small job and wait for it.
    say
        Gets the progress of the canary, and the estimate before the arrays are queued.
    preflight
        Called when all else is right, before the first job is queued; its errors end the call.

    Returns
    -------
    Submitted

    Raises
    ------
    UsageError
        Nothing is missing, the run is in the queue already or being queued, the cluster lacks what is
        requested, or somebody else could write what the jobs run.
    UnavailableError
        No SLURM, no answer, a limit, or no usable image.
    IncompleteError
        The canary failed.
    """
    prepared = prepare(config, slurm)
    _warn(config, say)
    _check_links(config, prepared.manifest, say)
    secure_logs(config.folder, config.run.trusted_owners)
    with alone(config.folder):  # from the check of what nobody works on to the last recorded job
        todo = _missing(prepared, slurm, again)
        if preflight is not None:
            preflight()
        few = len(todo.names) // 2  # leave something for the arrays
        if canary and few:
            job = run_canary(prepared, slurm, sorted(todo.count()), min(canary, few), say)
            todo = _missing(prepared, slurm, again, ended=job)
        request = make_request(prepared, slurm, todo)
        for line in request.estimate_lines():
            say(line)
        return _queue(prepared, request)


def alone(folder: RunFolder) -> AbstractContextManager[None]:
    """Keep out another submit or retry of the run, which would queue the same again, and a tidy."""
    busy = UsageError(
        f'another vmafarm submit or retry of "{folder.name}" is running: it holds '
        f"{show(str(folder.submit_lock))}, expected one at a time",
        "wait until it has ended (one with a canary waits for that), or end it; if it is suspended: "
        "kill -CONT PID; vmafarm status shows what is queued",
    )
    return locked(folder.submit_lock, busy, "while no vmafarm submit or retry is running")


def _warn(config: Config, say: Callable[[str], None]) -> None:
    """Warn who else could change what elements run (refuse if everybody could), and of variables and GPUs."""
    trusted = config.run.trusted_owners
    lines = check_run_folders(config.folder, trusted)
    if config.slurm.uses_image:
        lines += check_image_way(Path(config.slurm.image).absolute(), trusted)
    _, instead = ignored_variables(os.environ)
    lines += [f"warning: not passed on: {line}" for line in instead]
    if idle := tell_idle_gpus(config):
        lines.append(f"warning: {idle}")
    if worker := read_worker(config.folder):
        lines.append(
            f"warning: the run is being worked on: {worker}; jobs that start before it has ended score clips "
            "twice, which loses none"
        )
    for line in lines:
        say(line)


@working("submitting")
def _check_links(config: Config, manifest: Manifest, say: Callable[[str], None]) -> None:
    """Warn of clips that lead out of what the container sees; refuse if all do."""
    found = check_linked_clips(
        config.slurm, config.folder, Path(config.corpus.clips), config.extract.scratch, manifest.names
    )
    if found:
        say(f"warning: {found[0]}")
        say(f"  {found[1]}")


@working("submitting")
def _queue(prepared: Prepared, request: Submitted) -> Submitted:
    """Queue all rounds, the retries on another node, and the merge behind them."""
    folder, section, name = prepared.config.folder, prepared.config.slurm, prepared.job_name
    submission = prepared.begin(request.submission)
    queue = prepared.queue(submission.number)
    share = ORDINARY if request.looks else EVERYTHING
    arrays: list[Array] = []

    def add(
        queue: Queue, number: int, count: int, share: str, after: Sequence[Array], exclude: str = ""
    ) -> None:
        tasks = 1 if share in (ELSEWHERE, LAST_LOOK) else min(section.nodes, count)
        parameters = sbatch_parameters(section, name, section.parallelism, tasks)
        if after:
            parameters["dependency"] = depend_on([array.job for array in after])
        if exclude:
            parameters["exclude"] = ",".join(filter(None, (section.exclude, exclude)))
        array = Array("", number, 0, count, share, tasks)
        elements = [submission.slices_in(array, index) for index in range(count)]
        arrays.append(replace(array, job=queue.array(parameters, elements, share=share, tasks=tasks)))
        note_job(folder, submission.number, vars(arrays[-1]))

    step("queueing", "arrays", lambda: len(arrays), len(request.rounds) + len(request.looks))
    with _telling_of(arrays):
        for number, count in enumerate(request.rounds):
            add(queue, number, count, share, arrays[-1:])
        last = len(request.rounds)
        for number, look in enumerate(request.looks):
            is_last = number == len(request.looks) - 1
            # The first one runs beside the last round, after the round before that.
            before = arrays if is_last else arrays[: max(1, last - 1)]
            looking = queue if is_last else prepared.queue(submission.number, next_look=True)
            exclude = "" if look == LAST_LOOK and len(request.looks) > 1 else request.away_from
            add(looking, last + number + 1, 1, look, before, exclude)
        if len(request.looks) > 1:
            write_next_look(folder, submission.number, arrays[-1].job)
        merge_job = queue.merge(merge_parameters(section, name, [array.job for array in arrays]))
        note_job(folder, submission.number, {"merge_job": merge_job})
        tell_from_now_on("stopped, but all jobs are queued: vmafarm status shows them")
    return replace(request, submission=read_submissions(folder)[-1])


@contextmanager
def _telling_of(arrays: Sequence[Array]) -> Iterator[None]:
    """If queueing ends early, by an error or an interrupt, say which jobs are queued."""

    def stopped() -> str:
        noted = ", ".join(array.job for array in arrays)
        queued = f"{noted} are queued, and one more may be" if noted else "one may be queued"
        return f"stopped while queueing jobs: {queued}; vmafarm cancel, then vmafarm retry"

    try:
        with telling(stopped):
            yield
    except (OSError, VmafarmError) as error:
        raise refused(error, [array.job for array in arrays]) from None


@working("submitting")
def _missing(prepared: Prepared, slurm: Slurm, again: bool, ended: str = "") -> Missing:
    """Missing clips of the slices that nobody works on.

    The job `ended` does not count, whatever its state in squeue.
    """
    config, manifest = prepared.config, prepared.manifest
    folder = config.folder
    todo = Missing.of(manifest, read_states(folder, config, manifest).gaps)
    if not todo.names:
        raise NothingToSubmitError(
            f'nothing is missing: every clip of "{folder.name}" has a row or has failed for good',
            f"publish the table: vmafarm merge --run {folder.name}",
        )
    refuse_elsewhere(folder, slurm, prepared.job_name)
    busy, strangers = _find_queued(config, slurm, prepared.job_name, ended)
    busy &= todo.count().keys()
    if strangers:
        raise UsageError(
            f'jobs of "{folder.name}" are in the queue that no submission recorded: {", ".join(strangers)}',
            "wait for the vmafarm that is queueing them; if it died: vmafarm cancel, then vmafarm retry",
        )
    if busy and not again:
        raise UsageError(
            f'the run "{folder.name}" is in the queue already: slices {format_indices(busy)}',
            "look: vmafarm status; submit only what nobody works on: vmafarm retry; or: vmafarm cancel",
        )
    left = todo.without(busy)
    if not left.names:
        raise NothingToSubmitError(
            f"everything that is missing waits or runs: slices {format_indices(busy)}",
            _without_merge(folder) or "look: vmafarm status",
        )
    return left


def _without_merge(folder: RunFolder) -> str:
    """What to do if the last submission has no merge; empty if it has."""
    last = next((one for one in reversed(read_submissions(folder)) if not one.canary), None)
    return last.without_merge() if last else ""


def _find_queued(config: Config, slurm: Slurm, name: str, ended: str) -> tuple[set[int], list[str]]:
    """Slices whose elements are queued, and jobs of this name that are in no record."""
    submissions = read_submissions(config.folder)
    noted = {job for submission in submissions for job in submission.jobs()}
    tasks = [task for task in slurm.queue(name) if task.job != ended]
    busy = {
        number
        for task in tasks
        for submission in submissions
        for number in submission.slices_of(task.job, task.index)
    }
    return busy, in_order({task.job for task in tasks} - noted)
