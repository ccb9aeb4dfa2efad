"""Progress: counted on disk, each byte once; a bar that fits, lines where there is no terminal."""

from __future__ import annotations

import errno
import io
import os
import re
import time

import pyte
import pytest

from vmafarm.common.streams import OutputError
from vmafarm.common.text import format_seconds
from vmafarm.run_folder.element_records import ElementLog, identity_advice, read_elements
from vmafarm.run_folder.paths import RunFolder
from vmafarm.scoring import progress
from vmafarm.scoring.progress import LineCounter, Pace, watch_progress


class Clock:
    """A clock that advances on request."""

    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path, "r")
    folder.shard_folder(0).mkdir(parents=True)
    folder.shard_folder(1).mkdir(parents=True)
    folder.failures.mkdir()
    return folder


def add(path, lines):
    with path.open("a") as file:
        file.write("".join(f'"{i}.mp4"\n' for i in range(lines)))


def test_lines_are_counted_while_files_grow_and_come(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    counter = LineCounter()
    assert counter.update([]) == 0
    add(one, 3)
    assert counter.update([one]) == 3
    assert counter.update([one]) == 3
    add(one, 2)
    add(two, 4)
    assert counter.update([one, two]) == 9
    assert counter.lines == 9


def test_a_line_counts_once_it_is_whole(tmp_path):
    path = tmp_path / "f"
    path.write_text('"half')
    counter = LineCounter()
    assert counter.update([path]) == 0
    path.write_text('"half a name"\n"')
    assert counter.update([path]) == 1


def test_each_byte_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "f"
    read = []

    class Counting(io.FileIO):
        def read(self, size=-1):
            data = super().read(size)
            read.append(len(data))
            return data

    monkeypatch.setattr(progress, "open_regular", lambda path, most: Counting(path))
    counter = LineCounter()
    for round_ in range(1, 5):
        with open(path, "a") as file:
            file.write("x" * 9 + "\n")
        for _ in range(3):
            assert counter.update([path]) == round_
    assert read == [10, 0] * 4  # up to the end


def test_what_stood_there_before_is_not_counted(folder, clock):
    add(folder.shard_folder(0) / "old.done", 5)
    add(folder.failures / "old.jsonl", 2)
    seen = []

    class Display:
        def update(self, finished, rest):
            seen.append((finished, rest))

    watcher = progress.ProgressReporter(folder, 10, Display())
    watcher()
    add(folder.shard_folder(0) / "old.done", 1)
    add(folder.shard_folder(1) / "new.done", 3)
    add(folder.failures / "new.jsonl", 1)
    (folder.shard_folder(1) / "new.journal").write_text("not\ncounted\n")
    watcher()
    assert seen == [(0, ""), (4, "1 failed tries")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (42, "42s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (200, "3m 20s"),
        (3599.6, "1h 00m"),
        (3600, "1h 00m"),
        (18420, "5h 07m"),
        (86399, "23h 59m"),
        (86400, "1d 0h"),
        (12 * 86400 + 3 * 3600 + 59 * 60, "12d 3h"),
        (296 * 3600, "12d 8h"),
    ],
)
def test_a_duration_is_shown_in_two_units(seconds, text):
    assert format_seconds(seconds) == text


def test_the_pace_tells_rate_time_left_and_failed_tries(clock):
    pace = Pace(100)
    assert pace.describe(0, 0) == ""
    clock.now += 20
    assert pace.describe(0, 0) == ""
    assert pace.describe(0, 2) == "2 failed tries"
    assert pace.describe(10, 0) == "0.50/s  3m 00s left"
    assert pace.describe(10, 3) == "0.50/s  3m 00s left  3 failed tries"
    assert pace.describe(100, 0) == "5.00/s"


def test_without_a_terminal_there_are_plain_lines_now_and_then_and_one_at_the_end(folder, clock):
    file = io.StringIO()
    done = folder.shard_folder(0) / "w.done"
    with watch_progress(folder, 1200, file) as watcher:
        for _ in range(12):
            clock.now += 5
            add(done, 100)
            watcher()
        watcher()
    lines = file.getvalue().splitlines()
    assert lines == [
        "scored 300 of 1,200 clips  20.00/s  45s left",
        "scored 600 of 1,200 clips  20.00/s  30s left",
        "scored 900 of 1,200 clips  20.00/s  15s left",
        "scored 1,200 of 1,200 clips  20.00/s",
    ]


def test_where_there_is_nothing_to_do_no_line_is_written(folder, clock):
    file = io.StringIO()
    with watch_progress(folder, 0, file) as watcher:
        watcher()
    assert file.getvalue() == ""


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_bar_fits_the_terminal(folder, clock, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    file.isatty = lambda: True
    with watch_progress(folder, 152_265, file) as watcher:
        for _ in range(3):
            clock.now += 20_000
            add(folder.shard_folder(0) / "w.done", 4000)
            add(folder.failures / "w.jsonl", 40)
            watcher()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert all(len(line) <= width for line in lines)
    assert lines[-1].lstrip(" ╸╺━").split("  ") == ["12000/152265 0.20/s", "8d 2h left", "120 failed tries"]
    assert all(line[0] in "╸╺━" for line in lines)  # none is the rest of another one


def test_what_is_no_file_is_not_counted(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nothing").symlink_to("nowhere")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("1\n")
    paths = sorted(tmp_path.iterdir())
    counter = LineCounter()
    assert counter.update(paths) == 1
    counter = LineCounter()
    counter.skip(paths)
    assert counter.update(paths) == 0


def test_a_bar_whose_terminal_fails_ends_the_command(folder, clock):
    class Failing(io.StringIO):
        fails = False

        def write(self, text):
            if self.fails:
                self.fails = False  # as the streams of the command, which fail once
                raise OutputError(OSError(errno.EIO, "Input/output error"))
            return super().write(text)

    file = Failing()
    file.isatty = lambda: True
    with watch_progress(folder, 12, file) as watcher:
        watcher()
        file.fails = True
        with pytest.raises(OutputError):  # here, and not in a thread that draws
            watcher()


def compare(folder, full, identity, writer="w"):
    log = ElementLog(folder, writer, "local", None, "node", [0], 100)
    log.compare_plans(full, identity)


def test_what_the_identity_plan_would_take_is_shown_once_as_soon_as_it_is_known(folder, clock):
    compare(folder, 40.0, 1.0, "earlier")
    time.sleep(0.002)  # records have milliseconds
    file = io.StringIO()
    done = folder.shard_folder(0) / "w.done"
    with watch_progress(folder, 100, file, compares_plans=True) as watcher:
        clock.now += 10
        add(done, 1)
        watcher()
        assert file.getvalue() == ""
        compare(folder, 40.0, 2.0)
        clock.now += 1
        add(done, 1)
        watcher()
        add(done, 1)
        watcher()
    assert file.getvalue() == (
        "plan full: 8m 59s left; --plan identity from here on: about 27s, the same values\n"
    )


def test_a_line_above_the_bar_leaves_nothing_of_it_behind(folder, clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    file.isatty = lambda: True
    with watch_progress(folder, 100, file, compares_plans=True) as watcher:
        watcher()
        compare(folder, 40.0, 2.0)
        clock.now += 10
        add(folder.shard_folder(0) / "w.done", 2)
        watcher()
    screen = pyte.Screen(140, 10)
    pyte.ByteStream(screen).feed(file.getvalue().replace("\n", "\r\n").encode())
    shown = [line.rstrip() for line in screen.display if line.strip()]
    assert len(shown) == 2
    assert shown[0].startswith("plan full: 8m 10s left; --plan")
    assert shown[1].endswith("2/100 0.20/s  8m 10s left")


def test_where_no_plans_are_compared_nothing_is_said_of_them(folder, clock):
    file = io.StringIO()
    with watch_progress(folder, 100, file) as watcher:
        compare(folder, 40.0, 2.0)
        clock.now += 10
        add(folder.shard_folder(0) / "w.done", 1)
        watcher()
    assert file.getvalue() == ""


@pytest.mark.parametrize(("full", "identity"), [(0.0, 0.0), (10.0, 9.0)])
def test_no_plan_is_advised_that_has_not_shown_to_be_faster(folder, full, identity):
    compare(folder, full, identity)
    assert identity_advice(read_elements(folder), 100) == ""
