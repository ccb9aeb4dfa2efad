"""Ctrl-C and SIGTERM end a command soon, in order where that is possible, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.merge_helpers import Run, make_row, plan_run
from support.processes import is_there

pytestmark = pytest.mark.full
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
CLIPS = ["a.mp4", "b.mp4"]
SLOW = r"""
import hashlib, os, signal, sys
from contextlib import suppress

# Also where the tests run under nohup.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
ENDLESS = "SELECT count(*) FROM range(100000000000) a, range(100000) b"


def say_begun():
    os.write(2, b"begun\n")


def compute(*_, **__):
    print("said before", end="")
    say_begun()
    hashlib.pbkdf2_hmac("sha256", b"", b"", (1 << 31) - 1)  # many minutes in OpenSSL, which hears no signal


def query(*arguments, **_):
    connection = next(one for one in arguments if hasattr(one, "interrupt"))
    say_begun()
    connection.execute(ENDLESS).fetchall()


"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "scratch").mkdir()
    run = plan_run(tmp_path / "runs", CLIPS, scratch=tmp_path / "scratch")
    run.freeze()
    run.shard([make_row(clip) for clip in CLIPS])
    return run


def interrupt(script: str, *words: str, folder: Path, number: int = signal.SIGINT) -> tuple[int, str, str]:
    """Run Python, interrupt it once it says that it has begun; its status, output and other messages."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW + textwrap.dedent(script), *words], cwd=folder, text=True,
        env={**os.environ, "TMPDIR": str(folder / "scratch"), "PYTHONUNBUFFERED": ""},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line == "begun\n":
                break
        process.send_signal(number)
        out, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, said


def is_stopped(status: int, said: str) -> bool:
    return status == 1 and said.startswith("stopped: ") and said.count("\n") == 1


@pytest.mark.parametrize("number", SIGNALS)
def test_what_python_cannot_interrupt_is_ended_and_leaves_neither_scratch_folder_nor_draft(tmp_path, number):
    (tmp_path / "scratch").mkdir()
    status, out, said = interrupt(
        """
        from pathlib import Path
        from vmafarm.disk import durable
        from vmafarm.common import interrupts
        from vmafarm.process import scratch
        with interrupts.heard(), scratch.scratch_folder("scratch") as folder:
            (folder / "spill").write_text("x")
            durable.replace(Path("draft"), compute)
        """,
        folder=tmp_path, number=number,
    )  # fmt: skip
    assert is_stopped(status, said), said
    assert out == "said before"
    assert [path.name for path in tmp_path.rglob("*")] == ["scratch"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_query_is_interrupted_and_ends_in_order(tmp_path, number):
    status, out, said = interrupt(
        """
        from pathlib import Path
        from vmafarm.common import interrupts
        from vmafarm.sql import templates as sql
        interrupts.END_SECONDS = 60
        with interrupts.heard():
            try:
                with sql.connect(Path("scratch/spill")) as connection:
                    query(connection)
            finally:
                print("in order")
        """,
        folder=tmp_path, number=number,
    )  # fmt: skip
    assert is_stopped(status, said), said
    assert out == "in order\n"


def test_a_query_in_another_thread_holds_nobody_up(tmp_path):
    """As the next rows of a merge are made: DuckDB itself looks for signals in the main thread alone."""
    status, out, said = interrupt(
        """
        import time
        from concurrent.futures import ThreadPoolExecutor
        from pathlib import Path
        from vmafarm.common import interrupts
        from vmafarm.sql import templates as sql
        interrupts.END_SECONDS = 60
        with interrupts.heard():
            try:
                with sql.connect(Path("scratch/spill")) as connection, ThreadPoolExecutor(1) as pool:
                    future = pool.submit(connection.execute, ENDLESS)
                    while not future.running():
                        time.sleep(0.01)
                    say_begun()
                    future.result()
            finally:
                print("in order")
        """,
        folder=tmp_path,
    )
    assert is_stopped(status, said), said
    assert out == "in order\n"


@pytest.mark.parametrize("becomes", ["RuntimeError('Query interrupted')", "VmafarmError('no rows')"])
def test_an_interrupt_is_reported_as_one_whatever_error_it_turns_into(tmp_path, becomes):
    status, _, said = interrupt(
        f"""
        import time
        from vmafarm.common import interrupts
        from vmafarm.common.errors import VmafarmError
        with interrupts.heard():
            try:
                say_begun()
                time.sleep(60)
            except KeyboardInterrupt:
                raise {becomes}
        """,
        folder=tmp_path,
    )
    assert is_stopped(status, said), said


def test_an_interrupt_that_python_drops_still_ends_the_process(tmp_path):
    status, _, said = interrupt(
        """
        import time
        from vmafarm.common import interrupts
        interrupts.END_SECONDS = 0.2
        with interrupts.heard():
            say_begun()
            with suppress(KeyboardInterrupt):
                time.sleep(60)
            time.sleep(60)
        """,
        folder=tmp_path,
    )
    assert is_stopped(status, said), said


def test_an_interrupt_that_is_lost_in_a_destructor_is_no_traceback(tmp_path):
    status, _, said = interrupt(
        """
        import time
        from vmafarm.common import interrupts

        class Slow:
            def __del__(self):
                say_begun()
                time.sleep(60)

        with interrupts.heard():
            one = Slow()
            del one
            time.sleep(60)
        """,
        folder=tmp_path,
    )
    assert is_stopped(status, said), said
    assert "Traceback" not in said


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("around", ["nullcontext", "interrupts.in_order"])
def test_an_interrupt_that_is_lost_comes_once_more_and_ends_in_order(tmp_path, around, number):
    """As in a fork, where Python cannot raise it: the process would go on, and be ended from outside."""
    status, out, said = interrupt(
        f"""
        import time
        from contextlib import nullcontext
        from vmafarm.common import interrupts

        interrupts.END_SECONDS = 60

        class Slow:
            def __del__(self):
                say_begun()
                time.sleep(60)

        with interrupts.heard(), {around}():
            try:
                one = Slow()
                del one
                time.sleep(600)
            finally:
                print("in order")
        """,
        folder=tmp_path, number=number,
    )  # fmt: skip
    assert is_stopped(status, said), said
    assert out == "in order\n"


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("around", ["nullcontext", "interrupts.in_order"])
def test_an_interrupt_waits_until_a_module_is_imported(tmp_path, around, number):
    """Raised as a C++ module sets itself up, it aborts the process: DuckDB's does so by nanobind."""
    (tmp_path / "module.py").write_text(
        "import os, sys\nos.kill(os.getpid(), int(sys.argv[1]))\nprint('imported')\n"
    )
    status, out, said = interrupt(
        f"""
        import time
        from contextlib import nullcontext
        from vmafarm.common import interrupts

        interrupts.END_SECONDS = 60
        say_begun()
        with interrupts.heard(), {around}():
            try:
                import module
                time.sleep(600)
            finally:
                print("in order")
        """,
        str(int(number)), folder=tmp_path, number=0,
    )  # fmt: skip
    assert is_stopped(status, said), said
    assert out == "imported\nin order\n"


def test_an_interrupt_ends_the_process_if_an_import_takes_long(tmp_path):
    (tmp_path / "module.py").write_text("import __main__\n__main__.compute()\n")
    status, _, said = interrupt(
        """
        from vmafarm.common import interrupts
        interrupts.END_SECONDS = 0.2
        with interrupts.heard():
            import module
        """,
        folder=tmp_path,
    )
    assert is_stopped(status, said), said


@pytest.mark.parametrize(
    "when", ["import vmafarm.common.interrupts", "import vmafarm.common.streams", "start of a thread"]
)
def test_an_interrupt_before_the_command_has_begun_ends_it_in_silence(tmp_path, when):
    (tmp_path / "vmafarm").write_text(
        textwrap.dedent("""
        import os, signal, sys, threading
        when = sys.argv.pop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Finder:
            def find_spec(self, name, *_):
                if when == f"import {name}":
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Finder())
        if when == "start of a thread":
            threading.Thread.start = lambda _: os.kill(os.getpid(), signal.SIGINT)
        from vmafarm.__main__ import main
        main()
        """)
    )
    ended = subprocess.run(
        [sys.executable, tmp_path / "vmafarm", "--version", when], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_a_second_interrupt_does_not_disturb_the_ending(tmp_path):
    status, out, said = interrupt(
        """
        import os, signal, time
        from vmafarm.common import interrupts
        with interrupts.heard():
            try:
                say_begun()
                time.sleep(60)
            finally:
                for number in (signal.SIGINT, signal.SIGTERM):
                    os.kill(os.getpid(), number)
                print("in order")
        """,
        folder=tmp_path,
    )
    assert is_stopped(status, said), said
    assert out == "in order\n"


def test_what_is_to_end_in_order_has_its_time(tmp_path):
    status, out, said = interrupt(
        """
        import time
        from vmafarm.common import interrupts
        interrupts.END_SECONDS = 0.1
        with interrupts.heard(), interrupts.in_order():
            try:
                say_begun()
                time.sleep(60)
            except KeyboardInterrupt:
                time.sleep(0.5)
                print("in order")
        """,
        folder=tmp_path,
    )
    assert (status, out, said) == (0, "in order\n", "")


def test_what_a_program_has_started_is_killed_though_the_main_thread_cannot_do_it(tmp_path):
    """As below a wrapper around scancel, run after the interrupt: the kernel ends the wrapper alone."""
    status, _, said = interrupt(
        """
        from pathlib import Path
        from vmafarm.common import interrupts
        from vmafarm.process import run as process
        SCRIPT = "sleep 300 & echo $! > part; setsid sleep 300 & echo $! >> part; mv part pids; wait"
        interrupts.END_SECONDS = 0.1
        interrupts._KILL_SECONDS = 60

        def wait(*_):
            if Path("pids").exists():
                with suppress(KeyboardInterrupt):  # which may come before it hears no signal
                    compute()
                hashlib.pbkdf2_hmac("sha256", b"", b"", (1 << 31) - 1)

        process._wait = wait
        with interrupts.heard():
            process.ask(["sh", "-c", SCRIPT], seconds=60)
        """,
        folder=tmp_path,
    )
    assert is_stopped(status, said), said
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    assert not [pid for pid in pids if is_there(pid)]


def test_a_process_that_cannot_be_killed_keeps_no_interrupted_command(tmp_path):
    status, _, said = interrupt(
        """
        import threading
        from vmafarm.common import interrupts
        interrupts.END_SECONDS = interrupts._KILL_SECONDS = 0.1
        with interrupts.heard(), interrupts.killing(threading.Event().wait):
            compute()
        """,
        folder=tmp_path,
    )
    assert is_stopped(status, said), said


def test_an_interrupt_that_is_ignored_stays_so(tmp_path):
    """As of a command in the background of a script, which does not hear of its Ctrl-C."""
    status, out, said = interrupt(
        """
        import signal, time
        from vmafarm.common import interrupts
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        interrupts.END_SECONDS = 0.1
        with interrupts.heard():
            say_begun()
            time.sleep(0.5)
            print("done")
        """,
        folder=tmp_path,
    )
    assert (status, out, said) == (0, "done\n", "")


@pytest.mark.parametrize("number", SIGNALS[:2])
@pytest.mark.parametrize(
    ("verb", "slow", "how"),
    [
        ("merge", "vmafarm.merging.table.TableWriter.write", "query"),
        ("merge", "vmafarm.merging.sources.check_footers", "compute"),
        ("qa", "vmafarm.query.database._fill", "query"),
        ("report", "vmafarm.publish.run_checks", "query"),
        ("sql", "vmafarm.query.database._fill", "compute"),
        ("plan", "vmafarm.corpus.read_corpus.join_best", "compute"),
        ("estimate", "vmafarm.corpus.read_corpus.read_label_table", "compute"),
    ],
)  # fmt: skip
def test_a_verb_says_that_it_was_stopped_and_has_published_nothing(run, tmp_path, verb, slow, how, number):
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "a.mp4").write_bytes(b"x")
    (tmp_path / "scores.csv").write_text("video_name,video_score\na.mp4,3\n")
    words = ["--set", f"run.root={run.folder.root}", "--set", f"extract.scratch={tmp_path}/scratch"]
    if verb in ("plan", "estimate"):
        words += ["--run", "new", "--clips", str(clips), "--scores", str(tmp_path / "scores.csv")]
    else:
        words += ["--run", "demo", *(["SELECT 1"] if verb == "sql" else [])]
    before = set(tmp_path.rglob("*"))
    status, out, said = interrupt(
        f"""
        import vmafarm.query.database, vmafarm.publish, vmafarm.corpus.plan
        import vmafarm.merging.sources, vmafarm.merging.table
        from vmafarm.__main__ import main
        {slow} = {how}
        main()
        """,
        verb, *words, folder=tmp_path, number=number,
    )  # fmt: skip
    assert is_stopped(status, said), said
    assert not run.folder.table.exists()
    assert "table" not in out
    assert set(tmp_path.rglob("*")) - before <= {run.folder.database, run.folder.merge_lock}  # each whole


def test_the_merge_as_a_job_hears_sigterm_which_submitit_would_pass_over(run, tmp_path):
    status, out, said = interrupt(
        """
        import signal, vmafarm.merging.table
        from vmafarm.config.load import load
        from vmafarm.corpus.frozen_config import with_frozen
        from vmafarm.publish import merge_on_node
        signal.signal(signal.SIGTERM, lambda *_: None)
        vmafarm.merging.table.TableWriter.write = query
        settings = ["run.name=demo", f"run.root={sys.argv[1]}", f"extract.scratch={sys.argv[2]}"]
        merge_on_node(with_frozen(load(None, settings)[0]).model_dump())
        """,
        str(run.folder.root), str(tmp_path / "scratch"), folder=tmp_path, number=signal.SIGTERM,
    )  # fmt: skip
    assert is_stopped(status, said), said
    assert out == ""
    assert not list((tmp_path / "scratch").iterdir())
    assert not list(run.folder.root.glob("*.parquet"))
