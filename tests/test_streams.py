"""What the command writes: a failure is one message and an exit status, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from command import command

from jobs import streams

FULL = Path("/dev/full")


def run(words: str, **streams: object) -> subprocess.CompletedProcess[str]:
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(command(words.split()), text=True, check=False, **given)


@pytest.mark.parametrize(
    "words", ["--help", "--version", "config", "config --template", "doctor --here --json"]
)
def test_an_output_that_takes_nothing_is_one_message(words: str) -> None:
    with FULL.open("w") as full:
        said = run(words, stdout=full)
    assert said.returncode == 3
    assert said.stderr == (
        "error: cannot write the output: No space left on device\n"
        "  free space there, or send it somewhere else; what was finished is kept\n"
    )


@pytest.mark.parametrize(("words", "status"), [("config", 0), ("status --run none", 2), ("nothing", 2)])
def test_an_error_output_that_takes_nothing_changes_no_status(words: str, status: int) -> None:
    with FULL.open("w") as full:
        said = run(words, stderr=full)
    assert said.returncode == status
    assert ("[corpus]" in said.stdout) == (status == 0)
    with FULL.open("w") as full:
        assert run(words, stdout=full, stderr=full).returncode == (status or 3)


def test_a_reader_that_has_gone_is_told_nothing() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        said = run("config", stdout=theirs)
    finally:
        os.close(theirs)
    assert (said.returncode, said.stderr) == (1, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("words", "status"), [("config", 0), ("status --run none", 2), ("sql", 2)])
def test_closed_streams_change_no_status(tmp_path: Path, closed: str, words: str, status: int) -> None:
    script = f'"$0" -m jobs {words} {closed}'
    said = subprocess.run(
        ["sh", "-c", script, sys.executable], cwd=tmp_path, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert said.returncode == status
    assert "Traceback" not in said.stderr


def test_a_pipe_that_does_not_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with suppress(BlockingIOError):
        while os.write(theirs, bytes(4096)):
            pass
    waited = []
    monkeypatch.setattr(streams.select, "select", lambda *_: waited.append(os.read(ours, 1 << 20)))
    with streams._Output(theirs) as output:
        assert output.write(b"text") == 4
    assert len(waited) == 1
    assert os.read(ours, 1 << 20).endswith(b"text")
    os.close(ours)
    os.close(theirs)
