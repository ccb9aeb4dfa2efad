"""Progress of a run: counted on disk, shown as a bar on a terminal and as plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from vmafarm.common.say import say
from vmafarm.common.text import format_seconds
from vmafarm.disk.regular_files import open_regular
from vmafarm.run_folder.element_records import identity_advice, read_elements
from vmafarm.run_folder.paths import RunFolder

_LINE_SECONDS = 15.0


class LineCounter:
    """Counts lines of growing files, reading each byte once."""

    def __init__(self) -> None:
        self._offsets: Counter[Path] = Counter()
        self.lines = 0

    def skip(self, paths: Iterable[Path]) -> None:
        """Exclude the lines that these files have now."""
        for path in paths:
            with suppress(OSError):  # not a file, such as a dangling link
                self._offsets[path] = path.stat().st_size

    def update(self, paths: Iterable[Path]) -> int:
        """Count new lines; returns the total so far."""
        for path in paths:
            with suppress(OSError):
                if path.stat().st_size > self._offsets[path]:
                    self._read_on(path)
        return self.lines

    def _read_on(self, path: Path) -> None:
        with open_regular(path, None) as file:
            file.seek(self._offsets[path])
            while new := file.read(1 << 20):
                self._offsets[path] += len(new)
                self.lines += new.count(b"\n")


class Display(Protocol):
    """What shows the progress."""

    def update(self, finished: int, rest: str) -> None:
        """Show how many clips are finished, and the rate and failures in words."""

    def note(self, line: str) -> None:
        """Show a line at once."""


@contextmanager
def watch_progress(
    folder: RunFolder, total: int, file: IO[str] | None = None, *, compares_plans: bool = False
) -> Iterator[ProgressReporter]:
    """Show the progress of the elements while they work.

    Parameters
    ----------
    folder
        The run.
    total
        Clips to score.
    file
        Where to show it; None: the standard output.
    compares_plans
        The first clip is scored with both plans: show the comparison as soon as it is known.
    """
    console = Console(file=file)
    if console.is_terminal:
        with _bar(console, total) as display:
            yield ProgressReporter(folder, total, display, compares_plans=compares_plans)
    else:
        yield ProgressReporter(folder, total, _Lines(file, total), compares_plans=compares_plans)


class ProgressReporter:
    """Reads the progress from the run folder whenever it is called."""

    def __init__(
        self, folder: RunFolder, total: int, display: Display, *, compares_plans: bool = False
    ) -> None:
        self._folder = folder
        self._display = display
        self._pace = Pace(total)
        self._compares_plans = compares_plans
        self._began = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._done = LineCounter()
        self._failures = LineCounter()
        self._done.skip(self._done_files())
        self._failures.skip(self._failure_files())

    def __call__(self) -> None:
        """Look and show."""
        before, finished = self._done.lines, self._done.update(self._done_files())
        failures = self._failures.update(self._failure_files())
        if self._compares_plans and finished > before:
            records = [one for one in read_elements(self._folder) if one.started_at >= self._began]
            if any(one.seconds_full for one in records):
                self._compares_plans = False
                if line := identity_advice(records, self._pace.seconds_left(finished)):
                    self._display.note(line)
        self._display.update(finished, self._pace.describe(finished, failures))

    def _done_files(self) -> list[Path]:
        return list(self._folder.shards.glob("*/*.done"))

    def _failure_files(self) -> list[Path]:
        return list(self._folder.failures.glob("*.jsonl"))


@contextmanager
def _bar(console: Console, total: int) -> Iterator[Display]:
    columns = (
        BarColumn(bar_width=None),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),  # the bar shrinks, not the numbers
        TextColumn("{task.fields[rest]}"),
    )
    # Drawn by this thread: in another one, a failing output would be a traceback and not end the command.
    with Progress(*columns, console=console, expand=True, auto_refresh=False) as progress:
        yield _Bar(progress, total)


class _Bar:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total, rest="")

    def update(self, finished: int, rest: str) -> None:
        self._progress.update(self._task, completed=finished, rest=rest, refresh=True)

    def note(self, line: str) -> None:
        live = self._progress.live
        live.transient = True  # the bar goes away, and comes back below the line
        live.stop()
        live.transient = False
        say(line, file=live.console.file)
        live.start()


class _Lines:
    def __init__(self, file: IO[str] | None, total: int) -> None:
        self._file = file
        self._total = total
        self._shown_at = time.monotonic()
        self._shown = 0

    def update(self, finished: int, rest: str) -> None:
        last = finished >= self._total > self._shown
        if last or time.monotonic() - self._shown_at >= _LINE_SECONDS:
            self._shown_at = time.monotonic()
            self._shown = finished
            self.note(f"scored {finished:,} of {self._total:,} clips  {rest}".rstrip())

    def note(self, line: str) -> None:
        say(line, file=self._file)


class Pace:
    """Rate and time left.

    Parameters
    ----------
    total
        Clips to be done.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._started = time.monotonic()

    def seconds_left(self, finished: int) -> float:
        """Seconds until all clips are done; `finished` is above 0."""
        return (time.monotonic() - self._started) * (self._total - finished) / finished

    def describe(self, finished: int, failures: int) -> str:
        """Clips per second, time left, failed tries; short enough for a narrow terminal."""
        parts = []
        seconds = time.monotonic() - self._started
        if finished and seconds:
            parts.append(f"{finished / seconds:.2f}/s")
            if self._total > finished:
                parts.append(f"{format_seconds(self.seconds_left(finished))} left")
        if failures:
            parts.append(f"{failures} failed tries")
        return "  ".join(parts)
