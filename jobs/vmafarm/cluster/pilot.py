"""The canary: a first small job on a compute node, which must succeed before the arrays are queued."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from time import sleep

from vmafarm.cluster.job_states import one_line
from vmafarm.cluster.preparation import Prepared, refused
from vmafarm.cluster.sbatch import sbatch_parameters
from vmafarm.cluster.slurm import Slurm
from vmafarm.common.errors import IncompleteError, UnavailableError, VmafarmError, show
from vmafarm.common.interrupts import telling
from vmafarm.common.text import counted
from vmafarm.run_folder.element_records import ElementRecord, read_elements
from vmafarm.run_folder.submissions import Array, Submission, note_job

_POLL_SECONDS = 3.0
_GONE = 3
"""How often in a row squeue must show no job: it may miss one that is being requeued."""

_DEAF = 3
"""After this many failures of squeue in a row, the user is told."""


def run_canary(
    prepared: Prepared, slurm: Slurm, slices: Sequence[int], clips: int, say: Callable[[str], None]
) -> str:
    """Score a few clips in one job, and wait for its end.

    Its rows count as done. On the node, it first runs the checks of `vmafarm doctor`.

    Parameters
    ----------
    prepared
        The run.
    slurm
        The cluster.
    slices
        Slices with something missing.
    clips
        Size of the sample of clips, which is reproducible.
    say
        Gets progress messages.

    Returns
    -------
    str
        Id of its job, which may stay in the queue a little longer.

    Raises
    ------
    IncompleteError
        It failed, or ended without a row.
    UnavailableError
        It cannot be queued.
    """
    folder, section = prepared.config.folder, prepared.config.slurm
    submission = prepared.begin(
        Submission(
            0, prepared.job_name, (tuple(slices),), prepared.version, section.image, prepared.image_digest,
            prepared.config.engine.kind, prepared.settings,
            at=datetime.now(UTC).isoformat(timespec="seconds"), canary=True,
        )
    )  # fmt: skip
    parameters = sbatch_parameters(section, prepared.job_name, 1)
    job, left = "", "the canary may be queued: vmafarm cancel"
    with telling(lambda: f"stopped: {left}"):
        try:
            queue = prepared.queue(submission.number)
            job = queue.array(parameters, submission.elements, limit=clips, canary=True)
            left = f"job {job} may still be queued: vmafarm cancel"
            note_job(folder, submission.number, vars(Array(job, 0, 0, 1)))
        except (OSError, VmafarmError) as error:
            raise refused(error, [job] if job else []) from None
        try:
            say(f"canary: job {job} scores {counted(clips, 'clip')} on a compute node first")
            record = _wait(prepared, slurm, job, say)
        except KeyboardInterrupt:
            # An interrupted process has little time: if scancel takes longer, it ends with `left`.
            with suppress(UnavailableError):
                slurm.cancel([job])
                left = f"job {job} is cancelled; run the same command again to go on"
            raise
    log = f"its log: {folder.logs / f'{job}_0_log.err'}, and .out"
    if record is None:
        raise IncompleteError(f"the canary, job {job}, ended before it started work", log)
    if record.exit_code or not record.done:
        failed = ", ".join(f"{name} {count}" for name, count in sorted(record.failed.items()))
        what = record.message or (f"no clip was scored: {failed}" if failed else "it was killed")
        hint = "\n".join(filter(None, (record.hint, log)))
        raise IncompleteError(f"the canary failed on {record.node}: {show(what)}", hint)
    say(f"canary: {counted(record.done, 'clip')} on {record.node}")
    return job


def _wait(prepared: Prepared, slurm: Slurm, job: str, say: Callable[[str], None]) -> ElementRecord | None:
    """Wait for the end of its job, and return its record."""
    gone = failed = 0
    told = ""
    while True:
        record = next((r for r in reversed(read_elements(prepared.config.folder)) if r.job == job), None)
        if record is not None and record.ended_at:
            return record
        state = ""
        try:
            tasks = [task for task in slurm.queue(prepared.job_name) if task.job == job]
        except UnavailableError as error:  # a busy slurmctld; the record on disk decides
            failed += 1
            if failed >= _DEAF:
                state = f"waiting, state unknown: {one_line(error.message)}"
        else:
            failed, gone = 0, 0 if tasks else gone + 1
            if tasks:
                state = tasks[0].state.lower() + (f" ({tasks[0].reason})" if tasks[0].reason else "")
        if state not in ("", told):
            say(f"canary: {state}")
            told = state
        if gone >= _GONE:
            return record
        sleep(_POLL_SECONDS)
