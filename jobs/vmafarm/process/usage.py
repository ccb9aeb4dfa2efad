"""What this process and its programs use: processors, memory and GPUs, measured from inside."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vmafarm.process.gpus import Gpus, GpuSample
from vmafarm.process.memory import job_group
from vmafarm.process.process_limits import resident_bytes

CGROUP, PROCESSES = "cgroup", "processes"
"""Where a figure of memory comes from: the control group of the SLURM job, or the sum over the processes."""

_SECONDS = 1.0
_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Usage:
    """What a process has used, with all programs that it started.

    Attributes
    ----------
    total_cpu_seconds
        Processor time since the process began.
    memory
        Most bytes at any look, of those that the kernel cannot drop; at least what the largest process had.
    memory_from
        `CGROUP`: anonymous and shared memory of the job, a scratch folder in memory included. `PROCESSES`:
        resident memory, where pages that processes share count for each of them.
    memory_with_files
        Most bytes that the job's control group was charged, page cache included: an upper bound that the
        kernel keeps without gaps; 0: not known.
    gpus
        GPUs that answered; 0: none, or not looked at.
    gpu_busy
        Mean over all looks of the share of time that they were busy, 0 to 1; None: not known.
    gpu_memory, gpu_memory_total
        Most bytes taken on one GPU, and what it has.
    """

    total_cpu_seconds: float = 0.0
    memory: int = 0
    memory_from: str = ""
    memory_with_files: int = 0
    gpus: int = 0
    gpu_busy: float | None = None
    gpu_memory: int = 0
    gpu_memory_total: int = 0


def cpu_seconds() -> float:
    """Processor time that this process and its ended children have had so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class UsageMeter:
    """Looks at memory and GPUs once a second in a thread of its own; nothing fails because of it.

    Parameters
    ----------
    job
        SLURM's id of the job, to which a control group may belong; "": not a job.
    gpus
        GPUs to look at, as CUDA_VISIBLE_DEVICES names them.
    open_gpus, root
        Opens them, and the folder that contains proc and sys; replaced in tests.
    """

    def __init__(
        self,
        job: str,
        gpus: Sequence[str] = (),
        open_gpus: Callable[[Sequence[str]], Gpus] = Gpus,
        root: Path = Path("/"),
    ) -> None:
        self._group = job_group(job, root) if job else None
        self._names, self._open_gpus = gpus, open_gpus
        self._memory = 0
        self._gpus = self._gpu_memory = self._gpu_memory_total = 0
        self._busy: list[float] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_until_end, daemon=True, name="usage")
        with suppress(RuntimeError):  # no more threads: then only the last look counts
            self._thread.start()

    def end(self) -> Usage:
        """Stop looking, and return what was used."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(_WAIT_SECONDS)  # a driver at fault may never answer
        self._look_at_memory()
        group = self._group
        held = self._memory
        if group is None:
            # The kernel notes the peak of each process, also of those that ended between two looks.
            kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
            held = max(held, *(resource.getrusage(kind).ru_maxrss << 10 for kind in kinds))
        return Usage(
            round(cpu_seconds(), 3), held, PROCESSES if group is None else CGROUP,
            group.peak_bytes() if group else 0, self._gpus,
            round(sum(self._busy) / len(self._busy), 4) if self._busy else None,
            self._gpu_memory, self._gpu_memory_total,
        )  # fmt: skip

    def _look_until_end(self) -> None:
        gpus = self._open_gpus(self._names) if self._names else None
        while True:
            self._look_at_memory()
            if gpus is not None:
                self._look_at_gpus(gpus)
            if self._ended.wait(_SECONDS):
                return

    def _look_at_memory(self) -> None:
        held = resident_bytes(os.getpid()) if self._group is None else self._group.held_bytes()
        self._memory = max(self._memory, held)

    def _look_at_gpus(self, gpus: Gpus) -> None:
        samples: list[GpuSample] = []
        with suppress(AttributeError):  # a driver that lacks a function
            samples = gpus.samples()
        self._gpus = max(self._gpus, len(samples))
        self._busy += [sample.busy for sample in samples if sample.busy is not None]
        for sample in samples:
            if sample.used >= self._gpu_memory:
                self._gpu_memory, self._gpu_memory_total = sample.used, sample.total
