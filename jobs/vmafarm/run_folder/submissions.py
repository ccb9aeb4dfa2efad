"""Records of submissions in the run folder: an immutable list of slices, and the jobs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from vmafarm.common.errors import UsageError, reason, show
from vmafarm.disk import durable
from vmafarm.disk.jsonl import Count, Flag, Moment, Text, Word, json_line, parse_json, read_lines, why
from vmafarm.disk.readable import denied, is_denied
from vmafarm.disk.regular_files import MOST_BYTES_OF_DOCUMENT, list_files, read_regular
from vmafarm.process.job_ids import JOB_ID, number_of
from vmafarm.run_folder.paths import RunFolder

EVERYTHING, ORDINARY, ELSEWHERE, LAST_LOOK = ("everything", "ordinary", "elsewhere", "last look")
"""Which clips of its slices an element takes; see `vmafarm.scoring.todo.find_todo`."""

Job = Annotated[str, Field(strict=True, pattern=JOB_ID)]
"""A job's id, whose number is passed to SLURM's programs."""


@dataclass(frozen=True)
class Array:
    """One SLURM array of a submission.

    Attributes
    ----------
    job
        Its id.
    round
        0 for the first; later ones do what is still missing.
    offset, count
        In the first round, its elements 0..count-1 are the submission's elements offset..offset+count-1
        (earlier versions queued several arrays per round; now `offset` is 0). In later rounds, element i has
        every count-th slice from the i-th on.
    share
        Which clips of these slices the elements take; see `vmafarm.scoring.todo.find_todo`.
    tasks
        Elements of each job of the array, one on each of its nodes: job i has those from i * `tasks` on.
    """

    job: Job
    round: Annotated[int, Field(strict=True, ge=0, le=20)]  # slurm.rounds, and the looks behind them
    offset: Count
    count: Annotated[int, Field(strict=True, ge=1, le=4_000_001)]  # the largest MaxArraySize of SLURM
    share: Word = EVERYTHING
    tasks: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1  # slurm.nodes

    @property
    def job_count(self) -> int:
        """Jobs of the array."""
        return -(-self.count // self.tasks)


@dataclass(frozen=True)
class Submission:
    """One call of submit or retry.

    Attributes
    ----------
    number
        From 1.
    job_name
        Name of all jobs of the run, and of no other run's.
    elements
        Slices of each element of the first round; immutable.
    version
        Version of the toolkit.
    image, image_digest
        The SIF and its SHA-256; empty without a container.
    engine
        What ``engine.kind`` was resolved to, in the image.
    settings
        The part of the configuration that may change between submissions, see
        `vmafarm.config.sections.recorded`.
    done
        Clips that had a row already.
    at
        Time (ISO 8601, UTC).
    canary
        Whether it is a first small job; its only element may take clips of all slices.
    waiting
        Slices with clips that failed on one node only, and wait for another one.
    arrays, merge_job
        Jobs, recorded as they were queued.
    """

    number: Count
    job_name: Word
    elements: tuple[tuple[Count, ...], ...]
    version: Word
    image: Text
    image_digest: Word
    engine: Word
    settings: Mapping[str, Any]
    done: Count = 0
    at: Moment | Literal[""] = ""
    canary: Flag = False
    waiting: tuple[Count, ...] = ()
    arrays: tuple[Array, ...] = ()
    merge_job: Job | Literal[""] = ""

    @property
    def slices(self) -> tuple[int, ...]:
        """All its slices, in ascending order."""
        return tuple(sorted({*self.waiting, *(number for element in self.elements for number in element)}))

    @property
    def cluster(self) -> str:
        """``slurm.cluster`` as it was; empty: the login node's own."""
        name = self.settings.get("slurm.cluster", "")
        return name if isinstance(name, str) else ""

    def jobs(self) -> list[str]:
        """Ids of all its jobs."""
        return [array.job for array in self.arrays] + ([self.merge_job] if self.merge_job else [])

    def without_merge(self) -> str:
        """Say that queueing ended before the merge, and what to do; empty if it did not."""
        if self.canary or self.merge_job or not self.arrays:
            return ""
        return (
            f"no merge is queued behind {', '.join(self.jobs())}: queueing stopped before it; "
            "vmafarm cancel, then vmafarm retry; or vmafarm merge once they have ended"
        )

    def slices_of(self, job: str, index: int | None) -> tuple[int, ...]:
        """Slices of a job of an array, with those of all its elements; empty for any other job."""
        for array in self.arrays:
            if array.job == job:
                first = (index or 0) * array.tasks
                elements = range(first, min(first + array.tasks, array.count))
                return tuple(number for element in elements for number in self.slices_in(array, element))
        return ()

    def slices_in(self, array: Array, index: int) -> tuple[int, ...]:
        """Slices of an element of one of its arrays."""
        if array.round == 0:
            at = array.offset + index
            return self.elements[at] if at < len(self.elements) else ()
        return self.slices[index :: array.count]


_SUBMISSION = pydantic.TypeAdapter(Submission)


def run_job_name(folder: RunFolder, manifest_digest: str) -> str:
    """Name of all jobs of a run: its name, and a digest of its path and manifest."""
    # Resolved: ../runs/x and a link to it are the same run, whose jobs must be found by either path.
    digest = hashlib.sha256(f"{folder.path.resolve()}\0{manifest_digest}".encode()).hexdigest()
    return f"vmafarm-{folder.name}-{digest[:10]}"


def next_number(folder: RunFolder) -> int:
    """Reserve the next number; concurrent callers get different ones."""
    durable.make_folder(folder.submissions)
    taken = [path.stem for path in folder.submissions.glob("[0-9]*.jobs")]
    number = max((int(stem) for stem in taken if _NUMBER.fullmatch(stem)), default=0)
    while True:
        number += 1
        with suppress(FileExistsError):
            durable.reserve(_path(folder, number, "jobs"))
            return number


def new_submission(folder: RunFolder, submission: Submission) -> None:
    """Write its immutable part, before any job is queued."""
    durable.make_folder(folder.submissions)
    document = asdict(submission)
    document.pop("arrays")
    document.pop("merge_job")
    durable.replace_text(_path(folder, submission.number, "json"), json.dumps(document, indent=1) + "\n")


def starter_path(folder: RunFolder, number: int) -> Path:
    """Path of a submission's copy of containers/element.sh, which jobs run and nobody else may write."""
    return folder.logs / f"element-{number:05d}.sh"


def write_next_look(folder: RunFolder, number: int, job: str) -> None:
    """Record which job must avoid the node of the one before it, for containers/element.sh."""
    durable.replace_text(next_look_path(folder, number), f"{number_of(job)}\n")


def next_look_path(folder: RunFolder, number: int) -> Path:
    """Path of what `write_next_look` writes."""
    return _path(folder, number, "look")


def note_job(folder: RunFolder, number: int, record: Mapping[str, Any]) -> None:
    """Record a job as soon as it is queued."""
    appender = durable.Appender(_path(folder, number, "jobs"))
    try:
        appender.append(json_line(record))
    finally:
        appender.close()


def read_submissions(folder: RunFolder) -> list[Submission]:
    """All submissions of a run, the oldest first.

    Raises
    ------
    UsageError
        A record is damaged. It is not skipped: its jobs would be taken for nobody's.
    UnavailableError
        This user has no permission to read them.
    """
    found = []
    try:
        paths = list_files(folder.submissions, ".json")
    except PermissionError:
        raise denied(folder.submissions) from None
    except OSError:  # a file in its place
        paths = []
    for path in paths:
        jobs = path.with_suffix(".jobs")
        try:
            document = parse_json(read_regular(path, MOST_BYTES_OF_DOCUMENT))
            records = _read_jobs(jobs)
            merges = [record["merge_job"] for record in records if "merge_job" in record]
            document["arrays"] = [record for record in records if "count" in record]
            document["merge_job"] = merges[-1] if merges else ""
            submission = _SUBMISSION.validate_python(document)
            _check_arrays(submission)
        except PermissionError:
            raise denied(path if is_denied(path) else jobs) from None
        except (OSError, ValueError, TypeError) as error:
            said = why(error) if isinstance(error, ValueError) else reason(error)
            raise UsageError(
                f"{show(str(path))}, or .jobs beside it, is damaged: {said}",
                "restore it from a copy; or, when none of its jobs is queued any more (squeue), "
                "move both away",
            ) from None
        found.append(submission)
    return found


def submitters(folder: RunFolder) -> set[int]:
    """User IDs of those who submitted the run: the owners of its records."""
    users = set()
    with suppress(OSError):
        for path in list_files(folder.submissions, ".json"):
            users.add(path.stat().st_uid)
    return users


def _check_arrays(submission: Submission) -> None:
    """Raise ValueError if arrays have more elements than the submission, or occur twice.

    Readers iterate over all elements of all arrays: a line that claims many would keep them busy.
    """
    jobs = [array.job for array in submission.arrays]
    if len(jobs) != len(set(jobs)):
        raise ValueError("an array is listed twice")
    for number in {array.round for array in submission.arrays}:
        arrays = [array for array in submission.arrays if array.round == number]
        end = 0 if number else max(array.offset + array.count for array in arrays)
        count = max(end, sum(array.count for array in arrays))
        most = max(1, len(submission.slices if number else submission.elements))
        if count > most:
            raise ValueError(f"round {number} has {count:,} elements, expected at most {most:,}")


def _read_jobs(path: Path) -> list[dict[str, Any]]:
    """Its lines; one that its writer did not finish is not a job yet."""
    records = []
    with suppress(FileNotFoundError):
        for line in read_lines(path):
            with suppress(ValueError):
                records.append(parse_json(line))
    if any(not isinstance(record, dict) for record in records):
        raise TypeError("a line is not an object")
    return records


_NUMBER = re.compile(r"[0-9]{1,9}")


def _path(folder: RunFolder, number: int, suffix: str) -> Path:
    return folder.submissions / f"{number:05d}.{suffix}"
