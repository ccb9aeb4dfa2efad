"""Records that elements write about themselves: when and where they began, and how they ended.

SLURM's queue forgets jobs within minutes, and many clusters keep no accounts; these files stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pydantic

from vmafarm.common.text import format_seconds
from vmafarm.disk.durable import Appender, make_folder
from vmafarm.disk.jsonl import (
    MOST_SECONDS,
    Count,
    Flag,
    Moment,
    Seconds,
    Share,
    Size,
    Text,
    Word,
    json_line,
    parse_json,
    read_lines,
)
from vmafarm.process.usage import Usage, cpu_seconds
from vmafarm.run_folder.paths import RunFolder

OUT_OF_TIME = "not enough time left for another clip"
"""Message of an element that its time limit ended."""


@dataclass(frozen=True)
class ElementResult:
    """How an element ended.

    Attributes
    ----------
    done
        Rows written by this element.
    failed
        Clips that failed, by class.
    stopped
        It was asked to stop before its work was done.
    exit_code, message, hint
        Of the error that ended it, or 0 and "".
    gpus_left_out
        GPUs that failed alone, each with the reason; the others went on.
    """

    done: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    stopped: bool = False
    exit_code: int = 0
    message: str = ""
    hint: str = ""
    gpus_left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class ElementRecord:
    """One element, as it said itself.

    Attributes
    ----------
    writer
        Unique; its shards and failures have this name.
    job, index
        SLURM's job (of an array the array's own) and index; ``local`` and None outside of SLURM.
    node
        Where it ran.
    slices
        Slices it was to do.
    clips
        Clips that had no row when it began.
    started_at
        When it began (ISO 8601, UTC).
    image_digest
        SHA-256 of the image in which it ran, as ``sha256:...``; "": in none, or not known.
    ended_at
        When it ended; "": it still runs or was killed.
    done, failed
        Rows written, and clips that failed by class.
    seconds
        Wall time between its first clip and its last, without starting up.
    cpu_seconds
        Time of all processors that it had from its first clip on, with its programs; 0: not measured.
    at_once, threads
        Clips that it worked on at once, and threads of each program.
    seconds_full, seconds_identity
        Wall time of its first clip by either plan; 0: not compared.
    stopped
        It was asked to stop before its work was done.
    exit_code, message, hint
        Of the error that ended it, or 0 and "".
    elapsed_seconds
        Wall time since its job began, starting up included; 0: not measured.
    total_cpu_seconds, memory, memory_from, memory_with_files
        See `vmafarm.process.usage.Usage`; 0 and "": not measured.
    gpus, gpu_busy, gpu_memory, gpu_memory_total
        See there; 0 and None: not measured.
    gpus_left_out
        GPUs that failed alone, each with the reason; the others went on.
    """

    writer: Word
    job: Word
    index: Count | None
    node: Word
    slices: tuple[Count, ...]
    clips: Count
    started_at: Moment
    ended_at: Moment | Literal[""] = ""
    done: Count = 0
    failed: Mapping[Word, Count] = field(default_factory=dict)
    seconds: Seconds = 0.0
    cpu_seconds: Seconds = 0.0
    at_once: Count = 1
    threads: Count = 1
    seconds_full: Seconds = 0.0
    seconds_identity: Seconds = 0.0
    stopped: Flag = False
    exit_code: Count = 0
    message: Text = ""
    hint: Text = ""
    elapsed_seconds: Seconds = 0.0
    total_cpu_seconds: Seconds = 0.0
    memory: Size = 0
    memory_from: Literal["cgroup", "processes", ""] = ""
    memory_with_files: Size = 0
    gpus: Count = 0
    gpu_busy: Share | None = None
    gpu_memory: Size = 0
    gpu_memory_total: Size = 0
    gpus_left_out: tuple[Text, ...] = ()
    image_digest: Word | Literal[""] = ""


_RECORD = pydantic.TypeAdapter(ElementRecord)


class ElementLog:
    """Writes the record of one element: a line when it begins, another when it ends.

    Parameters
    ----------
    folder
        The run.
    writer, job, index, node, slices, clips, image_digest
        See `ElementRecord`.
    """

    def __init__(
        self, folder: RunFolder, writer: str, job: str, index: int | None, node: str,
        slices: Iterable[int], clips: int, image_digest: str = "",
    ) -> None:  # fmt: skip
        make_folder(folder.elements)
        self._appender = Appender(folder.elements / f"{writer}.jsonl")
        began = {
            "writer": writer, "job": job, "index": index, "node": node, "slices": list(slices),
            "clips": clips, "started_at": _now(), "image_digest": image_digest,
        }  # fmt: skip
        self._appender.append(json_line(began))
        self._way: dict[str, Any] = {}
        self._cpu_before: float | None = None

    def work_begins(self, at_once: int, threads: int) -> None:
        """Note how it is going to work, for its end; from here on its processors' time counts."""
        self._way = {"at_once": at_once, "threads": threads}
        self._cpu_before = cpu_seconds()

    def compare_plans(self, full: float, identity: float) -> None:
        """Note what a clip took by either plan, in seconds."""
        self._appender.append(json_line({"seconds_full": full, "seconds_identity": identity}))

    def end(
        self, result: ElementResult, seconds: float, elapsed: float = 0.0, usage: Usage | None = None
    ) -> None:
        """Record how it ended.

        Parameters
        ----------
        result
            How.
        seconds, elapsed
            `ElementRecord.seconds` and `ElementRecord.elapsed_seconds`.
        usage
            What it has used; None: not measured.
        """
        cpu = 0.0 if self._cpu_before is None else cpu_seconds() - self._cpu_before
        took = {"seconds": seconds, "cpu_seconds": round(cpu, 3), **self._way}
        elapsed = 0.0 if elapsed > MOST_SECONDS else round(elapsed, 3)  # a wrong clock: not measured
        used = {"elapsed_seconds": elapsed, **asdict(usage)} if usage else {}
        self._appender.append(json_line({"ended_at": _now(), **took, **asdict(result), **used}))
        self._appender.close()


def read_elements(folder: RunFolder) -> list[ElementRecord]:
    """All elements of a run that began; damaged records are left out. See `load_elements`."""
    return load_elements(folder)[0]


def load_elements(folder: RunFolder) -> tuple[list[ElementRecord], int]:
    """Read all elements of a run.

    Returns
    -------
    records : list of ElementRecord
        In the order of their beginning, those of the same millisecond in that of their names.
    damaged : int
        Files that say nothing which an element would say. One that no whole line has is none of them.
    """
    found = []
    damaged = 0
    for path in folder.elements.glob("*.jsonl"):
        try:
            lines = list(read_lines(path))
            record = _as_record(lines)
        except (OSError, ValueError):
            damaged += 1
            continue
        if record is not None:
            found.append(record)
    return sorted(found, key=lambda record: (record.started_at, record.writer)), damaged


def identity_advice(records: Iterable[ElementRecord], left: float) -> str:
    """What the plan ``identity`` would take from now on; "" unless it was seen to be faster than ``full``.

    Parameters
    ----------
    records
        Elements; the first clip of some was scored with both plans, with equal values.
    left
        Seconds until all clips are scored with ``full``.
    """
    compared = list(records)
    full, identity = (
        sum(getattr(one, f"seconds_{plan}") for one in compared) for plan in ("full", "identity")
    )
    if not full or identity > _WORTH_IT * full or left < 1:
        return ""
    return (
        f"plan full: {format_seconds(left)} left; --plan identity from here on: about "
        f"{format_seconds(left * identity / full)}, the same values"
    )


_WORTH_IT = 0.8
"""One clip does not show a smaller difference."""


def _as_record(lines: Sequence[bytes]) -> ElementRecord | None:
    """What the lines of one file say; None: it has none. Raises ValueError where they say nothing."""
    document: dict[str, Any] = {}
    for line in lines:
        with suppress(ValueError):
            said = parse_json(line)
            document |= said if isinstance(said, dict) else {}
    return _RECORD.validate_python(document) if lines else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
