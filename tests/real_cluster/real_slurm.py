"""The cluster that is up: what it has, and an ordinary user's and root's power over it."""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.processes import all_processes, read_of, stat_of

ROOT = Path(__file__).parent.parent.parent
IMAGES = Path(os.environ.get("VMAFARM_IMAGES", "/nowhere"))
CHECKOUT = IMAGES / "checkout"
USER = os.environ.get("VMAFARM_CLUSTER_USER", "farm")
SLURM_CONF = os.environ.get("SLURM_CONF", "")
SLICES = 12
"""Of every run."""


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
    """Ask again and again until the answer is true, and fail if that takes longer."""
    deadline = time.monotonic() + seconds
    began = time.monotonic()
    while not reached():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        # What asks is to leave the two cores to what is waited for.
        time.sleep(max(0.5, 2 * (time.monotonic() - began)))
        began = time.monotonic()


def processes_of(job: str, index: int) -> dict[int, str]:
    """Processes of an array's element, on whatever node: id to name."""
    wanted = {f"SLURM_ARRAY_JOB_ID={job}".encode(), f"SLURM_ARRAY_TASK_ID={index}".encode()}
    parents, names, found = {}, {}, set()
    for process in all_processes():
        if stat := stat_of(process):
            names[process], parents[process] = stat.name, stat.parent
            if wanted <= set(read_of(process, "environ").split(b"\0")):
                found.add(process)
    # Apptainer writes something else in the place of its environment.
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {process: names[process] for process in found}


def signal_element(job: str, index: int, number: signal.Signals, names: str) -> list[str]:
    """Send a signal to those processes of an element whose names match; returns their names."""
    told = []
    for process, name in processes_of(job, index).items():
        if re.search(names, name):
            with suppress(ProcessLookupError):
                os.kill(process, number)
                told.append(name)
    return told


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
    whole_nodes
        Jobs get whole nodes of eight CPUs; partitions are hidden, memory requests refused.
    """

    accounting: bool
    gpus: bool
    small_arrays: bool
    whole_nodes: bool


def ask_facts() -> Facts:
    """Ask the cluster that is up."""
    config = as_user("scontrol", "show", "config", cwd=Path("/")).stdout
    values = dict(re.findall(r"^(\w+)\s*=\s*(\S*)", config, re.MULTILINE))
    said = as_user("sinfo", "--all", "--noheader", "--format=%G|%h", cwd=Path("/")).stdout
    accounting = values["AccountingStorageType"] == "accounting_storage/slurmdbd"
    return Facts(
        accounting, "gpu" in said, int(values["MaxArraySize"]) <= SLICES, whole_nodes="|EXCLUSIVE" in said
    )


class Daemons:
    """Root's side: nodes and daemons of the cluster fail, and come back."""

    def down(self, *options: str) -> None:
        """As tests/real_cluster/down takes it."""
        self._control("down", *options)

    def up(self, *options: str) -> None:
        """As tests/real_cluster/up takes it."""
        self._control("up", *options)

    def restore(self) -> None:
        """Have all nodes serve again."""
        listed = as_user("sinfo", "--noheader", "--Node", "--partition=cpu", "--format=%N %T", cwd=Path("/"))
        for node, state in (line.split() for line in listed.stdout.splitlines()):
            if state not in ("idle", "mixed", "allocated", "completing"):
                self.up("--node", node)

    @contextmanager
    def hidden(self, folder: Path, node: str) -> Iterator[None]:
        """With a node that finds a folder empty, and without space for anything, while this lasts."""
        self.up("--node", node, "--hide", str(folder))
        try:
            yield
        finally:
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
            [ROOT / "tests" / "real_cluster" / program, *options],
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
