"""Whole runs on a real SLURM, each element inside the real image, disturbed in the ways of real clusters.

Needs what tests/cluster/README.md tells: a cluster that is up (SLURM_CONF) and the images (VMAFARM_IMAGES).
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import media
import pytest

ROOT = Path(__file__).parent.parent.parent
IMAGES = Path(os.environ.get("VMAFARM_IMAGES", "/nowhere"))
USER = os.environ.get("VMAFARM_CLUSTER_USER", "farm")
CLIPS = 60
SLICES = 12

pytestmark = pytest.mark.skipif(
    "VMAFARM_IMAGES" not in os.environ or "SLURM_CONF" not in os.environ,
    reason="needs a real SLURM and Apptainer: SLURM_CONF and VMAFARM_IMAGES, see tests/cluster/README.md",
)


class Site:
    """A working folder of the ordinary user, with a corpus, and the verbs run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = [
            *("--clips", "clips", "--scores", "scores.csv"),
            *("--set", "engine.plan=identity", "--set", "engine.kind=ffmpeg"),
            *("--set", f"slices.count={SLICES}", "--set", "extract.workers=1"),
        ]
        self.slurm = [
            *("--set", f"slurm.image={IMAGES / 'cpu.sif'}", "--set", "slurm.parallelism=3"),
            *("--set", "slurm.time=10", "--set", "slurm.mem=1GB", "--set", "slurm.cpus=1"),
            *("--set", "slurm.merge.mem=2GB", "--set", "slurm.merge.time=10", "--set", "slurm.merge.cpus=1"),
        ]

    def command(self, *words: str | Path, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        """A command as the ordinary user, in the working folder."""
        given = [str(word) for word in words]
        if os.geteuid() == 0:
            given = [shutil.which("runuser") or "runuser", "-u", USER, "--", *given]
        home = pwd.getpwnam(USER).pw_dir if os.geteuid() == 0 else os.environ["HOME"]
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": home,
            "LC_ALL": "C.UTF-8",
            "SLURM_CONF": os.environ["SLURM_CONF"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        finished = subprocess.run(
            given, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert status is None or finished.returncode == status, finished.stdout + finished.stderr
        assert "Traceback" not in finished.stdout + finished.stderr
        return finished

    def vmafarm(self, *words: str, status: int | None = 0) -> str:
        """A verb."""
        finished = self.command(IMAGES / "venv/bin/python", "-m", "jobs", *words, status=status)
        return finished.stdout + finished.stderr

    def submit(self, run: str, *more: str) -> None:
        """Queue the run."""
        self.vmafarm("submit", "--run", run, *self.options, *self.slurm, *more)

    def look(self, run: str) -> dict[str, object]:
        """The run's status."""
        status: dict[str, object] = json.loads(self.vmafarm("status", "--run", run, "--json"))
        assert status["done"] + status["missing"] + status["failed_for_good"] == CLIPS  # type: ignore[operator]
        return status

    def wait(self, run: str, reached: Callable[[dict[str, object]], bool], seconds: float = 400) -> None:
        """Wait until the status is such."""
        deadline = time.monotonic() + seconds
        while not reached(status := self.look(run)):
            assert time.monotonic() < deadline, status
            time.sleep(1)

    def table(self, run: str) -> Path:
        """The product."""
        return self.folder / f"runs/full_features_{run}.parquet"

    def wait_for_table(self, run: str) -> bytes:
        """The product, once the merge job has put it in place."""
        self.wait(run, lambda status: self.table(run).exists() and not self.queued(run))
        return self.table(run).read_bytes()

    def queued(self, run: str) -> list[list[str]]:
        """Elements and the merge in the queue: id, state, node."""
        said = self.command("squeue", "--noheader", "--array", "--format=%i %T %N %j").stdout
        return [line.split() for line in said.splitlines() if f" vmafarm-{run}-" in line]

    def running(self, run: str) -> str:
        """Id of an element that runs."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for row in self.queued(run):
                if row[1] == "RUNNING" and "_" in row[0]:
                    return row[0]
            time.sleep(0.2)
        raise AssertionError("no element runs")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    folder = IMAGES / f"runs-{os.getpid()}"
    (folder / "clips").mkdir(parents=True)
    plain = media.make_clip(folder / "plain.mp4", size="640x360", frames=50)
    names = [f"orig_{i}_540_5s.mp4" for i in range(CLIPS)]
    for name in names:
        shutil.copy(plain, folder / "clips" / name)
    scores = [f"{name},{1 + i % 40 / 10}" for i, name in enumerate(names)]
    (folder / "scores.csv").write_text("\n".join(["video_name,video_score", *scores, ""]))
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
    yield Site(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def expected(site: Site) -> bytes:
    """The table of the same clips from this machine, without SLURM and without an image."""
    site.vmafarm("run", "--run", "here", *site.options)
    return site.table("here").read_bytes()


def test_sixty_clips_on_four_nodes_give_the_bytes_of_a_run_here(site: Site, expected: bytes) -> None:
    site.submit("plain")
    most = 0
    deadline = time.monotonic() + 300
    while not site.table("plain").exists() and time.monotonic() < deadline:
        most = max(most, sum(row[1] == "RUNNING" and "_" in row[0] for row in site.queued("plain")))
        time.sleep(0.5)
    assert site.wait_for_table("plain") == expected
    assert 1 <= most <= 3


@pytest.mark.parametrize("how", ["requeue", "scancel", "kill"])
def test_a_disturbed_element_changes_no_byte(site: Site, expected: bytes, how: str) -> None:
    site.submit(how)
    element = site.running(how)
    site.wait(how, lambda status: status["done"] > 0)  # type: ignore[operator]
    if how == "requeue":
        site.command("scontrol", "requeue", element, status=None)
    elif how == "scancel":
        site.command("scancel", element, status=None)
    else:
        site.command("scancel", "--signal=KILL", element, status=None)
    assert site.wait_for_table(how) == expected


def test_two_runs_at_once_do_not_touch_each_other(site: Site, expected: bytes) -> None:
    site.submit("one")
    site.submit("two")
    said = site.vmafarm("cancel", "--run", "one")
    assert "cancelled" in said
    site.wait("one", lambda status: not site.queued("one"), seconds=60)
    assert not site.table("one").exists()
    assert site.wait_for_table("two") == expected
    site.vmafarm("retry", "--run", "one", *site.slurm)
    assert site.wait_for_table("one") == expected


def test_a_time_limit_that_is_too_short_is_continued_by_the_next_rounds(site: Site, expected: bytes) -> None:
    slow = ("--set", "slurm.time=1", "--set", "slurm.rounds=4", "--set", "slices.count=3")
    site.submit("short", *slow)
    site.wait("short", lambda status: not site.queued("short"), seconds=600)
    if not site.table("short").exists():
        site.vmafarm("retry", "--run", "short", *site.slurm)
        site.wait_for_table("short")
    assert site.table("short").read_bytes() == expected
