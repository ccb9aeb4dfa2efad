"""What the command writes: a failure is one message and an exit status, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from support.command import command
from support.fake_slurm import FakeSlurm
from support.hostile_run import VERBS, make_hostile

from vmafarm import __main__
from vmafarm.common import streams

pytestmark = pytest.mark.full

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


_EACH_VERB = """
import atexit, json, os, sys, traceback
import vmafarm.cli.cluster, vmafarm.cli.look, vmafarm.query.database, vmafarm.report.page
import vmafarm.merging.merge, vmafarm.cluster.submit, vmafarm.__main__

def run(output, words):
    sys.argv = ["vmafarm", *words]
    os.dup2(output, 1)
    os.dup2(os.open("said", os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 2)
    try:
        vmafarm.__main__.main()
    except SystemExit as ended:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(ended.code)

for output, words in json.load(sys.stdin):
    if (child := os.fork()) == 0:
        try:
            run(output, words)
        except BaseException:
            traceback.print_exc()
        os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open("said", encoding="utf-8") as said, open("all", "a", encoding="utf-8") as file:
        print(json.dumps([words, status, said.read()]), file=file)
"""
"""Runs verbs, each in a process of its own that writes to a descriptor, and imports once for all of them.

The interpreter is not taken down: what it still does with the output as it ends is done here, and what fails
then is a traceback.
"""


def test_no_verb_ends_in_a_traceback_where_its_output_takes_nothing_or_its_reader_has_gone(
    tmp_path: Path, cluster: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_hostile(tmp_path)
    forms = {words[0]: words for words in VERBS.values()} | {"estimate": ("estimate",)}
    del forms["tidy"]  # this run has no table to tidy up for, which is an error before there is any output
    others = [("sql", "--csv", "FROM clips"), ("--help",), ("status", "--help"), ()]
    full = os.open(FULL, os.O_WRONLY)
    ours, gone = os.pipe()
    os.close(ours)
    # Without a reader it is the same error, of which nothing is said.
    verbs = [(gone, words) for words in (forms["status"], forms["merge"], *others)]
    verbs += [(full, words) for words in (*forms.values(), *others)]
    child = [sys.executable, "-c", _EACH_VERB]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "jobs"), "FORCE_COLOR": "1"}
    subprocess.run(
        child, input=json.dumps(verbs), text=True, stdout=gone, env=environment, check=True,
        pass_fds=(gone, full),
    )  # fmt: skip
    os.close(gone)
    os.close(full)
    found = [json.loads(line) for line in Path("all").read_text(encoding="utf-8").splitlines()]
    assert [words for words, _, _ in found] == [list(words) for _, words in verbs]
    for (output, _), (words, status, said) in zip(verbs, found, strict=True):
        assert "Traceback" not in said, words
        if output == full:
            assert (status, said.count("error: ")) == (3, 1), (words, said)
            assert "error: cannot write the output: No space left on device\n" in said
        else:
            assert (status, said.count("error: ")) == (1, 0), (words, said)


def test_a_working_folder_that_cannot_be_entered_is_one_message(
    tmp_path: Path,
    as_ordinary_user: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.chmod(0)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert __main__._run() == 3
    finally:
        signal.signal(signal.SIGTERM, before)
        folder.chmod(0o700)
    assert capsys.readouterr().err.splitlines() == [
        "error: the working folder cannot be used: Permission denied",
        "  cd to a folder that exists and is yours",
    ]


@pytest.mark.parametrize("name", ["COLUMNS", "LINES", "TERMINAL_WIDTH"])
@pytest.mark.parametrize("value", ["wide", "\N{SUPERSCRIPT TWO}", "0", "-5", "9" * 5000, "99999999999999"])
def test_a_width_that_none_can_have_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["vmafarm", "--help"])
    assert __main__._run() == 0
    said = capsys.readouterr()
    assert (said.err, "Usage: vmafarm" in said.out) == ("", True)


def test_wrong_use_is_reported_like_any_other_error() -> None:
    said = run("status --ever 1")
    assert said.returncode == 2
    lines = said.stderr.splitlines()
    assert lines[0].startswith("error: No such option: --ever")
    assert lines[1:] == ["  see vmafarm status --help"]
    nothing = run("")
    assert (nothing.returncode, nothing.stderr) == (2, "")
    assert "Usage: vmafarm" in nothing.stdout


@pytest.mark.parametrize(("words", "status"), [("config", 0), ("status --run none", 2), ("nothing", 2)])
def test_an_error_output_that_takes_nothing_changes_no_status(words: str, status: int) -> None:
    with FULL.open("w") as full:
        said = run(words, stderr=full)
    assert said.returncode == status
    assert ("[corpus]" in said.stdout) == (status == 0)
    with FULL.open("w") as full:
        assert run(words, stdout=full, stderr=full).returncode == (status or 3)


def test_nothing_is_printed_for_a_reader_that_is_gone() -> None:
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
    script = f'"$0" -m vmafarm {words} {closed}'
    said = subprocess.run(
        ["sh", "-c", script, sys.executable], cwd=tmp_path, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "jobs")},
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
