"""The verbs that read a run, in this process, each with a deadline: one that hangs has failed."""

from __future__ import annotations

import io
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from support.fake_slurm import write_merge_job
from support.merge_helpers import NOW, Run, make_row, plan_run

from vmafarm.cluster.efficiency import read_efficiency
from vmafarm.cluster.efficiency_text import as_document, lines
from vmafarm.cluster.slice_logs import slice_logs
from vmafarm.cluster.status import read_status
from vmafarm.cluster.status_table import as_json, table
from vmafarm.common.errors import VmafarmError, explain
from vmafarm.common.say import to_json
from vmafarm.config.secret_keys import recorded
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.cost.measured import measure
from vmafarm.merging.merge import merge
from vmafarm.merging.result import summarise
from vmafarm.publish import deliver, examine
from vmafarm.published.up_to_date import read_delivered
from vmafarm.query.answers import run_query, write_csv
from vmafarm.report.card import as_card
from vmafarm.report.info import read_info
from vmafarm.report.info import tell as tell_info
from vmafarm.run_folder.broken_nodes import mark_broken, read_broken
from vmafarm.run_folder.element_records import read_elements
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import (
    Array,
    Submission,
    new_submission,
    next_number,
    note_job,
    read_submissions,
)
from vmafarm.scoring.todo import find_todo

NAMES = [f"{letter}.mp4" for letter in "abcdef"]
SECONDS = 20
"""Each verb takes one at most."""


def whole_run(folder: Path) -> Run:
    """A run with all kinds of files: submitted, worked on, merged without a clip that has failed."""
    run = plan_run(folder / "runs", NAMES, slices=2, scratch=folder)
    run.freeze()
    run.shard([make_row(name) for name in NAMES[0:4:2]], 0, "v")
    run.clip_log(NAMES[0:4:2], 1, 0, "v")
    run.journal([make_row(name) for name in NAMES[1::2]], 1, "w")
    (run.folder.shard_folder(1) / "w.done").write_text("".join(f'"{name}"\n' for name in NAMES[1::2]))
    run.fail(NAMES[4], tries=3)
    run.take_part("h1")
    submission = Submission(1, "vmafarm-demo-0", ((0,), (1,)), "1", "", "", "ffmpeg", recorded(run.config),
                            at=NOW.isoformat())  # fmt: skip
    new_submission(run.folder, submission)
    note_job(run.folder, 1, vars(Array("1", 0, 0, 2)))
    note_job(run.folder, 1, {"merge_job": "2"})
    write_merge_job(run, "2", "refused", "missing: 1 of 6 clips")
    mark_broken(run.folder, "node7", "no driver")
    run.folder.logs.mkdir()
    for task in ("1_0", "2"):
        (run.folder.logs / f"{task}_0_log.out").write_text("it began\n")
    quick = run.config.merge.model_copy(update={"checks": False})  # the report draws
    deliver(run.config.model_copy(update={"merge": quick}), lambda line: None, allow_missing=True)
    examine(run.config, lambda line: None)
    return run


def moved(run: Run, root: Path) -> Run:
    """The same run where it has been copied to."""
    section = run.config.run.model_copy(update={"root": str(root)})
    return Run(RunFolder(root, "demo"), run.config.model_copy(update={"run": section}), run.provenance)


def _status(run: Run) -> Sequence[str]:
    seen = read_status(run.config, None)
    return [*table(seen), as_json(seen)]


def _merge(run: Run) -> Sequence[str]:
    result = merge(run.folder, run.config, allow_missing=True)
    return [*summarise(result), *(finding.message for finding in result.findings)]


def _examine(run: Run, **options: Any) -> Sequence[str]:
    said: list[str] = []
    outcomes = examine(run.config, said.append, **options)
    return said + [f"{one.check.name}: {one.failure}" for one in outcomes if one.failure]


def _query(run: Run) -> Sequence[str]:
    said: list[str] = []
    answer = io.StringIO()
    names = ("features", "clips", "failures", "run", "findings", "failed")
    query = "; ".join(f"FROM {name}" for name in names)
    run_query(run.config, query, partial(write_csv, answer), said.append, several=True)
    return [*said, answer.getvalue()]


def _info(run: Run) -> Sequence[str]:
    info = read_info(run.folder.table)
    return [as_card(info), *(f"{label} {text}" for label, text in tell_info(info))]


def _todo(run: Run) -> Sequence[str]:
    return [clip.name for clip in find_todo(run.folder, run.config, load_manifest(run.folder), (0, 1))]


def _retry(run: Run) -> Sequence[str]:
    measured = measure(run.folder, read_elements(run.folder))
    return [f"{read_submissions(run.folder)} {next_number(run.folder)} {read_broken(run.folder)} {measured}"]


def _efficiency(run: Run) -> Sequence[str]:
    seen = read_efficiency(run.config, None, every=True)
    return [*lines(seen), to_json(as_document(seen))]


QUICK: dict[str, Callable[[Run], Sequence[str]]] = {
    "status": _status,
    "efficiency": _efficiency,
    "logs": lambda run: slice_logs(run.config, None, 0, 5).lines(5),
    "info": _info,
    "todo": _todo,
    "retry": _retry,
    "run": lambda run: [repr(read_delivered(with_frozen(run.config)) is None)],
}
VERBS = {
    **QUICK,
    "merge": _merge,
    "qa": _examine,
    "sql": _query,
}


def say(verb: Callable[[Run], Sequence[str]], run: Run, path: Path | None = None) -> str:
    """All that a verb says, an error of ours too; anything else than that is a failed test.

    Parameters
    ----------
    verb
        Of `VERBS`.
    run
        The run.
    path
        What may hang it: a FIFO there is opened for writing when its time is up.
    """
    with _deadline(path):
        try:
            said = "\n".join(verb(run))
        except (VmafarmError, OSError) as error:  # what the command line tells without a traceback
            said = str(explain(error))
    said.encode()  # no half of a character
    return said


@contextmanager
def _deadline(path: Path | None) -> Iterator[None]:
    """Fail after `SECONDS`, and where 3 GB more of memory are wanted than there are now."""
    late = threading.Event()

    def end() -> None:
        late.set()
        if path is not None and path.is_fifo():
            with suppress(OSError):  # a reader in any library sees the end of the file
                os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        os.kill(os.getpid(), signal.SIGALRM)

    def interrupt(*_: object) -> None:
        raise AssertionError("it hangs")

    timer = threading.Timer(SECONDS, end)
    before = signal.signal(signal.SIGALRM, interrupt)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 3 * 2**30, hard))
    timer.start()
    try:
        yield
        assert not late.is_set(), "it hangs"
    finally:
        timer.cancel()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)
