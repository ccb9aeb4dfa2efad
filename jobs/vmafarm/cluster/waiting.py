"""Why jobs wait in the queue, and which of them will never start by themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vmafarm.cluster.slurm_answers import Task
from vmafarm.common.errors import show
from vmafarm.process.job_ids import in_order

_SUBMIT_AGAIN = "vmafarm cancel, then vmafarm submit or retry"
_NEVER = (
    ("badconstraints|nodedown",
     f"no node has what is requested (slurm.constraint, cpus, mem, gpus): {_SUBMIT_AGAIN}"),
    ("dependencyneversatisfied", f"what it waits for is gone: {_SUBMIT_AGAIN}"),
    ("partitiontimelimit|maxwallduration", f"slurm.time is above the limit: {_SUBMIT_AGAIN}"),
    ("partitionnodelimit|perjob|pernode|notsatisfied|qosmin|assocmin|maxmemperlimit|maxcpuperlimit",
     f"one job requests more, or less, than the partition or the QOS allows: {_SUBMIT_AGAIN}"),
    ("invalidaccount|accountnotallowed|invalidqos|qosnotallowed",
     f"slurm.account or slurm.qos may not be used there: {_SUBMIT_AGAIN}"),
    ("launchfailedrequeuedheld", "the node could not start it; SLURM holds it: scontrol release JOB"),
    ("jobheld|held", "it is held: scontrol release JOB, or ask who holds it"),
    ("partitiondown|partitioninactive", "the partition starts no jobs: another slurm.partition, or wait"),
    ("minuteslimit|billinglimit|usagethreshold", "the time of the account is used up: another slurm.account"),
    ("reqnodenotavail", "nodes that it needs are down or reserved: sinfo --list-reasons"),
    ("reservationdeleted|invalidreservation", f"the reservation is gone: {_SUBMIT_AGAIN}"),
)  # fmt: skip
"""Parts of reasons, in lower case without spaces, and what to do; the first match counts.

The reasons are those of https://slurm.schedmd.com/job_reason_codes.html.
"""


_PENDING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")


@dataclass(frozen=True)
class Waiting:
    """Jobs that wait for the same reason.

    Attributes
    ----------
    reason
        As SLURM names it; empty: it names none yet.
    count
        Jobs, and elements of arrays.
    jobs
        Their ids, an array's once.
    hint
        What to do if they will not start by themselves; empty: they will.
    """

    reason: str
    count: int
    jobs: tuple[str, ...]
    hint: str


def why_jobs_wait(queue: Sequence[Task]) -> tuple[Waiting, ...]:
    """Group pending jobs by their reason; those that never start come first, then the most frequent."""
    groups: dict[str, list[Task]] = {}
    for task in queue:
        if task.state in _PENDING:
            groups.setdefault(_general(task.reason), []).append(task)
    found = [
        Waiting(show(reason), len(tasks), tuple(in_order(task.job for task in tasks)), _hint(reason))
        for reason, tasks in groups.items()
    ]
    return tuple(sorted(found, key=lambda one: (not one.hint, -one.count, one.reason)))


def _general(reason: str) -> str:
    """A reason without the nodes that it names, and without SLURM's brackets."""
    return reason.partition(",")[0].strip("()")


def _hint(reason: str) -> str:
    plain = re.sub(r"[\s_]", "", reason).lower()
    return next((hint for parts, hint in _NEVER if re.search(parts, plain)), "")
