"""Starts elements on this machine through submitit's local executor, and waits for them."""

from __future__ import annotations

import math
import os
import secrets
import shlex
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import submitit

from vmafarm.common.errors import UnavailableError, show
from vmafarm.common.interrupts import in_order
from vmafarm.common.say import say_aside
from vmafarm.common.signals import ignored
from vmafarm.common.text import counted
from vmafarm.config.secret_keys import for_jobs
from vmafarm.config.sections import Config
from vmafarm.disk.durable import explained
from vmafarm.process.descendants import kill_orphans, kill_tree, orphans_ended
from vmafarm.process.interpreter import own_command, safe_environment
from vmafarm.process.node import visible_gpus
from vmafarm.run_folder.element_records import ElementResult
from vmafarm.run_folder.log_files import tail
from vmafarm.run_folder.permissions import secure_logs
from vmafarm.run_folder.submissions import EVERYTHING
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.scoring.handover import Work, read_result

_POLL_SECONDS = 0.2
_WATCHED_SHARE = 0.01
_LONGEST_UNWATCHED_SECONDS = 15.0
_END_SECONDS = 60.0
_ASK_AGAIN_SECONDS = 2.0
_RESULT_BYTES = 64 * 1024
"""A result and a log are smaller."""
_YEAR_MINUTES = 60 * 24 * 365
"""submitit's local executor kills a job after two minutes unless told otherwise."""


def run_local(
    config: Config, slices: Sequence[int], watch: Callable[[], None], limit: int = 0, share: str = EVERYTHING,
    manifest: str = "",
) -> ElementResult:  # fmt: skip
    """Score slices on this machine and wait until that is done.

    submitit's local executor starts all jobs at once, so there is one element per GPU, or one on the CPU, and
    each works through its slices.

    Parameters
    ----------
    config
        The configuration.
    slices
        Slices with missing clips.
    watch
        Called while the elements run, up to five times a second, but so that it takes at most 1% of the time;
        and once more when they have ended.
    limit
        Maximum number of clips, a reproducible sample of all sizes of the missing ones; 0: all.
    share
        Which clips; see `vmafarm.scoring.todo.find_todo`.
    manifest
        Digest of the run's manifest; "": any.

    Returns
    -------
    ElementResult
        The results of all elements, combined.

    Raises
    ------
    UsageError
        Others could change what is run here.
    UnavailableError
        A worker crashed.
    """
    with in_order():
        return _run_local(config, _groups(config, slices, limit, share, manifest), watch)


def _run_local(config: Config, groups: Sequence[ElementSpec], watch: Callable[[], None]) -> ElementResult:
    logs = config.folder.logs
    secure_logs(config.folder, config.run.trusted_owners)
    executor = submitit.LocalExecutor(folder=_plain(logs))
    executor.update_parameters(timeout_min=_YEAR_MINUTES)
    work = Work.of_elements(logs.absolute(), groups)
    work.write()
    command = f"{shlex.join(own_command())} {work.arguments}"
    token = secrets.token_hex(4)
    results = [logs.absolute() / f"{token}-{index}.result.json" for index in range(len(groups))]
    with orphans_ended():
        # submitit's process kills the element a second after Ctrl-C, and ends when the terminal is closed;
        # it inherits this and leaves the ending to us.
        with explained(logs), ignored(signal.SIGINT, signal.SIGHUP), safe_environment():
            jobs: list[Any] = [
                executor._submit_command(f"{command} {index} {shlex.quote(str(result))}")
                for index, result in enumerate(results)
            ]
        try:
            seldom = sparing(watch)
            while not all(job.done() for job in jobs):
                seldom()
                kill_orphans()
                time.sleep(_POLL_SECONDS)
        except BaseException:
            _end(jobs)
            raise
    watch()
    return _together([_result(job, result) for job, result in zip(jobs, results, strict=True)])


def sparing(watch: Callable[[], None]) -> Callable[[], None]:
    """Make something that is called again and again take at most 1% of the time, by passing calls over.

    Of 1,523 slices a look takes 30 ms of a processor, which the elements need; it is longer on a network file
    system. At least one call in 15 seconds is not passed over.
    """
    next_at = -math.inf

    def seldom() -> None:
        nonlocal next_at
        if (began := time.monotonic()) >= next_at:
            watch()
            took = time.monotonic() - began
            next_at = began + min(took / _WATCHED_SHARE, _LONGEST_UNWATCHED_SECONDS)

    return seldom


def gpus_here(config: Config) -> list[str | None]:
    """Value of CUDA_VISIBLE_DEVICES for each element on this machine: one per GPU, or one on the CPU."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if config.engine.backend == "cuda":
        return [*visible_gpus(os.environ)] or [given]
    return [given]


def _groups(
    config: Config, slices: Sequence[int], limit: int, share: str, manifest: str
) -> list[ElementSpec]:
    document = for_jobs(config)
    gpus = gpus_here(config)
    count = min(len(gpus), len(slices))
    limits = [limit * (i + 1) // count - limit * i // count for i in range(count)]
    return [
        ElementSpec(
            document, tuple(slices[i :: len(gpus)]), "local", os.getpid(),
            {"CUDA_VISIBLE_DEVICES": gpus[i]}, limit=own, share=share,
            manifest=manifest,
        )
        for i, own in enumerate(limits)
        if own or not limit
    ]  # fmt: skip


def _plain(folder: Path) -> str:
    # submitit replaces %j in the folder's name by job ids.
    if "%" in str(folder):
        raise UnavailableError(
            f"the run folder's path contains a percent sign, which submitit cannot take: {show(str(folder))}",
            "choose another run.root",
        )
    return str(folder.absolute())


def _end(jobs: Sequence[Any]) -> None:
    """Have the elements write their rows and end; kill those that do not, such as suspended ones."""
    with ignored(signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        ends_at = time.monotonic() + _END_SECONDS
        ask_at = 0.0
        while (now := time.monotonic()) < ends_at and not all(job.done() for job in jobs):
            if now >= ask_at:
                # submitit's process passes it on, but not while it is starting the element.
                ask_at = now + _ASK_AGAIN_SECONDS
                for job in jobs:
                    if job._process is not None and job._process.poll() is None:
                        job._process.terminate()
            time.sleep(_POLL_SECONDS)
        late = [job._process.pid for job in jobs if job._process is not None and not job.done()]
        if not late:
            return
        left = set().union(*map(kill_tree, late))
        for job in jobs:
            if job._process is not None and job._process.pid not in left:
                job._process.wait()
        say_aside(
            f"{counted(len(late), 'element')} did not stop within {_END_SECONDS:.0f} s and was killed; "
            "finished clips are kept"
        )
        if left:
            numbers = ", ".join(map(str, sorted(left)))
            say_aside(f"these processes survived SIGKILL, probably blocked in the kernel: {numbers}")


def _result(job: Any, path: Path) -> ElementResult:
    result = read_result(path)
    if result is None:
        logs: Path = job.paths.folder
        with explained(logs), TemporaryFile(dir=logs) as probe:
            # If this cannot be written, the result and the log are missing for the same reason.
            probe.write(bytes(_RESULT_BYTES))
            probe.flush()
        said = tail(job.paths.stderr, 1)
        raise UnavailableError(
            "a worker crashed; "
            + (f"the last line of its log: {said[0]}" if said else "it was killed before it printed a line"),
            f"its log: {show(str(job.paths.stderr))}\n"
            "run the same command again to resume; finished clips are kept",
        )
    return result


def _together(results: Sequence[ElementResult]) -> ElementResult:
    failed: dict[str, int] = {}
    for result in results:
        for failure, count in result.failed.items():
            failed[failure] = failed.get(failure, 0) + count
    worst = max(results, key=lambda result: result.exit_code)
    return ElementResult(
        sum(result.done for result in results),
        failed,
        any(result.stopped for result in results),
        worst.exit_code,
        worst.message,
        worst.hint,
    )
