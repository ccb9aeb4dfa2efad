"""The number of clips scored at once."""

from __future__ import annotations

from vmafarm.common.cpus import cpu_count
from vmafarm.common.text import counted
from vmafarm.config.sections import Config


def worker_count(workers: str | int, threads: int, gpus: int = 0, cpus: int | None = None) -> int:
    """Return the number of clips scored at once.

    Parameters
    ----------
    workers
        ``extract.workers``; a number is taken as it is.
    threads
        Threads of one engine process.
    gpus
        GPUs to keep busy, each of which needs a clip of its own; 0 on the CPU.
    cpus
        Processors; None: those of this process.
    """
    if isinstance(workers, int):
        return workers
    return max(1, gpus, (cpu_count() if cpus is None else cpus) // threads)


def tell_idle_gpus(config: Config) -> str:
    """Say that elements request more GPUs than they score clips at once; empty: they do not."""
    workers, gpus = config.extract.workers, config.slurm.gpu_count
    if config.engine.backend != "cuda" or not isinstance(workers, int) or workers >= gpus:
        return ""
    idle = gpus - workers
    return (
        f"each element requests {gpus} GPUs and scores {counted(workers, 'clip')} at once (extract.workers): "
        f"{counted(idle, 'GPU')} {'are' if idle > 1 else 'is'} idle, and charged"
    )
