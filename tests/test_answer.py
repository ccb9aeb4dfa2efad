"""Programs that answer: their output whole, and nothing of them left running, however the wait ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from jobs import answer
from jobs.answer import ask


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_what_it_prints_is_read_whole_and_both_outputs_apart() -> None:
    found = ask([sys.executable, "-c", "import sys; print('x' * 3_000_000); sys.stderr.write('no')"], 60)
    assert (found.status, len(found.said), found.complaints) == (0, 3_000_001, "no")
    found = ask(shell(r"printf 'caf\351'; exit 3"), 60)
    assert (found.status, found.said) == (3, "caf\N{REPLACEMENT CHARACTER}")


def test_a_child_that_holds_its_output_holds_nobody_up_and_is_ended() -> None:
    found = ask(shell("sleep 300 & echo $!"), 60)
    assert not Path(f"/proc/{found.said.strip()}").exists()


@pytest.mark.parametrize("ignores", ["", "trap '' TERM INT HUP;"])
def test_one_that_gives_no_answer_is_ended_with_its_children(tmp_path: Path, ignores: str) -> None:
    with pytest.raises(TimeoutError, match="gave no answer within 0 s"):
        ask(shell(f"{ignores} sleep 300 & echo $! > {tmp_path}/child; wait"), 0.4)
    assert not Path(f"/proc/{(tmp_path / 'child').read_text().strip()}").exists()


def test_one_that_prints_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "_MOST_BYTES", 100_000)
    with pytest.raises(TimeoutError, match="printed more than 100,000 bytes"):
        ask(["yes"], 60)


def test_an_interrupt_ends_the_wait_and_the_program(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(shell(f"echo $$ > {tmp_path}/child; sleep 300"), 60)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
    assert not Path(f"/proc/{(tmp_path / 'child').read_text().strip()}").exists()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo said; echo complained >&2; exit 1", "complained"),
        ("echo said; exit 1", "said"),
        ("exit 5", "it ended with 5, and said nothing"),
        ("kill -KILL $$", "it was killed by SIGKILL, and said nothing"),
        ("seq 1 100; exit 1", "95\n96\n97\n98\n99\n100"),
        ("head -c 9999 /dev/zero | tr '\\0' x; exit 1", "x" * 500),
    ],
)
def test_why_it_failed_is_told_in_its_last_words(script: str, why: str) -> None:
    assert ask(shell(script), 60).why() == why


def test_a_program_that_is_not_there_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        ask(["/nowhere/squeue"], 60)
