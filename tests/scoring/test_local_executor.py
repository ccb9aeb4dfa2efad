"""How an element that ends without a result is reported."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.processes import is_alive

from vmafarm.common.errors import UnavailableError
from vmafarm.scoring import local_executor
from vmafarm.scoring.local_executor import _end, _result, sparing


def ended(folder: Path, log: str | None) -> Any:
    """A job of submitit that ended with an error, or was killed."""
    stderr = folder / "7_0_log.err"
    if log is not None:
        stderr.write_bytes(log.encode("latin-1"))
    return SimpleNamespace(paths=SimpleNamespace(folder=folder, stderr=stderr))


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (None, "it was killed before it printed a line"),
        ("Traceback\n  ...\nKeyError: 'x'\n\n", "the last line of its log: KeyError: 'x'"),
        ("caf\xe9 \x1b[2J\n", r"the last line of its log: caf\xe9 \x1b[2J"),
    ],
)
def test_an_element_without_a_result_is_reported_with_its_log(
    tmp_path: Path, log: str | None, told: str
) -> None:
    with pytest.raises(UnavailableError) as caught:
        _result(ended(tmp_path, log), tmp_path / "none")
    assert caught.value.message == f"a worker crashed; {told}"
    assert str(tmp_path / "7_0_log.err") in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == (["7_0_log.err"] if log else [])


def test_an_element_that_missed_the_first_request_is_asked_again_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """submitit's process passes over a SIGTERM that comes between its own start and that of the element."""
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))\n"
        "print(flush=True)\n"
        "while True: signal.pause()"
    )
    monkeypatch.setattr("vmafarm.scoring.local_executor._ASK_AGAIN_SECONDS", 0.1)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        _end([SimpleNamespace(_process=process, done=lambda: process.poll() is not None)])
        assert process.poll() == -signal.SIGTERM


def test_an_element_that_does_not_end_is_killed_with_its_descendants_and_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    below = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    script = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"child = subprocess.Popen([sys.executable, '-c', {below!r}], "
        "stdout=subprocess.PIPE, start_new_session=True)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "while True: signal.pause()"
    )
    monkeypatch.setattr("vmafarm.scoring.local_executor._END_SECONDS", 0.0)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGSTOP)
        try:
            _end([SimpleNamespace(_process=process, done=lambda: process.poll() is not None)])
            assert process.returncode == -signal.SIGKILL, "it is reaped"
            assert not is_alive(child)
        finally:
            process.kill()
    said = capsys.readouterr().err
    assert said == "1 element did not stop within 0 s and was killed; finished clips are kept\n"


def test_a_process_that_survives_sigkill_is_reported_by_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vmafarm.scoring.local_executor._END_SECONDS", 0.0)
    monkeypatch.setattr("vmafarm.scoring.local_executor.kill_tree", lambda pid: {pid, 5})
    _end([SimpleNamespace(_process=SimpleNamespace(pid=7), done=lambda: False)])
    assert capsys.readouterr().err.endswith("blocked in the kernel: 5, 7\n")


def test_a_logs_folder_that_takes_no_result_is_why_there_is_none() -> None:
    with pytest.raises(UnavailableError, match="cannot write /proc: ") as caught:
        _result(ended(Path("/proc"), None), Path("/proc/none"))
    assert "run.root" in caught.value.hint


@pytest.mark.parametrize(("seconds", "pause"), [(0.0, 0.2), (0.03, 3.0), (2.0, 15.0)])
def test_watching_takes_at_most_one_percent_of_the_time_and_never_ends(
    monkeypatch: pytest.MonkeyPatch, seconds: float, pause: float
) -> None:
    """Of a large run a look takes long, and the elements need the processors; a stalled disk ends no look."""
    now = 0.0
    looks: list[float] = []

    def watch() -> None:
        nonlocal now
        looks.append(now)
        now += seconds

    monkeypatch.setattr(local_executor, "time", SimpleNamespace(monotonic=lambda: now))
    seldom = sparing(watch)
    for call in range(500):
        now = max(now, call * 0.2)
        seldom()
    gaps = {round(later - earlier, 6) for earlier, later in itertools.pairwise(looks)}
    assert looks[0] == 0
    assert all(pause <= gap + 1e-6 < pause + 0.2 + 1e-3 for gap in gaps), gaps
