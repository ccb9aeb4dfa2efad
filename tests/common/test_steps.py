"""What is told of work while it takes long: where, when, how often; and that nothing of it stays."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable

import pyte
import pytest

from vmafarm.common import steps
from vmafarm.common.say import say, say_aside
from vmafarm.common.steps import counting, showing, step, working


class Written(io.StringIO):
    """A standard error."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: terminal  # type: ignore[method-assign]

    def screen(self) -> list[str]:
        """The lines that a terminal would show that got all of it."""
        screen = pyte.Screen(40, 6)
        pyte.Stream(screen).feed(self.getvalue().replace("\n", "\r\n"))
        return [line.rstrip() for line in screen.display if line.strip()]


def within_seconds(there: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not there():
        assert time.monotonic() < ends
        time.sleep(0.005)


def terminal(monkeypatch: pytest.MonkeyPatch) -> Written:
    """Make standard output and error a terminal of 40 columns, which is told of a step at once."""
    file = Written(terminal=True)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", file)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(steps, "AFTER_SECONDS", 0.0)
    monkeypatch.setattr(steps, "REFRESH_SECONDS", 0.01)
    return file


def log(monkeypatch: pytest.MonkeyPatch) -> Written:
    """Make the standard error a file, which gets lines often."""
    file = Written(terminal=False)
    monkeypatch.setattr("sys.stderr", file)
    monkeypatch.setattr(steps, "LINE_SECONDS", 0.01)
    return file


def test_a_terminal_shows_one_line_that_is_rewritten_and_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    done = 0
    with showing(), working("planning"):
        step("reading", "clips", lambda: done, 152_265)
        within_seconds(lambda: shown.screen() == ["planning: reading 0 of 152,265 clips"])
        done = 40_213
        within_seconds(lambda: shown.screen() == ["planning: reading 40,213 of 152,265 clips"[:39] + "…"])
        step("writing the plan")
        within_seconds(lambda: shown.screen() == ["planning: writing the plan"])
        # A command that is killed now leaves a terminal with a cursor.
        assert shown.getvalue().rfind("\x1b[?25h") > shown.getvalue().rfind("\x1b[?25l") > -1
    assert shown.screen() == []


def test_what_is_said_meanwhile_stands_above_the_line_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    with showing(), working("merging"):
        for number, tell in enumerate((say, say_aside), 1):
            step(f"step {number}")
            within_seconds(lambda number=number: shown.screen()[-1:] == [f"merging: step {number}"])
            tell(f"line {number}")
        within_seconds(lambda: shown.screen() == ["line 1", "line 2", "merging: step 2"])
    assert shown.screen() == ["line 1", "line 2"]


def test_an_error_leaves_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)

    def stopped() -> None:
        with working("planning"):
            within_seconds(lambda: shown.screen() == ["planning"])
            raise KeyboardInterrupt

    with showing(), pytest.raises(KeyboardInterrupt):
        stopped()
    assert shown.screen() == []
    assert "steps" not in {thread.name for thread in threading.enumerate()}


def test_names_in_a_step_are_data(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    with showing(), working(""):
        step("check 1 of 2: [red]\x1b[2J\x07[/red]")
        within_seconds(lambda: shown.screen() == [r"check 1 of 2: [red]\x1b[2J\x07[/red]"])


def test_a_log_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = log(monkeypatch)
    with showing(), working("merging"):
        for _ in counting("ab", "reading", "shards", 2):
            before = len(shown.getvalue().splitlines())
            within_seconds(lambda before=before: len(shown.getvalue().splitlines()) >= before + 2)
        step("writing the table")
        within_seconds(lambda: shown.getvalue().endswith("merging: writing the table\n"))
    told = list(dict.fromkeys(shown.getvalue().splitlines()))
    assert [line for line in told if "2 of 2" not in line] == [
        "merging: reading 0 of 2 shards", "merging: reading 1 of 2 shards", "merging: writing the table",
    ]  # fmt: skip
    assert shown.getvalue().isascii()
    assert "\x1b" not in shown.getvalue()


def test_a_terminal_without_a_cursor_is_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(steps, "LINE_SECONDS", 0.01)
    with showing(), working("merging"):
        within_seconds(lambda: shown.getvalue().startswith("merging\nmerging\n"))


@pytest.mark.parametrize("in_log", [True, False])
def test_lines_of_a_log_have_their_pause_and_quick_work_is_not_told(
    monkeypatch: pytest.MonkeyPatch, in_log: bool
) -> None:
    shown = log(monkeypatch)
    waited: list[float] = []

    class Ended(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout is None:  # the thread's own, as it starts
                return super().wait()
            waited.append(timeout)
            return super().wait(0 if len(waited) < 3 else 30)

    monkeypatch.setattr(steps, "LINE_SECONDS", 10.0)
    monkeypatch.setattr(steps.threading, "Event", Ended)
    shown.isatty = lambda: not in_log  # type: ignore[method-assign]
    monkeypatch.setenv("TERM", "xterm")
    with showing(), working("merging"):
        within_seconds(lambda: len(waited) == 3)
    assert waited == ([10.0] * 3 if in_log else [2.0, steps.REFRESH_SECONDS, steps.REFRESH_SECONDS])


def test_nothing_is_told_unless_a_command_asks_for_it_nor_by_json(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = log(monkeypatch)
    for wanted in (None, False):
        with showing(wanted) if wanted is not None else working(""), working("planning"):
            step("reading the label file")
            time.sleep(0.1)
            assert "steps" not in {thread.name for thread in threading.enumerate()}
    assert shown.getvalue() == ""


def test_work_within_work_begins_the_line_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = log(monkeypatch)
    with showing(), working("merging"):
        step("writing the table")
        with working(""):
            step("check 12 of 39: correlation")
            within_seconds(lambda: shown.getvalue().endswith("\ncheck 12 of 39: correlation\n"))
        within_seconds(lambda: shown.getvalue().endswith("\nmerging: writing the table\n"))
