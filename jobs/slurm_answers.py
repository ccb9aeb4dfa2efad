"""What SLURM's programs print, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobs.errors import UnavailableError


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


def as_number(text: str) -> int | None:
    """A number as SLURM's programs print it; None: it is none, or has more digits than SLURM can count to."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


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
        A line does not begin with the numbers of a job and of its array.
    """
    tasks = []
    for job, array, index, state, reason, node in rows(text, 6):
        if as_number(job) is None or as_number(array) is None:
            raise UnavailableError(
                f"squeue has answered {f'{job}|{array}'[:200]!r}, expected numbers of a job and its array",
                "does a wrapper of this site print more than the program itself?",
            )
        reason = "" if reason in ("None", "(null)") else reason
        at = as_number(index)
        tasks.append(Task(job if at is None else array, at, state, reason, node))
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
        if "." in job or (index and as_number(index) is None):  # 12_[3-7]: not started, squeue knows them
            continue
        state = state.partition(" ")[0]
        if state == "FAILED" and job in short_of_memory:
            state = "OUT_OF_MEMORY"
        node = "" if node == "None assigned" else node
        tasks.append(Task(array, as_number(index), state, "", node))
    return tasks


def parse_count(text: str) -> int:
    """A count as sinfo prints it; ``64+`` where nodes differ."""
    found = as_number(text.strip().rstrip("+"))
    return 1 if found is None else found


def parse_minutes(limit: str) -> int | None:
    """Read a time limit as SLURM prints it, ``[days-][hours:]minutes:seconds``; None: no limit."""
    part = "([0-9]{1,9})"
    found = re.fullmatch(f"(?:{part}-)?(?:{part}:)?{part}:{part}", limit.strip())
    if found is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return days * 1440 + hours * 60 + minutes
