"""A published run with all that a tidy takes away, and what the verbs say of it."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from support.fake_slurm import finish, planned, write_log, write_record
from support.merge_helpers import NOW, Run, make_row
from support.verbs import VERBS

from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.status import read_status
from vmafarm.cluster.status_table import as_json
from vmafarm.cluster.submit import submit
from vmafarm.cost.measured import measure
from vmafarm.disk.drafts import ABANDONED_SECONDS
from vmafarm.publish import deliver
from vmafarm.published.up_to_date import read_delivered
from vmafarm.run_folder.element_records import read_elements
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.packed_logs import packed_logs
from vmafarm.run_folder.submissions import read_submissions
from vmafarm.scoring.todo import find_todo
from vmafarm.shards.journal import read_journal

SLICES = 4
GOES = {
    "shards/slice-00000/w.done", "shards/slice-00001/killed.done", "shards/slice-00002/w.parquet",
    "shards/slice-00001/w.journal", "shards/slice-00002/none.journal",
    "shards/slice-00003/.w.parquet.17.0123abcd.tmp", ".config.toml.17.0123abcd.tmp",
}  # fmt: skip
"""What is removed without being packed."""


def finished(root: Path) -> Run:
    """A run of four slices that was submitted, disturbed, finished and published."""
    run = planned(root, SLICES)
    quick = run.config.merge.model_copy(update={"checks": False})
    run.config = run.config.model_copy(update={"merge": quick})
    run.freeze()
    submit(run.config, Slurm(), say=lambda line: None)
    (array,) = {one.job for one in read_submissions(run.folder)[0].arrays if one.round == 0}
    finish(run, *range(SLICES))
    for number in range(SLICES):
        write_record(run, array, number, [number])
        for stream in ("out", "err"):
            write_log(run, f"{array}_{number}", stream, f"slice {number}, {stream}\n" * 50)
    # Killed when its rows were sealed, but before it had removed its journal.
    run.journal([make_row("c0001.mp4")], 1)
    run.log_clips({"c0001.mp4": 1.0}, 1, finished_at=NOW)
    # Another one did a slice again; one was killed before its first row.
    finish(run, 2, writer="zombie")
    run.journal([], 2, "none")
    # A journal with a row of its own is what the merge needs.
    run.journal([make_row("c0003.mp4")], 3, "only")
    (run.folder.shard_folder(3) / "w.parquet").unlink()
    run.folder.clip_log(3, "w").unlink()
    for name in GOES:
        path = run.folder.path / name
        if path.suffix == ".done":
            path.write_text('"c0000.mp4"\n')
        elif path.suffix == ".tmp":
            path.write_bytes(b"half a file")
            age(path)
    deliver(run.config, lambda line: None)
    return run


def age(path: Path) -> None:
    """Make a file older than any draft at work."""
    old = time.time() - ABANDONED_SECONDS - 60
    os.utime(path, (old, old))


def files(run: Run) -> dict[str, bytes]:
    """Content of all files of the run by path, without locks and archives."""
    return {
        str(path.relative_to(run.folder.path)): path.read_bytes()
        for path in sorted(run.folder.path.rglob("*"))
        if path.is_file() and path.suffix not in (".lock", ".gz")
    }


def logs(run: Run) -> dict[str, bytes]:
    """All logs and scripts, wherever they are now."""
    found: dict[str, bytes] = {}
    for archive in packed_logs(run.folder):
        with tarfile.open(archive) as packed:
            for member in packed.getmembers():
                content = packed.extractfile(member)
                assert content is not None
                found[member.name] = content.read()
    plain = (path for path in run.folder.logs.iterdir() if path.suffix not in (".gz", ".tmp"))
    return found | {path.name: path.read_bytes() for path in plain}


def answers(run: Run) -> Mapping[str, Any]:
    """What the verbs say of a run."""
    status = json.loads(as_json(read_status(run.config, None)))
    del status["at"]
    manifest = load_manifest(run.folder)
    return {
        "status": status,
        "todo": find_todo(run.folder, run.config, manifest, range(manifest.slice_count)),
        "measured": repr(measure(run.folder, read_elements(run.folder))),
        "table": run.folder.table.read_bytes(),
        "up to date": read_delivered(run.config) is not None,
        "rows": {row["clip_name"] for row in _rows(run)},
        "logs": logs(run),
    }


def queried(run: Run) -> Any:
    """All rows of all tables of the run as a database."""
    return VERBS["sql"](run)


def _rows(run: Run) -> Iterator[dict[str, Any]]:
    for path in run.folder.shards.glob("*/*.parquet"):
        yield from pq.ParquetFile(path).read().to_pylist()
    for path in run.folder.shards.glob("*/*.journal"):
        yield from (row for row, _ in read_journal(path).rows)


def merged_again(run: Run) -> bytes:
    """The bytes of the table that a merge makes now, elsewhere."""
    root = run.folder.root.with_name("again")
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(run.folder.root, root, symlinks=True)
    section = run.config.run.model_copy(update={"root": str(root)})
    config = run.config.model_copy(update={"run": section})
    config.folder.table.unlink()
    deliver(config, lambda line: None)
    return config.folder.table.read_bytes()
