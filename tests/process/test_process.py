"""Child processes: none outlives its deadline or its parent, whatever it does."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from support.processes import children_of, is_alive

from vmafarm.process import child
from vmafarm.process import run as process
from vmafarm.process.finished import Finished
from vmafarm.process.run import Stop, Stopped

PYTHON = [sys.executable, "-I", "-S", "-c"]
LONG = "300"


def run_one(*command, folder=Path("/"), deadline=30.0, **options):
    [finished] = process.run([command], folder=folder, deadline=deadline, **options)
    return finished


def sh(script, **options):
    return run_one("sh", "-c", script, **options)


def ends(pid, seconds=5.0):
    until = time.monotonic() + seconds
    while is_alive(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def read_pid(path, seconds=10.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if path.exists() and path.read_text().endswith("\n"):
            return int(path.read_text())
        time.sleep(0.01)
    raise AssertionError(f"nobody has written {path}")


@pytest.fixture(autouse=True)
def _no_zombie():
    before = children_of(os.getpid())
    yield
    assert children_of(os.getpid()) <= before


@pytest.fixture
def stop():
    stop = Stop()
    yield stop
    stop.close()


@pytest.mark.parametrize("status", [0, 1, 100, 255])
def test_the_exit_status_and_the_error_output_are_kept(status):
    finished = sh(f"echo hidden; echo seen >&2; exit {status}")
    assert (finished.returncode, finished.stderr, finished.timed_out) == (status, "seen\n", False)
    assert finished.ending() == f"exit status {status}"
    assert 0 < finished.seconds < 10


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_signal_is_reported_by_name(name):
    finished = sh(f"ulimit -c 0; kill -{name[3:]} $$")
    assert finished.returncode == -signal.Signals[name]
    assert finished.ending() == f"killed by {name}"


def test_a_signal_without_a_name_is_reported_by_number():
    assert Finished(-40, "", False, 0).ending() == "killed by signal 40"


def test_the_last_lines_are_neither_empty_nor_long():
    finished = Finished(1, "\n".join(["first", "", "  second  ", "x" * 1000, "\t", "last", ""]), False, 0)
    assert finished.last_lines(3) == ["second", "x" * 300, "last"]
    assert finished.last_lines() == ["first", "second", "x" * 300, "last"]
    assert Finished(1, "", False, 0).last_lines() == []


def test_error_output_that_is_not_utf8_is_still_read():
    assert sh(r"printf 'caf\351\n' >&2").stderr == "caf\ufffd\n"


def test_a_child_gets_arguments_as_they_are_and_no_input(tmp_path):
    evil = "$(touch x); 'quoted'\n{{ 7*7 }}"
    finished = run_one("sh", "-c", 'cat; printf %s "$1" >&2', "sh", evil, folder=tmp_path)
    assert finished.stderr == evil
    assert os.listdir(tmp_path) == []


def test_a_child_runs_in_its_folder_with_its_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("INHERITED", "yes")
    monkeypatch.setenv("LC_ALL", "xx_YY")
    finished = sh('echo "$PWD $INHERITED $ADDED $LC_ALL" >&2', folder=tmp_path, environment={"ADDED": "too"})
    assert finished.stderr == f"{tmp_path} yes too C\n"


def test_a_child_inherits_no_descriptor():
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        assert run_one("ls", "/proc/self/fd").returncode == 0
        assert sh(f"echo x >&{write}").returncode != 0
    finally:
        os.close(read)
        os.close(write)


def test_a_deadline_kills_grandchildren_too(tmp_path):
    script = f"sleep {LONG} & echo $! > child; (sleep {LONG} & echo $! > grandchild; wait) & wait"
    started = time.monotonic()
    finished = sh(script, folder=tmp_path, deadline=1.5)
    assert finished.timed_out
    assert finished.returncode == -signal.SIGKILL
    assert 1.4 < finished.seconds < 6
    assert time.monotonic() - started < 6
    assert ends(read_pid(tmp_path / "child"))
    assert ends(read_pid(tmp_path / "grandchild"))


def test_a_deadline_kills_a_program_that_ignores_sigterm():
    script = f"trap '' TERM INT HUP; echo ready >&2; while :; do sleep {LONG}; done"
    finished = sh(script, deadline=1)
    assert finished.timed_out
    assert finished.ending() == "did not end within 1 s"
    assert finished.stderr == "ready\n"


def test_a_deadline_kills_a_program_that_closed_its_error_output():
    finished = sh(f"exec 2>&-; sleep {LONG}", deadline=0.4)
    assert finished.timed_out
    assert finished.seconds < 5


def test_a_grandchild_that_keeps_the_pipe_open_delays_nothing(tmp_path):
    started = time.monotonic()
    finished = sh(f"sleep {LONG} & echo $! > pid; echo bye >&2; exit 3", folder=tmp_path)
    assert time.monotonic() - started < 5
    assert (finished.returncode, finished.stderr, finished.timed_out) == (3, "bye\n", False)
    assert ends(read_pid(tmp_path / "pid"))


def test_a_grandchild_that_goes_on_writing_delays_nothing():
    started = time.monotonic()
    finished = sh("(while :; do echo noise >&2; done) & exit 3")
    assert time.monotonic() - started < 10
    assert finished.returncode == 3


def test_head_and_tail_of_long_error_output_are_kept_in_little_memory():
    script = """
        import os
        def say(data):
            while data:
                data = data[os.write(2, data):]
        say(b"first words\\n")
        for _ in range(1600):
            say(b"x" * 65535 + b"\\n")
        say(b"last words\\n")
    """
    tracemalloc.start()
    try:
        finished = run_one(*PYTHON, textwrap.dedent(script))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert finished.returncode == 0
    assert finished.stderr.startswith("first words\n")
    assert finished.stderr.endswith("\nlast words\n")
    assert "\n[... cut ...]\n" in finished.stderr
    assert finished.last_lines(1) == ["last words"]
    assert len(finished.stderr) < 512 * 1024
    assert peak < 4 * 1024 * 1024


def test_the_end_of_long_uniform_output_is_kept():
    script = """
        import fcntl, os
        try:
            fcntl.fcntl(2, 1031, 1 << 20)  # F_SETPIPE_SZ: all of it fits into the pipe
        except OSError:
            pass
        data = b"x" * ((1 << 20) - 6) + b"fatal\\n"
        while data:
            data = data[os.write(2, data):]
    """
    for _ in range(5):
        assert run_one(*PYTHON, textwrap.dedent(script)).stderr.endswith("xfatal\n")


def test_a_stop_wakes_the_wait_at_once_and_kills(tmp_path, stop):
    asked = []

    def ask():
        read_pid(tmp_path / "pid")
        asked.append(time.monotonic())
        stop.set()

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(Stopped):
        sh(f"echo $$ > pid; exec sleep {LONG}", folder=tmp_path, stop=stop)
    thread.join()
    assert time.monotonic() - asked[0] < 1
    assert not is_alive(read_pid(tmp_path / "pid"))


def test_a_stop_and_an_end_wake_a_wait_that_does_not_poll(monkeypatch, tmp_path, stop):
    ended = []
    waits = threading.Event()

    def wait(children, stop, seconds, real=process._wait):
        if stop is not None:
            waits.set()  # and has looked already whether the stop is set
        real(children, stop, seconds)

    monkeypatch.setattr(process, "_POLL_SECONDS", 1e6)
    monkeypatch.setattr(process, "_wait", wait)

    def work():
        ended.append(sh("echo bye >&2; exit 3", deadline=1e6))
        with pytest.raises(Stopped):
            sh(f"echo $$ > pid; exec sleep {LONG}", folder=tmp_path, stop=stop, deadline=1e6)
        ended.append("stopped")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        pid = read_pid(tmp_path / "pid")
        assert waits.wait(20)
        stop.set()
        thread.join(20)
        assert [ended[0].returncode, *ended[1:]] == [3, "stopped"]
    finally:
        os.kill(pid, signal.SIGKILL) if is_alive(pid) else None
        thread.join(20)


def test_a_stop_ends_every_wait_that_begins_after_it_too(stop):
    stop.set()
    stop.set()
    assert stop.is_set()
    for _ in range(2):
        with pytest.raises(Stopped):
            run_one("sleep", LONG, stop=stop)


def test_a_stop_ends_the_waits_of_all_threads(stop):
    ended = []

    def wait():
        try:
            run_one("sleep", LONG, stop=stop)
        except Stopped:
            ended.append(time.monotonic())

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    asked = time.monotonic()
    stop.set()
    for thread in threads:
        thread.join(5)
    assert len(ended) == 4
    assert max(ended) - asked < 2


def test_a_process_that_ended_before_the_stop_is_reported_as_finished(stop):
    finished = sh("exit 4", stop=stop)
    stop.set()
    assert finished.returncode == 4


def test_several_programs_run_in_parallel_and_results_come_in_order(tmp_path):
    # Each waits for the other: one after the other they would meet the deadline.
    script = "echo > {}; while [ ! -e {} ]; do sleep 0.02; done; echo {} >&2; exit {}"
    commands = [
        ["sh", "-c", script.format("a", "b", "one", 1)],
        ["sh", "-c", script.format("b", "a", "two", 2)],
    ]
    finished = process.run(commands, folder=tmp_path, deadline=20)
    assert [(f.returncode, f.stderr, f.timed_out) for f in finished] == [
        (1, "one\n", False),
        (2, "two\n", False),
    ]


def test_only_programs_that_still_run_at_the_deadline_time_out():
    commands = [["sh", "-c", "echo done >&2; exit 5"], ["sleep", LONG]]
    done, late = process.run(commands, folder=Path("/"), deadline=1)
    assert (done.returncode, done.stderr, done.timed_out) == (5, "done\n", False)
    assert done.seconds < late.seconds
    assert late.timed_out
    assert late.returncode == -signal.SIGKILL


def test_nothing_to_run_is_done_at_once():
    assert process.run([], folder=Path("/"), deadline=30) == []


@pytest.mark.parametrize("program", ["no-such-program-anywhere", "/etc/hostname", "/"])
def test_a_program_that_cannot_be_started_is_an_oserror_and_the_others_are_killed(program):
    with pytest.raises(OSError):
        process.run([["sleep", LONG], [program]], folder=Path("/"), deadline=30)


def test_a_child_dies_with_its_parent_when_that_is_killed(tmp_path):
    script = f"""
        from pathlib import Path
        from vmafarm.process import run as process
        command = ["sh", "-c", "echo $$ > pid; exec sleep {LONG}"]
        process.run([command], folder=Path({str(tmp_path)!r}), deadline=99)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parents[2])
    pid = read_pid(tmp_path / "pid")
    assert is_alive(pid)
    parent.kill()
    parent.wait()
    assert ends(pid)


def test_runs_leave_no_descriptor_open(stop):
    before = os.listdir("/proc/self/fd")
    for i in range(6):
        if i % 3 == 0:
            with pytest.raises(OSError):
                process.run([["true"], ["no-such-program"]], folder=Path("/"), deadline=30, stop=stop)
        else:
            process.run([["true"]], folder=Path("/"), deadline=30, stop=stop)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_stop_closes_its_descriptors():
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        Stop().close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def ask(script, seconds=30.0):
    return process.ask(["sh", "-c", script], seconds=seconds)


def test_ask_returns_the_output_and_runs_the_program_with_our_environment(monkeypatch):
    monkeypatch.setenv("LC_ALL", "xx_YY")
    own = f"{resource.getrlimit(resource.RLIMIT_CORE)[0]}".replace("-1", "unlimited")
    finished = ask('cat; ulimit -c; printf "$LC_ALL caf\\351\\n"; echo no >&2; exit 4')
    kilobytes = finished.stdout.splitlines()[0]
    assert kilobytes == (own if own == "unlimited" else str(int(own) // 512))
    assert finished.stdout.splitlines()[1] == "xx_YY caf\ufffd"
    assert (finished.returncode, finished.stderr, finished.why()) == (4, "no\n", "no")


def test_ask_passes_only_the_given_input():
    text = "é\n" * 100_000  # more than a pipe holds
    assert process.ask(["cat"], seconds=30, given=text.encode()).stdout == text
    assert process.ask(["true"], seconds=30, given=text.encode()).returncode == 0
    assert process.ask(["cat"], seconds=30).stdout == ""


def test_ask_returns_when_its_program_ends_whatever_that_leaves(tmp_path):
    started = time.monotonic()
    finished = ask(f"cd {tmp_path}; sleep {LONG} & echo $! > pid; echo all; exit 0")
    assert time.monotonic() - started < 5
    assert (finished.returncode, finished.stdout) == (0, "all\n")
    assert ends(read_pid(tmp_path / "pid"))


@pytest.mark.parametrize("way_out", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_of_ask_leaves_no_process(tmp_path, monkeypatch, way_out):
    def wait(*_):
        if (tmp_path / "pid").exists():
            raise way_out

    monkeypatch.setattr(process, "_wait", wait)
    with pytest.raises(way_out):
        ask(f"cd {tmp_path}; (setsid sleep {LONG} & echo $! > part; mv part pid; wait)")
    assert ends(read_pid(tmp_path / "pid"), 0)


def test_endless_output_is_cut_and_its_program_killed(monkeypatch):
    monkeypatch.setattr(child, "MOST_OUTPUT", 1 << 20)
    finished = ask("yes")
    assert finished.ending() == "killed by SIGKILL"
    assert finished.why() == "output: more than 1 MiB"
    assert len(finished.stdout) < 2 << 20


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 7", "exit status 7"),
        ("kill -9 $$", "killed by SIGKILL"),
        ("echo on the output; exit 1", "on the output"),
        ("head -c 200000 /dev/zero | tr '\\0' x >&2; exit 1", "x" * 300),
    ],
)
def test_why_a_program_failed_is_short_and_never_empty(script, why):
    assert ask(script).why() == why
