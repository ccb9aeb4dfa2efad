"""What one element asked for and used: its own records first, then accounting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pydantic

from vmafarm.cluster.job_states import ACTIVE
from vmafarm.cluster.slurm_answers import JobUsage
from vmafarm.config.clip_limits import parse_bytes
from vmafarm.config.sections import ExtractSection
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.cost.efficiency import Asked, ElementUse
from vmafarm.run_folder.element_records import OUT_OF_TIME, ElementRecord
from vmafarm.run_folder.submissions import Submission


def asked_of(submission: Submission) -> Asked | None:
    """What a submission asked for; None: its record does not say."""
    settings = submission.settings
    try:
        slurm = SlurmSection(
            **{key: settings[f"slurm.{key}"] for key in ("time", "mem", "cpus", "gpus", "gres", "minutes")}
        )
        workers = ExtractSection(workers=settings["extract.workers"]).workers
        threads = max(1, int(settings["engine.threads"]))
        backend = settings["engine.backend"]
        extra = {name.replace("_", "-") for name in settings["slurm.extra"]}
    except (KeyError, TypeError, ValueError, AttributeError, pydantic.ValidationError):
        return None
    # These take the place of slurm.mem, and their values are not recorded.
    in_another_way = extra & {"mem", "mem-per-cpu", "mem-per-gpu"}
    return Asked(
        slurm.time,
        slurm.minutes,
        slurm.cpus,
        slurm.gpu_count,
        parse_bytes(slurm.mem) if slurm.mem and not in_another_way else 0,
        workers if isinstance(workers, int) else max(1, slurm.cpus // threads),
        submission.engine == "vmaf" and backend == "cuda",
        bool(slurm.gres),
        submission.canary,
    )


def element_use(
    records: Sequence[ElementRecord], starts: Sequence[JobUsage], asked: Asked, is_active: bool | None
) -> ElementUse | None:
    """What one element used.

    Parameters
    ----------
    records
        What it recorded, one for each start.
    starts
        The same by accounting, of which one that found nothing to do has more.
    asked
        What was asked for.
    is_active
        Whether it waits or runs; None: not known.

    Returns
    -------
    ElementUse or None
        From its own records if all of its starts ended in order, else from accounting. None: it has not
        started, or left nothing.
    """
    if not records and not starts:
        return None
    cpus = max((start.cpus for start in starts), default=0) or asked.cpus
    if is_active:
        return ElementUse("running", cpus=cpus) if records else None
    ended = [record for record in records if record.ended_at]
    own = _own(ended, cpus)
    end = starts[-1].state if starts else ""
    memory = max((start.memory for start in starts), default=0)
    if not own.memory and memory:
        own = replace(own, memory=memory, memory_from="accounting")
    if records and len(ended) == len(records):
        return replace(own, end=end if end == "OUT_OF_MEMORY" else "")
    if starts:
        own = replace(
            own,
            seconds=sum(start.seconds for start in starts),
            cpu_seconds=sum(start.cpu_seconds for start in starts),
            out_of_time=own.out_of_time or end == "TIMEOUT",
        )
        if memory > own.memory:
            own = replace(own, memory=memory, memory_from="accounting")
    if records:
        is_known = is_active is not None or starts
        return replace(own, state="killed" if is_known else "unfinished", end="" if end in ACTIVE else end)
    if end == "COMPLETED":
        return replace(own, state="idle")
    return replace(own, state="killed", end=end) if own.seconds else None


def _own(ended: Sequence[ElementRecord], cpus: int) -> ElementUse:
    """What an element says itself; all of its starts together."""
    if not ended:
        return ElementUse("ended", cpus=cpus)
    last = max(ended, key=lambda record: record.seconds)
    largest = max(ended, key=lambda record: record.memory)
    fullest = max(ended, key=lambda record: record.gpu_memory)
    return ElementUse(
        "ended",
        seconds=sum(map(_wall_seconds, ended)),
        cpu_seconds=sum(record.total_cpu_seconds or record.cpu_seconds for record in ended),
        cpus=cpus,
        busy=last.cpu_seconds / last.seconds if last.seconds else 0.0,
        work_seconds=last.seconds,
        memory=largest.memory,
        memory_from=largest.memory_from,
        memory_with_files=max(record.memory_with_files for record in ended),
        gpus=last.gpus,
        gpu_busy=last.gpu_busy,
        gpu_memory=fullest.gpu_memory,
        gpu_memory_total=fullest.gpu_memory_total,
        clips=sum(record.done for record in ended),
        out_of_time=any(record.message == OUT_OF_TIME for record in ended),
        short_of_memory=sum(record.failed.get("out_of_memory", 0) for record in ended),
    )


def _wall_seconds(record: ElementRecord) -> float:
    """Since the start of the job; of records of earlier versions, since the element began."""
    if record.elapsed_seconds:
        return record.elapsed_seconds
    ended, began = map(datetime.fromisoformat, (record.ended_at, record.started_at))
    return max(0.0, (ended - began).total_seconds())
