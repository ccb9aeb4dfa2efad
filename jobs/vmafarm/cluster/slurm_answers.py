"""Parses what SLURM's programs print."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from vmafarm.common.errors import UnavailableError


def rows(text: str, count: int) -> list[list[str]]:
    """Split lines into `count` fields separated by bars; the last field may contain bars.

    Lines that name a cluster are left out: with ``--clusters``, some versions print them in spite of
    ``--noheader``.

    Raises
    ------
    UnavailableError
        A line has fewer. It is not skipped: it could be a job that still exists.
    """
    lines = [line for line in text.split("\n") if line and not line.startswith("CLUSTER: ")]
    found = [line.split("|", count - 1) for line in lines]
    for fields in found:
        if len(fields) != count:
            raise UnavailableError(
                f"SLURM answered {'|'.join(fields)[:200]!r}, expected {count} fields separated by |",
                "does a wrapper on this site print more than the program itself?",
            )
    return found


def parse_submission(text: str) -> str | None:
    """Id of the job that sbatch names in its answer; None: it names none.

    It is the last line that is an id, as with ``--parsable``, or ``Submitted batch job ID``, as a wrapper may
    ask for; either of them may name the cluster, too. Wrappers print banners around it.
    """
    one_line = r"(?:Submitted batch job )?([0-9]{1,20})(?:;\S+| on cluster \S+)?"
    found = [match[1] for line in text.splitlines() if (match := re.fullmatch(one_line, line.strip()))]
    return found[-1] if found else None


def parse_number(text: str) -> int | None:
    """A number of at most 20 digits, more than any of SLURM's has; None: not a number.

    Python's own `int` accepts digits of all scripts, and raises for many thousand digits.
    """
    return int(text) if re.fullmatch("[0-9]{1,20}", text) else None


@dataclass(frozen=True)
class Partition:
    """One partition.

    Attributes
    ----------
    name
        Its name.
    is_default
        Whether jobs that name no partition go there.
    minutes
        Time limit; None: no limit.
    gres
        Generic resources of its nodes, as SLURM prints them; empty: none.
    cpus
        CPUs of its largest node.
    nodes
        Number of nodes.
    """

    name: str
    is_default: bool
    minutes: int | None
    gres: str
    cpus: int = 1
    nodes: int = 1

    def gpu_counts(self) -> list[int]:
        """GPUs of its kinds of nodes, where SLURM says how many."""
        return [int(count) for count in re.findall(r"gpu[^,]*?:(\d+)(?:\(|,|$)", self.gres)]


@dataclass(frozen=True)
class Task:
    """One job, or one element of an array, as SLURM sees it.

    Attributes
    ----------
    job
        Job id; for an array element, the id of the array.
    index
        Index in the array; None: not an array job.
    state
        As SLURM names it: PENDING, RUNNING, COMPLETED, TIMEOUT, ...
    reason
        Why it waits, or empty.
    node
        Where it runs or ran, or empty.
    """

    job: str
    index: int | None
    state: str
    reason: str
    node: str


def parse_queue(text: str) -> list[Task]:
    """Read squeue's ``%A|%F|%K|%T|%r|%N``.

    Raises
    ------
    UnavailableError
        A job id is not a number. It is not skipped: it could be a job that still exists.
    """
    tasks = []
    for job, array, index, state, reason, node in rows(text, 6):
        reason = "" if reason in ("None", "(null)") else reason
        number = parse_number(index)
        name = job if number is None else array
        if parse_number(name) is None:
            raise UnavailableError(
                f"SLURM answered {name[:200]!r} for a job, expected its number",
                "does a wrapper or a setting on this site (SQUEUE_...) change what squeue prints?",
            )
        tasks.append(Task(name, number, state, reason, node))
    return tasks


def parse_accounting(text: str) -> list[Task]:
    """Read sacct's ``JobID|State|NodeList``, with or without steps.

    A state such as ``CANCELLED by 1000`` is cut to its first word. When a step runs out of memory, SLURM
    calls the job FAILED and only the step OUT_OF_MEMORY; here the job is OUT_OF_MEMORY too.
    """
    found = rows(text, 3)
    short_of_memory = {job.partition(".")[0] for job, state, _ in found if state == "OUT_OF_MEMORY"}
    tasks = []
    for job, state, node in found:
        array, _, index = job.partition("_")
        # 12_[3-7] has not started, and squeue has it; 12.batch is a step; 12+0 is not one of our jobs.
        if parse_number(array) is None or (index and parse_number(index) is None):
            continue
        state = state.partition(" ")[0]
        if state == "FAILED" and job in short_of_memory:
            state = "OUT_OF_MEMORY"
        node = "" if node == "None assigned" else node
        tasks.append(Task(array, parse_number(index), state, "", node))
    return tasks


USAGE_FIELDS = "JobID,State,Elapsed,TotalCPU,AllocCPUS,MaxRSS,ReqMem"


@dataclass(frozen=True)
class JobUsage:
    """What one start of a job, or of an element of an array, used by SLURM's accounting.

    Attributes
    ----------
    job, index, state
        As for `Task`.
    seconds
        Wall time.
    cpu_seconds
        Processor time; 0: not gathered.
    cpus
        Processors that it was given.
    memory
        Most bytes of resident memory of a step, looked at every 30 s or so; 0: not gathered.
    memory_asked
        Bytes of memory that it asked for; 0: none.
    """

    job: str
    index: int | None
    state: str
    seconds: float
    cpu_seconds: float
    cpus: int
    memory: int
    memory_asked: int


def parse_usage(text: str) -> list[JobUsage]:
    """Read sacct's `USAGE_FIELDS`, with or without steps and earlier starts (``--duplicates``).

    Only steps have a MaxRSS, and only they may be OUT_OF_MEMORY; the lines of a job's steps follow its own.
    What was not gathered is empty and counts as 0.
    """
    found: dict[str, list[JobUsage]] = {}
    for name, state, seconds, cpu, cpus, memory, asked in rows(text, 7):
        job, _, step = name.partition(".")
        array, _, index = job.partition("_")
        state = state.partition(" ")[0]
        if parse_number(array) is None or (index and parse_number(index) is None):
            continue
        starts = found.setdefault(job, [])
        if not step:
            count = parse_count(cpus)
            memory_asked = parse_memory(asked) * (count if asked.endswith("c") else 1)
            starts.append(
                JobUsage(
                    array,
                    parse_number(index),
                    state,
                    parse_seconds(seconds),
                    parse_seconds(cpu),
                    count,
                    parse_memory(memory),
                    memory_asked,
                )
            )
        elif starts:
            last = starts[-1]
            short = last.state in ("FAILED", "COMPLETED") and state == "OUT_OF_MEMORY"
            starts[-1] = replace(
                last,
                state=state if short else last.state,
                memory=max(last.memory, parse_memory(memory)),
            )
    return [start for starts in found.values() for start in starts]


def parse_seconds(text: str) -> float:
    """Read a duration as sacct prints it, ``[days-][hours:]minutes:seconds[.fraction]``; 0: none."""
    found = re.fullmatch(
        r"(?:([0-9]{1,9})-)?(?:([0-9]{1,9}):)?([0-9]{1,9}):([0-9]{1,9}(?:\.[0-9]{1,9})?)", text.strip()
    )
    if found is None:
        return 0.0
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def parse_memory(text: str) -> int:
    """Read a size as sacct prints it, in bytes: ``123456K``, ``1.50G``, ``8Gn``, ``4Gc``; 0: none."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([KMGTP]?)[nc]?", text.strip())
    return int(float(found[1]) * (1 << 10 * " KMGTP".index(found[2] or " "))) if found else 0


def parse_count(text: str) -> int:
    """A count as sinfo prints it; ``64+`` if nodes differ."""
    found = parse_number(text.strip().rstrip("+"))
    return 1 if found is None else found


def parse_minutes(limit: str) -> int | None:
    """Read a time limit as SLURM prints it, ``[days-][hours:]minutes:seconds``; None: no limit."""
    found = re.fullmatch(r"(?:([0-9]{1,9})-)?(?:([0-9]{1,9}):)?([0-9]{1,9}):([0-9]{1,9})", limit.strip())
    if found is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return days * 1440 + hours * 60 + minutes


def explain(said: str) -> str:
    """Hint for an error message of one of SLURM's programs."""
    if re.search(r"munge|authentication", said, re.IGNORECASE):
        return "munge authentication does not work on this machine: tell its administrators"
    if re.search(r"configuration source|slurm\.conf", said, re.IGNORECASE):
        return (
            "SLURM's programs are installed, but no cluster is configured (no slurm.conf): use a login node, "
            "or set SLURM_CONF"
        )
    if re.search(r"unable to contact|connection refused|connect failure", said, re.IGNORECASE):
        return "slurmctld cannot be reached: is this a login node, and is the cluster up? (scontrol ping)"
    if re.search(r"submitjobs|max(imum)? .*jobs|QOSMax|AssocMax|accounting/QOS policy", said, re.IGNORECASE):
        return (
            "your account or QOS has a limit: with slurm.max_jobs, slices share elements to stay within it; "
            "or wait until other jobs have ended"
        )
    if re.search(r"memory|--mem\b", said, re.IGNORECASE):
        return (
            'if the site refuses memory requests: slurm.mem = "" and slurm.merge.mem = "" leave them out; '
            'if it wants them per CPU: slurm.extra = { "mem-per-cpu" = ... }'
        )
    return "check [slurm]: vmafarm config shows it"
