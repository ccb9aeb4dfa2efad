"""What an element's end without a result is told as."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.errors import UnavailableError
from jobs.launch import _end, _result


def ended(folder: Path, log: str | None) -> Any:
    """A job of submitit that ended with an error, or was killed."""
    stderr = folder / "7_0_log.err"
    if log is not None:
        stderr.write_bytes(log.encode("latin-1"))
    return SimpleNamespace(paths=SimpleNamespace(folder=folder, stderr=stderr))


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (None, "it was killed before it said anything"),
        ("Traceback\n  ...\nKeyError: 'x'\n\n", "the last line of its log: KeyError: 'x'"),
        ("caf\xe9 \x1b[2J\n", r"the last line of its log: caf\xe9 \x1b[2J"),
    ],
)
def test_an_element_without_a_result_is_told_with_its_log(tmp_path: Path, log: str | None, told: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        _result(ended(tmp_path, log), tmp_path / "none")
    assert caught.value.message == f"an element ended without a result; {told}"
    assert str(tmp_path / "7_0_log.err") in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == (["7_0_log.err"] if log else [])


def test_an_element_that_was_not_told_at_first_is_asked_again_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """submitit's process passes over a SIGTERM that comes between its own start and that of the element."""
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))\n"
        "print(flush=True)\n"
        "while True: signal.pause()"
    )
    monkeypatch.setattr("jobs.launch._ASK_AGAIN_SECONDS", 0.1)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        _end([SimpleNamespace(_process=process, done=lambda: process.poll() is not None)])
        assert process.poll() == -signal.SIGTERM


def test_an_element_that_cannot_end_is_killed_with_what_submitit_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is stopped (SIGSTOP), or waits for a disk; whoever has started it ignores SIGTERM besides."""
    script = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "child.send_signal(signal.SIGSTOP)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()"
    )
    monkeypatch.setattr("jobs.launch._END_SECONDS", 0.3)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        _end([SimpleNamespace(_process=process, done=lambda: process.poll() is not None)])
        assert process.returncode in (0, -signal.SIGKILL)
    ends_at = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < ends_at:
        time.sleep(0.02)
    assert not Path(f"/proc/{child}").exists()


def test_a_logs_folder_that_takes_no_result_is_why_there_is_none() -> None:
    with pytest.raises(UnavailableError, match="cannot write /proc: ") as caught:
        _result(ended(Path("/proc"), None), Path("/proc/none"))
    assert "run.root" in caught.value.hint
