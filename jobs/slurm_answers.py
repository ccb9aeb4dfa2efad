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
    """Read squeue's ``%A|%F|%K|%T|%r|%N``."""
    tasks = []
    for job, array, index, state, reason, node in rows(text, 6):
        reason = "" if reason in ("None", "(null)") else reason
        if index.isdecimal():
            tasks.append(Task(array, int(index), state, reason, node))
        else:
            tasks.append(Task(job, None, state, reason, node))
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
        if "." in job or (index and not index.isdecimal()):  # 12_[3-7]: not started, squeue knows them
            continue
        state = state.partition(" ")[0]
        if state == "FAILED" and job in short_of_memory:
            state = "OUT_OF_MEMORY"
        node = "" if node == "None assigned" else node
        tasks.append(Task(array, int(index) if index else None, state, "", node))
    return tasks


def parse_count(text: str) -> int:
    """A count as sinfo prints it; ``64+`` where nodes differ."""
    found = re.match(r"\d+", text.strip())
    return int(found[0]) if found else 1


def parse_minutes(limit: str) -> int | None:
    """Read a time limit as SLURM prints it, ``[days-][hours:]minutes:seconds``; None: no limit."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit.strip())
    if found is None:
        return None
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return days * 1440 + hours * 60 + minutes
