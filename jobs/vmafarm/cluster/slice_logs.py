"""What there is to read about one slice: its tasks, the ends of a log, failures of its clips."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmafarm.cluster.job_states import KILLED, NOT_STARTED, RUNNING, SlurmReader, SlurmView, key_of, one_line
from vmafarm.cluster.slurm import Slurm
from vmafarm.common.errors import UsageError, show
from vmafarm.common.layout import wrapped
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.disk.readable import tell_denied
from vmafarm.process.job_ids import JOB_ID, of_element
from vmafarm.run_folder.element_records import ElementRecord, read_elements
from vmafarm.run_folder.failures import FailureRecord, read_failures
from vmafarm.run_folder.log_files import log_path, tail
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.packed_logs import packed_logs
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import Submission, read_submissions, run_job_name, submitters
from vmafarm.shards.writer import read_done


@dataclass(frozen=True)
class TaskSeen:
    """One task that had the slice.

    Attributes
    ----------
    job, index
        Job id (for an element, that of its array) and index; None for a job that is not an array.
    node
        Where it ran, or empty.
    state
        ``ended``, ``running``, ``pending``, or how it was lost: as SLURM names it if there is accounting,
        else killed or not started.
    at
        When it started, or was submitted if it never did (ISO 8601, UTC).
    ended_at
        When it ended, or empty.
    note
        Rows written, and why it ended before its work was done.
    tasks
        Elements of each job of its array.
    """

    job: str
    index: int | None
    node: str
    state: str
    at: str
    ended_at: str = ""
    note: str = ""
    tasks: int = 1

    @property
    def name(self) -> str:
        """As SLURM writes it: ``12_3``, or ``12_3@tesla``."""
        return of_element(self.job, self.index)

    def lines(self) -> list[str]:
        """The task for a terminal."""
        when = self.at[5:16].replace("T", " ")
        if self.ended_at:
            same_day = self.ended_at[:10] == self.at[:10]
            when += " to " + self.ended_at[11 if same_day else 5 : 16].replace("T", " ")
        line = f"  {self.name:<10} {self.state:<13} {self.node or '-':<10} {when}"
        return [show(line), *_indent(self.note)]


@dataclass(frozen=True)
class SliceLogs:
    """What there is to read about a slice.

    Attributes
    ----------
    slice_id
        Its number.
    clips, missing
        Number of its clips, and of those without a row.
    tasks
        Tasks that had it, the newest first.
    logs
        Last lines of the newest log, by path.
    failures
        Failed tries of its clips, latest last.
    notes
        What could not be queried.
    """

    slice_id: int
    clips: int
    missing: int
    tasks: tuple[TaskSeen, ...]
    logs: dict[str, list[str]]
    failures: tuple[FailureRecord, ...]
    notes: tuple[str, ...]

    def lines(self, count: int) -> list[str]:
        """For a terminal; of the failures the latest `count`. Lines of logs stay as they are."""
        lines = [f"slice {self.slice_id}: {counted(self.clips, 'clip')}, {self.missing:,} without a row"]
        lines += [line for note in self.notes for line in wrapped(f"note: {note}", then="")]
        lines.append("tasks, the newest first (UTC):")
        for task in self.tasks:
            lines += task.lines()
        for path, end in self.logs.items():
            lines += ["", f"{path}:", *(f"  {line}" for line in end or ["(empty)"])]
        if self.failures:
            shown = self.failures[-count:]
            of_all = (
                f" (the latest {count:,} of {len(self.failures):,})" if len(self.failures) > count else ""
            )
            lines += ["", f"failed tries of its clips{of_all}:"]
            for failure in shown:
                lines.append(show(f"  {failure.clip_name}  {failure.failure}, on {failure.host}"))
                lines += _indent(one_line(failure.message))
        return lines


def slice_logs(config: Config, slurm: Slurm | None, slice_id: int, count: int) -> SliceLogs:
    """Collect what there is to read about a slice.

    Parameters
    ----------
    config
        The configuration of a planned run.
    slurm
        The cluster; None: this machine has none.
    slice_id
        Number of the slice.
    count
        Lines of each log.

    Raises
    ------
    UnavailableError
        This user has no permission to read the run, or its submissions.
    UsageError
        There is no such slice, or no log of it yet.
    """
    folder = config.folder
    manifest = load_manifest(folder)
    if not 0 <= slice_id < manifest.slice_count:
        raise UsageError(
            f'the run "{folder.name}" has no slice {slice_id}, only 0 to {manifest.slice_count - 1}',
            "vmafarm status shows which slices failed",
        )
    every = read_submissions(folder)
    submissions = [submission for submission in every if slice_id in submission.slices]
    view = SlurmReader(slurm, run_job_name(folder, manifest.origin)).read(
        every, submissions, submitters(folder)
    )
    records = read_elements(folder)
    tasks = _tasks(slice_id, submissions, records, view)
    logs, packed = _newest_log(folder, tasks, count), packed_logs(folder)
    private = tell_denied(folder.logs)
    if not tasks or not (logs or packed or private or any(task.ended_at for task in tasks)):
        where = ", ".join(f"{task.name} {task.state}" for task in tasks)
        raise UsageError(
            f"slice {slice_id} has no log yet: {where or 'no task has had it'}",
            f"logs are in {show(str(folder.logs))}; vmafarm status shows what waits and runs",
        )
    notes = view.notes
    if refused := next(filter(None, map(tell_denied, (folder.logs, *logs))), ""):
        notes += (refused,)
    elif packed and not logs:
        notes += tuple(_where_packed(folder, path, tasks[0]) for path in packed)
    elif not logs:  # submitit's local executor numbers them by its own process
        notes += (f"no log has the name of one of these tasks: look into {show(str(folder.logs))}",)
    clips = [manifest.names[at] for at in manifest.positions(slice_id)]
    done = read_done(folder, [slice_id])
    own = set(clips)
    return SliceLogs(
        slice_id=slice_id,
        clips=len(clips),
        missing=sum(name not in done for name in clips),
        tasks=tuple(tasks),
        logs={show(str(path)): end for path, end in logs.items()},
        failures=tuple(record for record in read_failures(folder.failures) if record.clip_name in own),
        notes=notes,
    )


def _tasks(
    slice_id: int, submissions: Sequence[Submission], records: Sequence[ElementRecord], view: SlurmView
) -> list[TaskSeen]:
    """Tasks that had the slice, the newest first, also those that never started."""
    latest = {key_of(record): record.writer for record in records}
    tasks = {array.job: array.tasks for submission in submissions for array in submission.arrays}
    found = [
        _of_record(record, view, latest[key_of(record)] == record.writer, tasks.get(record.job, 1))
        for record in records
        if slice_id in record.slices
    ]
    for submission in submissions:
        for array in submission.arrays:
            for index in range(array.count if array.round == 0 else 0):
                key = array.job, index
                if slice_id in submission.slices_in(array, index) and key not in latest:
                    state = view.state((array.job, index // array.tasks)) or (
                        "" if view.queue is None else NOT_STARTED
                    )
                    number = index if array.count > 1 else None
                    seen = TaskSeen(array.job, number, "", _plain(state), submission.at, tasks=array.tasks)
                    found.append(seen)
    return sorted(found, key=lambda task: task.at, reverse=True)


def _of_record(record: ElementRecord, view: SlurmView, is_latest: bool, tasks: int) -> TaskSeen:
    if record.ended_at:
        state = "ended"
    elif is_latest:
        state = view.state((record.job, (record.index or 0) // tasks)) or (
            "" if view.queue is None else KILLED
        )
        state = "running" if state in RUNNING else state
    else:
        state = KILLED  # the same task started again
    notes = [f"{counted(record.done, 'row')} written"] if record.ended_at else []
    if record.exit_code:
        notes.append(one_line(record.message) or "stopped before its work was done")
    return TaskSeen(
        record.job, record.index, show(record.node), _plain(state), record.started_at, record.ended_at,
        ": ".join(notes), tasks,
    )  # fmt: skip


def _state(view: SlurmView, job: str, index: int, tasks: int) -> str:
    """State of the job that an element belongs to."""
    return view.state((job, index // tasks))


def _newest_log(folder: RunFolder, tasks: Sequence[TaskSeen], count: int) -> dict[Path, list[str]]:
    for task in tasks:
        paths = [log_path(folder, task.job, task.index, stream, task.tasks) for stream in ("err", "out")]
        there = [path for path in paths if os.path.lexists(path)]
        if there:
            return {path: tail(path, count) for path in there}
    return {}


def _where_packed(folder: RunFolder, archive: Path, task: TaskSeen) -> str:
    path = show(str(archive))
    if re.match(JOB_ID, task.job) is None:
        return f"logs are packed: tar -tzf {path} lists them"
    name = log_path(folder, task.job, task.index, "err", task.tasks).name
    return f"logs are packed: tar -xzOf {path} {name} prints one"


def _plain(state: str) -> str:
    return state.lower().replace("_", " ") or "not known"


def _indent(text: str) -> list[str]:
    return wrapped(text, " " * 4) if text else []
