"""A whole run within one process: the real plan, element, shards and merge, with a cheap engine.

Neither submitit nor libvmaf is part of it (they are in `crash.tree`), so that it can be repeated for
each boundary. A child is forked for each run, and a SIGKILL ends that child. What the run has
promised so far is noted in a ledger that the kill does not touch.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from crash.faults import Faults, install
from crash.kept_frames import FRAMES, are_made_up, lost_frames, pooled, values_of
from support import merge_helpers

import vmafarm.run
import vmafarm.scoring.attempts
import vmafarm.scoring.element
import vmafarm.scoring.origin
from vmafarm.common.errors import VmafarmError
from vmafarm.config.load import load
from vmafarm.config.sections import Config
from vmafarm.corpus.frozen_config import read_frozen_config
from vmafarm.disk.durable import publish
from vmafarm.engines.base import Capabilities
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.ffmpeg import FfmpegEngine
from vmafarm.run_folder.broken_nodes import mark_broken, read_broken
from vmafarm.run_folder.element_records import ElementResult, read_elements
from vmafarm.run_folder.failures import read_failures
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.provenance import Provenance, freeze_provenance, read_provenance
from vmafarm.run_folder.submissions import Submission, new_submission, next_number, note_job, read_submissions
from vmafarm.scoring.clip import Clip, Extracted
from vmafarm.scoring.element import run_element
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.shards.writer import read_done

GOOD = ("a.mp4", "c.mp4", "d\n.mp4", "e.mp4", "f.mp4")
BAD = "b.mp4"
SLICES = 2


@dataclass(frozen=True)
class Place:
    """A folder with a corpus, a run, and beside them what a test knows."""

    folder: Path

    @property
    def state(self) -> Path:
        """Of `crash.faults`."""
        return self.folder / "state"

    @property
    def ledger(self) -> Path:
        """What was promised."""
        return self.folder / "ledger"

    @property
    def table(self) -> Path:
        """The product."""
        return self.folder / "runs" / "full_features_r.parquet"

    def config(self) -> Config:
        """The run's configuration."""
        clips, scores = self.folder / "clips", self.folder / "scores.csv"
        settings = [
            "run.name=r", f"run.root={self.folder / 'runs'}", f"corpus.clips={clips}",
            f"corpus.scores={scores}", f"extract.scratch={self.folder / 'scratch'}", "extract.workers=1",
            "extract.flush_every=2", "extract.retries=1", f"slices.count={SLICES}", "engine.kind=ffmpeg",
            "engine.plan=identity", "engine.frames=true", "engine.audit_every=0",
            "merge.max_failed_share=0.5", "merge.checks=false",
        ]  # fmt: skip
        config, _ = load(None, settings)
        return config

    def make(self) -> Place:
        """Write the corpus; its clips are never opened."""
        (self.folder / "clips").mkdir(parents=True)
        (self.folder / "scratch").mkdir()
        for name in (*GOOD, BAD):
            (self.folder / "clips" / name).write_bytes(b"clip")
        lines = "".join(f'"{name}",3.0\n' for name in (*GOOD, BAD))
        (self.folder / "scores.csv").write_text(f"clip_name,mos\n{lines}")
        return self

    def promise(self, kind: str, value: object = None) -> None:
        """Note what the run has said is safe."""
        with open(self.ledger, "a") as file:
            file.write(json.dumps([kind, value]) + "\n")

    def promises(self) -> list[tuple[str, Any]]:
        """All that were noted."""
        if not self.ledger.exists():
            return []
        return [tuple(json.loads(line)) for line in self.ledger.read_text().splitlines()]


class _Engine(FfmpegEngine):
    def probe(self, *_: object) -> Capabilities:
        return Capabilities("9", "3", "9")


def full_run(place: Place) -> None:
    """Submit (without SLURM), plan, score and merge."""
    config = place.config()
    settled: list[str] = []

    def score(clip: Clip, *_: object, **__: object) -> Extracted:
        # One clip at a time: the one before this, all its tries, has been written down.
        if settled and settled[-1] != clip.name:
            place.promise("settled", settled[-1])
        settled.append(clip.name)
        if clip.name == BAD:
            raise ClipFailedError("decode_error", "cannot be decoded")
        values = values_of(clip.name)
        row = pooled(merge_helpers.make_row(clip.name), values)
        return Extracted(row, FRAMES, 25.0, "yuv420p", 8, 0.0, 0.1, (), values=values)

    def run_here(
        config: Config, slices: Any, _: object, limit: int, share: str, manifest: str
    ) -> ElementResult:
        assert not limit
        place.promise("planned", load_manifest(config.folder).digest)
        _submit(place, config)
        result = run_element(ElementSpec(config.model_dump(), tuple(slices), share=share, manifest=manifest))
        if not result.message:
            place.promise("settled", settled[-1])
            place.promise("ended", result.done)
        return result

    def freeze_here(path: Path, provenance: Provenance) -> None:
        freeze_provenance(path, provenance)
        place.promise("frozen")

    with replaced(score, run_here, freeze_here):
        vmafarm.run.run(config)
    place.promise("merged")


@contextmanager
def replaced(
    score: Callable[..., Extracted], run_here: Callable[..., ElementResult], freeze_here: Callable[..., None]
) -> Iterator[None]:
    before = (
        vmafarm.scoring.attempts.extract,
        vmafarm.scoring.element.make_engine,
        vmafarm.run.run_local,
        vmafarm.scoring.origin.freeze_provenance,
        vmafarm.run.probe_here,
    )
    vmafarm.scoring.attempts.extract, vmafarm.run.run_local = score, run_here
    vmafarm.scoring.origin.freeze_provenance = freeze_here
    vmafarm.scoring.element.make_engine = lambda *_: _Engine(Path(), "identity", "cpu", 1)
    vmafarm.run.probe_here = lambda _: None
    try:
        yield
    finally:
        (
            vmafarm.scoring.attempts.extract,
            vmafarm.scoring.element.make_engine,
            vmafarm.run.run_local,
            vmafarm.scoring.origin.freeze_provenance,
            vmafarm.run.probe_here,
        ) = before


def _submit(place: Place, config: Config) -> None:
    number = next_number(config.folder)
    elements = ((0,), (1,))
    new_submission(config.folder, Submission(number, "r", elements, "1", "", "", "ffmpeg", {}))
    for offset, job in enumerate(("11", "12")):
        note_job(config.folder, number, {"job": job, "round": 0, "offset": offset, "count": 1})
        place.promise("queued", [number, job])
    image = config.folder.root / f"image{number}.sif"
    image.with_suffix(".new").write_bytes(b"written by another program")
    publish(image.with_suffix(".new"), image)
    place.promise("image", image.name)
    mark_broken(config.folder, f"node{number}", "it is broken")
    place.promise("broken", f"node{number}")


def broken_promises(place: Place) -> list[str]:
    """What was promised and is not there any more."""
    config = place.config()
    folder = config.folder
    lost = []

    def check(said: str, holds: Callable[[], bool]) -> None:
        try:
            kept = holds()
        except (VmafarmError, OSError, ValueError) as error:
            kept, said = False, f"{said}: {error}"
        if not kept:
            lost.append(said)

    rows = read_done(folder, range(SLICES))
    for kind, value in dict.fromkeys((kind, json.dumps(value)) for kind, value in place.promises()):
        given = json.loads(value)
        holds = {
            "planned": lambda given=given: (
                load_manifest(folder).digest == given and read_frozen_config(folder)["plan.manifest"] == given
            ),
            "settled": lambda given=given: (
                given in rows
                if given != BAD
                else len([r for r in read_failures(folder.failures) if r.clip_name == BAD]) >= 2
            ),
            "frozen": lambda: read_provenance(folder.provenance) is not None,
            "ended": lambda: any(record.ended_at for record in read_elements(folder)),
            "queued": lambda given=given: any(
                array.job == given[1]
                for submission in read_submissions(folder)
                if submission.number == given[0]
                for array in submission.arrays
            ),
            "broken": lambda given=given: given in [broken.node for broken in read_broken(folder)],
            "image": lambda given=given: (folder.root / given).read_bytes()[:7] == b"written",
            "merged": lambda: (
                json.loads(folder.merge_record.read_text())["published"] and place.table.exists()
            ),
        }[kind]
        check(f"{kind} {given}", holds)
    return lost + lost_frames(folder, are_made_up)


def names_in(table: Path) -> list[str]:
    """Clips of a table, as often as they stand there."""
    with pq.ParquetFile(table) as file:
        names: list[str] = file.read(columns=["clip_name"])["clip_name"].to_pylist()
    return names


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit status, or minus the signal; and what it said."""

    status: int
    said: str


CRASHED = 70
"""Exit status of a child that ended with an error that is not one of the project's own."""


def fork(work: Callable[[], object], place: Place, faults: Faults | None = None) -> int:
    """Start a child in a process group of its own that meets the faults; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = CRASHED
    try:
        os.setsid()
        said = os.open(place.folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        if faults is not None:
            install(faults)
        work()
        status = 0
    except VmafarmError as error:
        print(error, flush=True)
        status = error.exit_code if error.hint else CRASHED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(pid: int, place: Place) -> Ended:
    """Wait for a child of `fork`; no process of its group is left then."""
    _, status = os.waitpid(pid, 0)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return Ended(os.waitstatus_to_exitcode(status), (place.folder / "said").read_text(errors="replace"))
