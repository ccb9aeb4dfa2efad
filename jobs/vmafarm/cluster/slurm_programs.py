"""Runs SLURM's programs, in an environment that changes nothing about what they do and see."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from vmafarm.cluster.slurm_answers import explain, parse_submission
from vmafarm.common.errors import UnavailableError, show, to_do
from vmafarm.process.environment import is_foreign, without_foreign
from vmafarm.process.finished import Finished
from vmafarm.process.job_ids import on_cluster
from vmafarm.process.run import ask

ANSWER_SECONDS = 120.0
"""A busy slurmctld answers late; one that never does must not hang us. Without munge, SLURM's own programs
retry for 50 to 60 seconds before they fail."""
NO_SLURM_HINT = "use a login node of the cluster; on this machine, `vmafarm run` (make run) does the work"


_KEYS = {
    "SBATCH_ACCOUNT": "slurm.account", "SBATCH_PARTITION": "slurm.partition", "SBATCH_QOS": "slurm.qos",
    "SBATCH_CONSTRAINT": "slurm.constraint", "SBATCH_GRES": "slurm.gres", "SBATCH_GPUS": "slurm.gpus",
    "SBATCH_GPUS_PER_NODE": "slurm.gpus", "SBATCH_TIMELIMIT": "slurm.time",
    "SBATCH_CLUSTERS": "slurm.cluster",
    "SBATCH_EXCLUSIVE": 'slurm.extra = { "exclusive" = true }',
    "SBATCH_WCKEY": 'slurm.extra = { "wckey" = ... }',
    "SBATCH_RESERVATION": 'slurm.extra = { "reservation" = ... }',
}  # fmt: skip
"""Variables of sbatch that a user may mean, and the keys to set in their place."""


def ignored_variables(environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Variables that SLURM's programs and containers would read, and do not get.

    Parameters
    ----------
    environment
        Such as ``os.environ``.

    Returns
    -------
    list of str, list of str
        Their names; and for each that a user may mean, what to set in its place.
    """
    names = sorted(name for name in environment if is_foreign(name) and not name.startswith("PYTHON"))
    return names, [f"{name}: set {_KEYS[name]}" for name in names if name in _KEYS]


class NoAnswerError(UnavailableError):
    """One of SLURM's programs did not end in time."""


class NoProgramError(UnavailableError):
    """One of SLURM's programs is not installed."""


def call(arguments: Sequence[str], given: str = "") -> str:
    """Run one of SLURM's programs and return what it prints.

    Parameters
    ----------
    arguments
        Its command line.
    given
        What it reads from its standard input.

    Raises
    ------
    UnavailableError
        The program is not installed, fails, or does not answer.
    """
    finished = _ask(arguments, given=given)
    if finished.returncode != 0:
        raise UnavailableError(f"{arguments[0]} failed: {finished.why()}", explain(finished.why()))
    return finished.stdout.replace("\r\n", "\n")


def _ask(
    arguments: Sequence[str],
    late: str = "try again later; jobs in the queue go on by themselves",
    given: str = "",
) -> Finished:
    try:
        finished = ask(
            arguments, seconds=ANSWER_SECONDS, given=given.encode(), environment=without_foreign(os.environ)
        )
    except (FileNotFoundError, PermissionError):
        raise NoProgramError(f"this machine has no SLURM: no program {arguments[0]}", NO_SLURM_HINT) from None
    except OSError as error:
        raise UnavailableError(f"cannot run {arguments[0]}: {error.strerror}", to_do(error.errno)) from None
    if finished.timed_out:
        raise NoAnswerError(
            f"{arguments[0]} gave no answer within {ANSWER_SECONDS:.0f} s: is slurmctld overloaded?", late
        )
    return finished


def queue_script(text: str, cluster: str = "", find: Callable[[], Iterable[str]] = tuple) -> str:
    """Queue a script with sbatch and return the job's id, with `cluster` in it.

    sbatch reads it from standard input: a file could be replaced by another one of the same name.

    Parameters
    ----------
    text
        The script.
    cluster
        Cluster to submit to; empty: sbatch's own.
    find
        Finds the job in the queue if the answer does not name it.

    Raises
    ------
    UnavailableError
        It refuses, does not answer, or its answer names no job and the job is not found.
    """
    options = ["--parsable", *([f"--clusters={cluster}"] if cluster else [])]
    finished = _ask(
        ["sbatch", *options], "the job may have been queued anyway: run vmafarm cancel, then try again", text
    )
    if finished.returncode != 0:
        said = "; ".join(finished.why(3).splitlines())  # what a site says comes before sbatch's own line
        raise UnavailableError(f"sbatch refuses: {said}", explain(said))
    if number := parse_submission(finished.stdout):
        return on_cluster(number, cluster)
    found = list(find())
    if len(found) == 1:
        return found[0]
    raise UnavailableError(
        f"sbatch answered {show(finished.stdout.strip()[-200:])}, expected the job's number in the last line",
        "does a wrapper on this site print something else? The job may have been queued anyway: "
        "run vmafarm cancel, then try again",
    )
