"""What SLURM's programs print, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmafarm.common.errors import UnavailableError


def rows(text: str, count: int) -> list[list[str]]:
    """Lines of so many fields with bars between them; the last one may hold bars.

    Raises
    ------
    UnavailableError
        A line has fewer. None is passed over: it could be a job that is still there.
    """
    found = [line.split("|", count - 1) for line in text.split("\n") if line]
    for fields in found:
        if len(fields) != count:
            raise UnavailableError(
                f"SLURM has answered {'|'.join(fields)[:200]!r}, expected {count} fields between bars",
                "does a wrapper of this site print more than the program itself?",
            )
    return found


def parse_number(text: str) -> int | None:
    """A number of at most 20 digits, which is more than any of SLURM's; None: it is none.

    Python's own `int` takes digits of all scripts, and raises at a number of many thousand digits.
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
        Whether jobs go there that name none.
    minutes
        Longest time limit; None: no limit.
    gres
        Generic resources of its nodes, as SLURM prints them ("" for none).
    cpus
        Processors of its largest node.
    nodes
        How many it has.
    """

    name: str
    is_default: bool
    minutes: int | None
    gres: str
    cpus: int = 1
    nodes: int = 1


@dataclass(frozen=True)
class Task:
    """One job, or one element of an array, as SLURM sees it.

    Attributes
    ----------
    job
        Job id; of an array the array's own.
    index
        Index in the array; None for a job that is none.
    state
        In SLURM's words: PENDING, RUNNING, COMPLETED, TIMEOUT, ...
    reason
        Why it waits, or "".
    node
        Where it runs or ran, or "".
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
        A job id is not a valid number. It is not skipped: it could be a job that is still there.
    """
    tasks = []
    for job, array, index, state, reason, node in rows(text, 6):
        reason = "" if reason in ("None", "(null)") else reason
        number = parse_number(index)
        name = job if number is None else array
        if parse_number(name) is None:
            raise UnavailableError(
                f"SLURM has answered {name[:200]!r} for a job, expected its number",
                "does a wrapper or a setting of this site (SQUEUE_...) change what squeue prints?",
            )
        tasks.append(Task(name, number, state, reason, node))
    return tasks


def parse_accounting(text: str) -> list[Task]:
    """Read sacct's ``JobID|State|NodeList``, with or without steps.

    A state such as ``CANCELLED by 1000`` is its first word. Where a step ran out of memory, SLURM calls
    the job FAILED and only the step OUT_OF_MEMORY: here the job is OUT_OF_MEMORY then.
    """
    found = rows(text, 3)
    short_of_memory = {job.partition(".")[0] for job, state, _ in found if state == "OUT_OF_MEMORY"}
    tasks = []
    for job, state, node in found:
        array, _, index = job.partition("_")
        # 12_[3-7] has not started, squeue knows them; 12.batch is a step; and 12+0 is no job of ours.
        if parse_number(array) is None or (index and parse_number(index) is None):
            continue
        state = state.partition(" ")[0]
        if state == "FAILED" and job in short_of_memory:
            state = "OUT_OF_MEMORY"
        node = "" if node == "None assigned" else node
        tasks.append(Task(array, parse_number(index), state, "", node))
    return tasks


def parse_count(text: str) -> int:
    """A count as sinfo prints it; ``64+`` where nodes differ."""
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
    """What to do about something that one of SLURM's programs said."""
    if re.search(r"munge|authentication", said, re.IGNORECASE):
        return "authentication of the cluster (munge) does not work on this machine: tell its administrators"
    if re.search(r"configuration source|slurm\.conf", said, re.IGNORECASE):
        return (
            "SLURM's programs are here, but belong to no cluster (no slurm.conf): do it on a login node, or "
            "set SLURM_CONF"
        )
    if re.search(r"unable to contact|connection refused|connect failure", said, re.IGNORECASE):
        return "slurmctld cannot be reached: is this a login node, and is the cluster up? (scontrol ping)"
    if re.search(r"submitjobs|max(imum)? .*jobs|QOSMax|AssocMax|accounting/QOS policy", said, re.IGNORECASE):
        return (
            "a limit of your account or QOS: slurm.max_jobs makes slices share elements, so that it is kept; "
            "or wait until other jobs have ended"
        )
    return "what SLURM refuses is set in [slurm]: vmafarm config shows it"
