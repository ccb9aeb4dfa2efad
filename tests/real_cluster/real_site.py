"""A corpus of real footage, and an ordinary user who runs vmafarm on it on the cluster that is up."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from real_slurm import CHECKOUT, IMAGES, SLICES, as_user, give_to_user, wait_until
from support import media
from support.command import write_scores

from vmafarm.run_folder.element_records import ElementRecord, read_elements
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.submissions import Submission, read_submissions

FOOTAGE = {"bikes": 30, "bigbuckbunny": 15, "carphone": 15}
"""Clips that are cut from each; 8 frames a clip."""
CLIPS = sum(FOOTAGE.values())
NAMES = tuple(f"orig_{number}_540_5s.mp4" for number in range(CLIPS))

_CONFIG = """\
[run]
root = "{folder}/runs"
[corpus]
clips = "{folder}/clips"
scores = "{folder}/scores.csv"
[engine]
kind = "ffmpeg"
plan = "identity"
[extract]
workers = 1
[slices]
count = {slices}
[slurm]
image = "{image}"
parallelism = 3
time = 10
mem = "1GB"
cpus = 1
[slurm.merge]
time = 10
mem = "2GB"
cpus = 1
"""


def make_corpus(folder: Path) -> None:
    """Clips that all differ, so that rows swapped between two of them show; neighbours are no neighbours."""
    folder.mkdir()
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        pieces = [
            piece
            for source, many in FOOTAGE.items()
            for piece in media.cut(media.real_clip(source), Path(name), many)
        ]
        for number, clip in enumerate(NAMES):
            pieces[number * 17 % CLIPS].rename(folder / clip)


@dataclass(frozen=True)
class Queued:
    """A job, or an element of an array, that waits or runs."""

    job: str
    state: str
    node: str

    @property
    def array(self) -> str:
        """Its array."""
        return self.job.partition("_")[0]

    @property
    def index(self) -> int:
        """Its number in the array."""
        return int(self.job.partition("_")[2])

    @property
    def runs(self) -> bool:
        """An element of an array that runs; the merge is none."""
        return "_" in self.job and self.state == "RUNNING"


def setting(key: str, value: object) -> tuple[str, str]:
    """The option that sets a key of the configuration."""
    return "--set", f"{key}={json.dumps(value)}"


THREE_ELEMENTS = setting("slurm.max_jobs", 9)
"""Of four slices each; as many in the next round, two looks from another node, and the merge."""


class Site:
    """A working folder of the ordinary user, with a corpus, a configuration, and the verbs run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "vmafarm.toml"
        make_corpus(folder / "clips")
        write_scores(folder / "scores.csv", NAMES)
        self.config.write_text(_CONFIG.format(folder=folder, image=IMAGES / "cpu.sif", slices=SLICES))
        give_to_user(folder)

    def engine(self, script: str, *, always: bool = False) -> tuple[str, ...]:
        """Options for an engine with the same values that does this first, for each clip of the corpus.

        Or, with `always`, whatever it is started for. The script runs on the compute node, in the image.
        """
        program = self.folder / f"ffmpeg-{len(list(self.folder.glob('ffmpeg-*')))}"
        when = "*" if always else f"*{self.folder}/clips*"
        program.write_text(f'#!/bin/sh\ncase "$*" in {when})\n{script}\nesac\nexec ffmpeg "$@"\n')
        program.chmod(0o755)
        return *setting("engine.ffmpeg", str(program)), *setting("slurm.binds", [str(self.folder)])

    def slowly(self, seconds: float) -> tuple[str, ...]:
        """Options with which each clip takes so long."""
        return self.engine(f"sleep {seconds}")

    def command(self, *words: str | Path, status: int | None = 0) -> str:
        """What a command says, run in the working folder."""
        finished = as_user(*words, cwd=self.folder)
        said = finished.stdout + finished.stderr
        assert "Traceback" not in said, said
        assert status is None or finished.returncode == status, said
        return said

    def vmafarm(self, verb: str, run: str, *more: str | Path, status: int | None = 0) -> str:
        """What a verb says."""
        program = CHECKOUT / ".venv" / "bin" / "vmafarm"
        return self.command(program, verb, "--config", self.config, "--run", run, *more, status=status)

    def make(self, target: str, run: str) -> str:
        """What a target of the Makefile says, in the checkout."""
        make = ["make", "--no-print-directory", "-C", CHECKOUT, target, f"CONFIG={self.config}"]
        return self.command(*make, f"ARGS=--run {run}")

    def look(self, run: str) -> dict[str, Any]:
        """The run's status; its numbers fit together at any time."""
        status: dict[str, Any] = json.loads(self.vmafarm("status", run, "--json"))
        assert status["done"] + status["missing"] + status["failed_for_good"] == status["clips"] == CLIPS
        assert sum(status["slices"].values()) == SLICES, status
        return status

    def queued(self, run: str) -> list[Queued]:
        """Elements and the merge of a run in SLURM's queue."""
        said = self.command("squeue", "--all", "--noheader", "--array", "--format=%i|%T|%N|%j")
        rows = [line.split("|") for line in said.splitlines()]
        return [Queued(*row[:3]) for row in rows if row[3].startswith(f"vmafarm-{run}-")]

    def cancel_all(self) -> None:
        """End what tests that failed have left in the queue."""
        folders = [RunFolder(self.folder / "runs", path.name) for path in self.folder.glob("runs/*/")]
        names = {one.job_name for folder in folders for one in read_submissions(folder)}
        if names:
            self.command("scancel", f"--name={','.join(names)}", status=None)

    def running(self, run: str) -> Queued:
        """An element that runs, once there is one."""
        found: list[Queued] = []
        wait_until(
            lambda: found.extend(one for one in self.queued(run) if one.runs) or found, 120, f"{run} runs"
        )
        return found[0]

    def at_work(self, run: str, *, rows: int = 0) -> Queued:
        """An element that runs, has noted that it began, and has written so many rows, once there is one."""
        found: list[Queued] = []
        wait_until(
            lambda: found.extend(self.now_at_work(run, rows=rows)) or found, 120, f"an element of {run} works"
        )
        return found[0]

    def now_at_work(self, run: str, *, rows: int = 0) -> list[Queued]:
        """Elements that run, have noted that they began, and have written so many rows each."""
        began = {f"{one.job}_{one.index}" for one in self.elements(run) if self._rows(run, one) >= rows}
        return [one for one in self.queued(run) if one.runs and one.job in began]

    def _rows(self, run: str, element: ElementRecord) -> int:
        done = self.run_folder(run).shards.glob(f"*/{element.writer}*.done")
        return sum(len(path.read_bytes().splitlines()) for path in done)

    def elements(self, run: str) -> list[ElementRecord]:
        """What the run's elements say of themselves."""
        return read_elements(self.run_folder(run))

    def submissions(self, run: str) -> list[Submission]:
        """What was submitted for a run."""
        return read_submissions(self.run_folder(run))

    def run_folder(self, run: str) -> RunFolder:
        """Where the run's files are."""
        return RunFolder(self.folder / "runs", run)

    def wait_for(self, run: str, reached: Callable[[dict[str, Any]], object], seconds: float = 400) -> None:
        """Wait until the run's status is such."""
        wait_until(lambda: reached(self.look(run)), seconds, f"status of {run}")

    def table(self, run: str) -> Path:
        """The product."""
        return self.run_folder(run).table

    def wait_for_table(self, run: str, seconds: float = 600) -> bytes:
        """The product, once no job of the run is left; the status is true all the time."""
        looks = count()

        def is_over() -> bool:
            if next(looks) % 5 == 0:
                self.look(run)
            return not self.queued(run)

        wait_until(is_over, seconds, f"the queue of {run} is empty")
        assert self.table(run).exists(), self.vmafarm("status", run)
        status = self.look(run)
        assert (status["done"], status["missing"], status["slices"]["done"]) == (CLIPS, 0, SLICES), status
        return self.table(run).read_bytes()

    def states(self, jobs: Sequence[str]) -> set[str]:
        """States that these jobs have had, by accounting, of earlier starts too."""
        said = self.command("sacct", "--duplicates", "-n", "-X", "-P", "-j", ",".join(jobs), "-o", "State")
        return set(re.findall(r"^\w+", said, re.MULTILINE))
