"""SLURM's command line: the only module that calls sbatch, squeue, sacct, scontrol and scancel."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from vmafarm.cluster.slurm_answers import (
    Partition,
    Task,
    explain,
    parse_accounting,
    parse_count,
    parse_minutes,
    parse_number,
    parse_queue,
    rows,
)
from vmafarm.common.errors import UnavailableError, to_do
from vmafarm.process.finished import Finished
from vmafarm.process.run import ask

ANSWER_SECONDS = 120.0
"""A busy slurmctld answers late; one that never does must not hang us. Without munge, SLURM's own programs
retry for 50 to 60 seconds before they fail."""
_JOBS_AT_ONCE = 1000
"""Job ids per call: Linux accepts no argument of 128 KiB, and an id has up to 20 digits."""
_NO_SLURM_HINT = "use a login node of the cluster; on this machine, `vmafarm run` (make run) does the work"


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
        finished = ask(arguments, seconds=ANSWER_SECONDS, given=given.encode())
    except (FileNotFoundError, PermissionError):
        raise NoProgramError(
            f"this machine has no SLURM: no program {arguments[0]}", _NO_SLURM_HINT
        ) from None
    except OSError as error:
        raise UnavailableError(f"cannot run {arguments[0]}: {error.strerror}", to_do(error.errno)) from None
    if finished.timed_out:
        raise UnavailableError(
            f"{arguments[0]} gave no answer within {ANSWER_SECONDS:.0f} s: is slurmctld overloaded?", late
        )
    return finished


def queue_script(text: str) -> str:
    """Queue a script with sbatch and return the job's id.

    sbatch reads it from standard input: a file could be replaced by another one of the same name.

    Raises
    ------
    UnavailableError
        It refuses, does not answer, or its answer names no job.
    """
    finished = _ask(
        ["sbatch"], "the job may have been queued anyway: run vmafarm cancel, then try again", text
    )
    if finished.returncode != 0:
        raise UnavailableError(f"sbatch refuses: {finished.why(1)}", explain(finished.why()))
    said = finished.stdout
    found = re.search(r"Submitted batch job ([0-9]{1,20})(?![0-9])", said)
    if found is None:
        raise UnavailableError(
            f"sbatch answered {said.strip()[:200]!r}, expected: Submitted batch job NUMBER",
            "does a wrapper on this site print something else? The job may have been queued anyway",
        )
    return found[1]


def _own_name() -> str:
    """Name of this user, or the numeric id; $USER may still be that of another user (su)."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


class Slurm:
    """The cluster.

    Parameters
    ----------
    run
        Runs a command line and returns its output; replaced in tests.

    Attributes
    ----------
    is_known
        Whether there is a cluster to query.
    """

    is_known = True

    def __init__(self, run: Callable[[Sequence[str]], str] = call) -> None:
        self._run = run

    def check(self) -> None:
        """Raise UnavailableError unless jobs can be submitted from here and the controller answers."""
        for program in ("sbatch", "srun"):
            if self._run is call and shutil.which(program) is None:
                raise UnavailableError(f"this machine has no SLURM: no program {program}", _NO_SLURM_HINT)
        self._run(["squeue", "--noheader", "--format=%i", "--user", _own_name()])

    def max_array_size(self) -> int:
        """MaxArraySize of the cluster: array indices must be below it."""
        found = re.search(
            r"^MaxArraySize\s*=\s*(\S+)", self._run(["scontrol", "show", "config"]), re.MULTILINE
        )
        return (found and parse_number(found[1])) or 1001

    def partitions(self) -> dict[str, Partition]:
        """All partitions by name."""
        found: dict[str, Partition] = {}
        said = self._run(["sinfo", "--noheader", "--format=%R|%P|%l|%c|%D|%G"])
        for name, marked, limit, cpus, nodes, gres in rows(said, 6):
            kind = Partition(
                name, marked.endswith("*"), parse_minutes(limit), "" if gres == "(null)" else gres,
                parse_count(cpus), parse_count(nodes),
            )  # fmt: skip
            if (before := found.get(name)) is not None:  # one line for each kind of node
                kind = replace(
                    kind,
                    gres=",".join(filter(None, (before.gres, kind.gres))),
                    cpus=max(before.cpus, kind.cpus),
                    nodes=before.nodes + kind.nodes,
                )
            found[name] = kind
        return found

    def nodes_in_service(self, partitions: str) -> dict[str, str]:
        """Nodes of these partitions that are in service, with their kind: CPUs, memory, GPUs, features."""
        if not partitions:
            return {}
        options = ["--noheader", "--Node", "--responding", "--states=idle,mixed,allocated,completing"]
        said = self._run(["sinfo", *options, f"--partition={partitions}", "--format=%N|%c|%m|%G|%f"])
        return dict(rows(said, 2))

    def hosts_of(self, nodes: str) -> set[str]:
        """Names in a list of nodes as SLURM writes it, such as ``node[1-3,7]``."""
        return set(self._run(["scontrol", "show", "hostnames", nodes]).split()) if nodes else set()

    def jobs_left(self, account: str, qos: str) -> int | None:
        """Jobs that this user may still submit, counting array elements; None: no known limit.

        Parameters
        ----------
        account, qos
            As requested; empty: the user's defaults.
        """
        user = _own_name()
        ask = ["sacctmgr", "--noheader", "--parsable2", "show"]
        try:
            default, *_ = self._run([*ask, "user", user, "format=DefaultAccount"]).split() or [""]
            limits = [
                self._run([*ask, "assoc", f"users={user}", f"accounts={account or default}",
                           "format=MaxSubmitJobs,DefaultQOS"]),
                self._run([*ask, "qos", "format=Name,MaxSubmitJobsPerUser"]),
            ]  # fmt: skip
        except UnavailableError:  # no accounting, or this user is not in it
            return None
        found, names = [], {qos} if qos else {"normal"}
        for line in limits[0].splitlines():
            limit, _, default_qos = line.partition("|")
            found += [parse_number(limit)]
            names |= {default_qos} if default_qos and not qos else set()
        for line in limits[1].splitlines():
            name, _, limit = line.partition("|")
            found += [parse_number(limit)] if name in names else []
        known = [limit for limit in found if limit is not None]
        if not known:
            return None
        options = ["--noheader", "--array", "--user", user, *(["--account", account] if account else [])]
        queued = len(self._run(["squeue", *options, "--format=%i"]).splitlines())
        return max(0, min(known) - queued)

    def queue(self, job_name: str) -> list[Task]:
        """Pending and running jobs of this user with this name."""
        options = ["--noheader", "--array", "--user", _own_name(), "--name", job_name]
        return parse_queue(self._run(["squeue", *options, "--format=%A|%F|%K|%T|%r|%N"]))

    def accounting(self, jobs: Iterable[str]) -> list[Task] | None:
        """How jobs ended; None: the cluster has no accounting.

        Raises
        ------
        UnavailableError
            There is accounting, but it does not answer.
        """
        tasks = []
        try:
            for some in _portions(list(jobs)):
                options = ["--noheader", "--parsable2", "--jobs", ",".join(some)]
                tasks += parse_accounting(self._run(["sacct", *options, "--format=JobID,State,NodeList"]))
        except NoProgramError:
            return None
        except UnavailableError as error:
            if "storage is disabled" in error.message:  # sacct's own words
                return None
            raise
        return tasks

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel jobs, and arrays with all their elements.

        Raises
        ------
        UnavailableError
            Some could not be cancelled; all were tried.
        """
        errors = []
        for some in _portions(jobs):
            try:
                self._run(["scancel", *some])
            except UnavailableError as error:  # one may just have ended
                errors.append(error)
        if errors:
            raise errors[0]

    def test_script(self, text: str) -> None:
        """Validate a job script without queueing it: account, QOS, partition, resources.

        Raises
        ------
        UnavailableError
            It would be refused, or could not start on the current nodes.
        """
        call(["sbatch", "--test-only"], text)


def _portions(jobs: Sequence[str]) -> Iterator[Sequence[str]]:
    return (jobs[i : i + _JOBS_AT_ONCE] for i in range(0, len(jobs), _JOBS_AT_ONCE))


class NoCluster(Slurm):
    """No cluster to query: no known limits, nothing queued. For dry runs only."""

    is_known = False

    def __init__(self) -> None:
        super().__init__(self._answer)

    @staticmethod
    def _answer(arguments: Sequence[str]) -> str:
        return ""

    def jobs_left(self, account: str, qos: str) -> int | None:
        """None: no known limit."""
        return None
