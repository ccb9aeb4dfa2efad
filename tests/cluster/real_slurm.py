"""The cluster that is up, the images, and an ordinary user who runs vmafarm on them."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import write_scores

ROOT = Path(__file__).parent.parent.parent
IMAGES = Path(os.environ.get("VMAFARM_IMAGES", "/nowhere"))
CHECKOUT = IMAGES / "checkout"
USER = os.environ.get("VMAFARM_CLUSTER_USER", "farm")
SLURM_CONF = os.environ.get("SLURM_CONF", "")
CLIPS = 24
SLICES = 6


def as_user(
    *command: str | Path,
    cwd: Path = IMAGES,
    seconds: float = 600,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command as the ordinary user, to its end, with nothing of this process's environment."""
    words = [str(word) for word in command]
    home = os.environ.get("HOME", "/")
    if os.geteuid() == 0:
        words = ["/usr/sbin/runuser", "-u", USER, "--", *words]
        home = pwd.getpwnam(USER).pw_dir
    clean = {"PATH": "/usr/bin:/bin", "HOME": home, "LC_ALL": "C.UTF-8", "SLURM_CONF": SLURM_CONF}
    return subprocess.run(
        words, cwd=cwd, env={**clean, **(environment or {})}, capture_output=True, text=True,
        timeout=seconds, check=False,
    )  # fmt: skip


def give_to_user(folder: Path) -> None:
    """Make the ordinary user the owner of a folder and of all in it."""
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def wait_until(reached: Callable[[], object], seconds: float, what: str) -> None:
    """Ask twice a second until the answer is true, and fail if that takes longer."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)


@dataclass(frozen=True)
class Facts:
    """What a cluster has.

    Attributes
    ----------
    accounting
        ``sacct`` answers, and limits hold.
    gpus
        Nodes have them.
    small_arrays
        The `SLICES` of a run are too many for one array.
    """

    accounting: bool
    gpus: bool
    small_arrays: bool


def ask_facts() -> Facts:
    """Ask the cluster that is up."""
    config = as_user("scontrol", "show", "config", cwd=Path("/")).stdout
    values = dict(re.findall(r"^(\w+)\s*=\s*(\S*)", config, re.MULTILINE))
    gres = as_user("sinfo", "--noheader", "--format=%G", cwd=Path("/")).stdout
    accounting = values["AccountingStorageType"] == "accounting_storage/slurmdbd"
    return Facts(accounting, "gpu" in gres, int(values["MaxArraySize"]) <= SLICES)


class Daemons:
    """Root's side: nodes and daemons of the cluster fail, and come back."""

    def down(self, *options: str) -> None:
        """As tests/cluster/down takes it."""
        self._control("down", *options)

    def up(self, *options: str) -> None:
        """As tests/cluster/up takes it."""
        self._control("up", *options)

    def restore(self) -> None:
        """Have all nodes serve again."""
        listed = as_user("sinfo", "--noheader", "--Node", "--partition=cpu", "--format=%N %T", cwd=Path("/"))
        for node, state in (line.split() for line in listed.stdout.splitlines()):
            if state not in ("idle", "mixed", "allocated", "completing"):
                self.up("--node", node)

    @contextmanager
    def gone(self, daemon: str) -> Iterator[None]:
        """Without a daemon while this lasts."""
        self.down("--daemon", daemon)
        try:
            yield
        finally:
            self.up("--daemon", daemon)

    @contextmanager
    def silent(self, daemon: str) -> Iterator[None]:
        """With a daemon that is there and does not answer while this lasts."""
        pid = int((Path(SLURM_CONF).parent.parent / "run" / f"{daemon}.pid").read_text().split()[0])
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @staticmethod
    def _control(program: str, *options: str) -> None:
        # Daemons outlive the test: nothing of its environment may mark them as the test's own.
        kept = {name: os.environ[name] for name in os.environ if name.startswith("VMAFARM_CLUSTER")}
        finished = subprocess.run(
            [ROOT / "tests" / "cluster" / program, *options],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **kept},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert finished.returncode == 0, finished.stdout + finished.stderr


@dataclass(frozen=True)
class Queued:
    """A job, or an element of an array, that waits or runs."""

    job: str
    state: str
    node: str

    @property
    def runs(self) -> bool:
        """An element of an array that runs; the merge is none."""
        return "_" in self.job and self.state == "RUNNING"


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


class Site:
    """A working folder of the ordinary user, with a corpus, a configuration, and the verbs run there."""

    def __init__(self, folder: Path, clip: Path) -> None:
        self.folder = folder
        self.config = folder / "vmafarm.toml"
        (folder / "clips").mkdir()
        names = [f"orig_{i}_540_5s.mp4" for i in range(CLIPS)]
        for name in names:
            shutil.copy(clip, folder / "clips" / name)
        write_scores(folder / "scores.csv", names)
        self.config.write_text(_CONFIG.format(folder=folder, image=IMAGES / "cpu.sif", slices=SLICES))
        give_to_user(folder)

    def slowly(self, seconds: float) -> tuple[str, ...]:
        """Options with which each clip takes so long, with the same values."""
        program = self.folder / f"ffmpeg-{seconds}"
        program.write_text(
            f'#!/bin/sh\ncase "$*" in *{self.folder}/clips*) sleep {seconds} ;; esac\nexec ffmpeg "$@"\n'
        )
        program.chmod(0o755)
        return "--set", f"engine.ffmpeg={program}", "--set", f'slurm.binds=["{self.folder}"]'

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
        said = self.command("squeue", "--noheader", "--array", "--format=%i|%T|%N|%j")
        rows = [line.split("|") for line in said.splitlines()]
        return [Queued(*row[:3]) for row in rows if row[3].startswith(f"vmafarm-{run}-")]

    def running(self, run: str, count: int = 1) -> list[Queued]:
        """So many elements that run, or more, once there are."""
        found: list[Queued] = []

        def are_enough() -> bool:
            found[:] = [queued for queued in self.queued(run) if queued.runs]
            return len(found) >= count

        wait_until(are_enough, 90, f"{count} elements of {run} run")
        return found

    def wait_for(self, run: str, reached: Callable[[dict[str, Any]], object], seconds: float = 120) -> None:
        """Wait until the run's status is such."""
        wait_until(lambda: reached(self.look(run)), seconds, f"status of {run}: {self.look(run)}")

    def table(self, run: str) -> Path:
        """The product."""
        return self.folder / f"runs/full_features_{run}.parquet"

    def wait_for_table(self, run: str, seconds: float = 300) -> bytes:
        """The product, once no job of the run is left; the status is true all the time."""
        wait_until(lambda: self.look(run) and not self.queued(run), seconds, f"the queue of {run} is empty")
        assert self.table(run).exists(), self.vmafarm("status", run)
        assert self.look(run)["done"] == CLIPS
        return self.table(run).read_bytes()
