"""The cluster, as SLURM's programs describe it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from vmafarm.cluster.slurm_answers import (
    USAGE_FIELDS,
    JobUsage,
    Partition,
    Task,
    parse_accounting,
    parse_count,
    parse_minutes,
    parse_number,
    parse_queue,
    parse_usage,
    rows,
)
from vmafarm.cluster.slurm_programs import NO_SLURM_HINT, NoProgramError, call
from vmafarm.common.errors import UnavailableError
from vmafarm.process.job_ids import is_of, number_of, on_cluster

_JOBS_AT_ONCE = 1000
"""Job ids per call: Linux accepts no argument of 128 KiB, and an id has up to 20 digits."""


def _own_name() -> str:
    """Name of this user; $USER may still be that of another user (su)."""
    return _name_of(os.geteuid())


def _name_of(user: int) -> str:
    """Name of a user, or the numeric id."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


class Slurm:
    """The cluster.

    Parameters
    ----------
    run
        Runs a command line and returns its output; replaced in tests.
    cluster
        Its name, where this login node serves several; empty: the login node's own.

    Attributes
    ----------
    is_known
        Whether there is a cluster to query.
    """

    is_known = True

    def __init__(self, run: Callable[[Sequence[str]], str] = call, cluster: str = "") -> None:
        self._call = run
        self.cluster = cluster

    def _run(self, program: str, *options: str) -> str:
        of = [f"--clusters={self.cluster}"] if self.cluster and program != "sacctmgr" else []
        return self._call([program, *of, *options])

    def check(self) -> None:
        """Raise UnavailableError unless jobs can be submitted from here and the controller answers."""
        for program in ("sbatch", "srun"):
            if self._call is call and shutil.which(program) is None:
                raise UnavailableError(f"this machine has no SLURM: no program {program}", NO_SLURM_HINT)
        self._run("squeue", "--noheader", "--format=%i", "--user", _own_name())

    def max_array_size(self) -> int:
        """MaxArraySize of the cluster: array indices must be below it."""
        found = re.search(r"^MaxArraySize\s*=\s*(\S+)", self._run("scontrol", "show", "config"), re.MULTILINE)
        return (found and parse_number(found[1])) or 1001

    def partitions(self) -> dict[str, Partition]:
        """All partitions by name."""
        found: dict[str, Partition] = {}
        said = self._run("sinfo", "--all", "--noheader", "--format=%R|%P|%l|%c|%D|%G")
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
        # Hidden partitions that are named are shown; together with --all, sinfo refuses that option.
        options = ["--noheader", "--Node", "--responding", "--states=idle,mixed,allocated,completing"]
        said = self._run("sinfo", *options, f"--partition={partitions}", "--format=%N|%c|%m|%G|%f")
        return dict(rows(said, 2))

    def hosts_of(self, nodes: str) -> set[str]:
        """Names in a list of nodes as SLURM writes it, such as ``node[1-3,7]``."""
        return set(self._run("scontrol", "show", "hostnames", nodes).split()) if nodes else set()

    def jobs_left(self, account: str, qos: str) -> int | None:
        """Jobs that this user may still submit, counting array elements; None: no known limit.

        Parameters
        ----------
        account, qos
            As requested; empty: the user's defaults.
        """
        user = _own_name()
        ask = ["sacctmgr", "--noheader", "--parsable2", "show"]
        of = [f"clusters={self.cluster}"] if self.cluster else []
        try:
            default, *_ = self._run(*ask, "user", user, "format=DefaultAccount").split() or [""]
            limits = [
                self._run(*ask, "assoc", f"users={user}", f"accounts={account or default}",
                          *of, "format=MaxSubmitJobs,DefaultQOS"),
                self._run(*ask, "qos", "format=Name,MaxSubmitJobsPerUser"),
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
        mine = ["--user", user, *(["--account", account] if account else [])]
        queued = len(rows(self._run("squeue", "--all", "--noheader", "--array", *mine, "--format=%i"), 1))
        return max(0, min(known) - queued)

    def queue(self, job_name: str, users: Iterable[int] = ()) -> list[Task]:
        """Pending and running jobs with this name, of these users (none: of this user)."""
        names = ",".join(sorted(map(_name_of, users))) or _own_name()
        options = ["--all", "--noheader", "--array", "--user", names, "--name", job_name]
        found = parse_queue(self._run("squeue", *options, "--format=%A|%F|%K|%T|%r|%N"))
        return [replace(task, job=on_cluster(task.job, self.cluster)) for task in found]

    def accounting(self, jobs: Iterable[str]) -> list[Task] | None:
        """How jobs ended, those of another cluster left out; None: the cluster has no accounting.

        Raises
        ------
        UnavailableError
            There is accounting, but it does not answer.
        """
        said = self._sacct(jobs, "--format=JobID,State,NodeList")
        if said is None:
            return None
        found = [task for text in said for task in parse_accounting(text)]
        return [replace(task, job=on_cluster(task.job, self.cluster)) for task in found]

    def usage(self, jobs: Iterable[str]) -> list[JobUsage] | None:
        """What jobs used, each start of a requeued one; None: the cluster has no accounting.

        Jobs of another cluster are left out.

        Raises
        ------
        UnavailableError
            There is accounting, but it does not answer.
        """
        said = self._sacct(jobs, "--duplicates", f"--format={USAGE_FIELDS}")
        if said is None:
            return None
        found = [usage for text in said for usage in parse_usage(text)]
        return [replace(usage, job=on_cluster(usage.job, self.cluster)) for usage in found]

    def _sacct(self, jobs: Iterable[str], *options: str) -> list[str] | None:
        try:
            return [
                self._run("sacct", "--noheader", "--parsable2", "--jobs", ",".join(some), *options)
                for some in _portions([number_of(job) for job in jobs if is_of(job, self.cluster)])
            ]
        except NoProgramError:
            return None
        except UnavailableError as error:
            if "storage is disabled" in error.message:  # sacct's own words
                return None
            raise

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel jobs, and arrays with all their elements.

        Raises
        ------
        UnavailableError
            Some could not be cancelled; all were tried.
        """
        errors = []
        for some in _portions([number_of(job) for job in jobs]):
            try:
                self._run("scancel", *some)
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
        call(["sbatch", "--test-only", *([f"--clusters={self.cluster}"] if self.cluster else [])], text)


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
