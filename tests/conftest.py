"""Fixtures that all tests share."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.main
from standin.vmaf import write_standin
from support import media
from support.elements import run_here
from support.engine_helpers import ffmpeg_engine, vmaf_engine
from support.fake_slurm import FakeSlurm, ask_plainly
from support.pages import draw_nothing

from vmafarm.engines.base import Engine

_MARK = f"VMAFARM_TESTS_{os.getpid()}"
os.environ[_MARK] = "1"  # every process that a test starts inherits it, also one that leaves its parents
_STAYS = (b"multiprocessing.resource_tracker", b"multiprocessing.forkserver")


def _take_signals_as_at_a_terminal() -> None:
    """However the tests were started: nohup has SIGHUP ignored, a script's ``&`` SIGINT; both are inherited.

    A process that a test starts gets the default of a signal that is handled here.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)  # the tests themselves outlive the terminal


_take_signals_as_at_a_terminal()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a test that is skipped is a test that failed")


_LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "PYTHONMALLOC": "malloc"}
"""A worker's heap in large pages: whoever starts a program with limits forks, and a fork copies the page
table of the worker. With small pages that took a sixth of the time of all tests."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    os.environ.update(_LARGE_PAGES)


if "PYTEST_XDIST_WORKER" in os.environ:
    for _name in _LARGE_PAGES:
        os.environ.pop(_name, None)  # it is for this process; what tests start is started as by a user


_LONGEST = ("whole", "crash", "scoring", "published", "containers_fuzz", "engines", "cluster")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folders with the longest tests come first: a worker takes whole files, and none shall end alone."""
    order = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: order.get(item.path.parent.name, len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.skipped and item.config.getoption("no_skips"):
        report.outcome = "failed"
        report.longrepr = f"this was skipped, and here nothing may be: {report.longrepr[2]}"
    return report


@pytest.fixture(scope="session")
def ffmpeg() -> Path:
    """The embedded ffmpeg."""
    return Path(media.FFMPEG)


@pytest.fixture(params=["ffmpeg", "vmaf"])
def engine(request: pytest.FixtureRequest, standin: Path) -> Engine:
    """Either engine with the identity plan."""
    return ffmpeg_engine() if request.param == "ffmpeg" else vmaf_engine(standin)


def _shared_by_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Temporary folder that all workers of this run of the tests share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of a clip by its name in `media.CLIPS`; made once a session. To be read, never changed."""
    folder = _shared_by_workers(tmp_path_factory) / "clips"
    return lambda name: media.cached_clip(folder, name)


@pytest.fixture(scope="session", autouse=True)
def _fonts_listed_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """matplotlib keeps its list of fonts between the processes that tests start: half of its import."""
    folder = _shared_by_workers(tmp_path_factory) / "matplotlib"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", str(folder))
        yield


@pytest.fixture(scope="session", autouse=True)
def _command_built_once() -> Iterator[None]:
    """The verbs are put together once, as in a process of the command, and not anew at every call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def _known_scores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The stand-in keeps what libvmaf computes of a few frames, and so computes it once for all tests."""
    folder = _shared_by_workers(tmp_path_factory) / "scores"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMAFARM_TESTS_SCORES", str(folder))
        yield


@pytest.fixture
def elements_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements that a verb starts on this machine work in this process, for tests of what they find."""
    monkeypatch.setattr("vmafarm.run.run_local", run_here)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without figures, for tests in which many pages are written and nobody looks at one."""
    draw_nothing(monkeypatch)


@pytest.fixture
def standin(tmp_path: Path) -> Path:
    """A stand-in for the ``vmaf`` program that behaves."""
    return write_standin(tmp_path / "standin")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """A cluster of which the programs on the PATH tell; how these are started is left to test_slurm.py."""
    cluster = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv("PATH", cluster.path)
    monkeypatch.setattr("vmafarm.cluster.slurm_programs.ask", ask_plainly)
    return cluster


@pytest.fixture
def as_ordinary_user(tmp_path: Path) -> Iterator[None]:
    """Without root's right to read and write everything, where the tests are root's."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    own = [tmp_path, *tmp_path.parents[: len(tmp_path.relative_to(Path(tempfile.gettempdir())).parts) - 1]]
    modes = {folder: folder.stat().st_mode for folder in own}
    for folder, mode in modes.items():
        folder.chmod(mode | 0o011)
    os.chown(tmp_path, nobody, nobody)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)
        for folder, mode in modes.items():
            folder.chmod(mode)


@pytest.fixture(autouse=True)
def _no_process_left_behind() -> Iterator[None]:
    """Fail the test that leaves a process behind; one that is just ending gets a second."""
    before = _pids()
    yield
    deadline = time.monotonic() + 1
    while (left := _ours(_pids() - before)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"left running: {left}"


def _pids() -> set[str]:
    return {name for name in os.listdir("/proc") if name.isdecimal()}


def _ours(pids: set[str]) -> list[str]:
    """Command lines of those processes that this one started, directly or not."""
    mark = f"\0{_MARK}=".encode()
    found = []
    for pid in pids:
        folder = Path("/proc", pid)
        try:
            if mark in b"\0" + (folder / "environ").read_bytes():
                command = (folder / "cmdline").read_bytes()
                if command and not any(word in command for word in _STAYS):  # a zombie has none
                    found.append(command.replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found
