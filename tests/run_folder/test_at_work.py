"""The lease of a run: it is believed while its process works, and nothing depends on it."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from support.errors_document import documented
from support.hostile_run import EVIL, FORGED, TEXT

from vmafarm.common.errors import UsageError
from vmafarm.disk import durable
from vmafarm.process.identity import own_identity
from vmafarm.process.node import node_name
from vmafarm.run_folder import at_work as module
from vmafarm.run_folder.at_work import STALE_SECONDS, at_work, read_worker, refuse_second
from vmafarm.run_folder.paths import RunFolder

SINCE = "2025-03-01T10:20:30+00:00"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path / "runs", "demo")
    found.path.mkdir(parents=True)
    return found


@pytest.fixture
def other() -> Any:
    """Identity of another process of this user, which is alive."""
    code = (
        "import sys; from dataclasses import astuple; from vmafarm.process.identity import own_identity\n"
        "print(own_identity().started, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        yield replace(own_identity(), process=child.pid, started=int(child.stdout.readline()))
        child.stdin.close()


def lease(folder: RunFolder, identity: Any, host: str = "", age: float = 0.0, **more: Any) -> None:
    """Write one as a process does, so many seconds ago."""
    document = {"host": host or node_name(os.environ), "user": "ada", "since": SINCE}
    folder.at_work.write_text(json.dumps(document | {"identity": asdict(identity)} | more))
    at = time.time() - age
    os.utime(folder.at_work, (at, at))


def held(folder: RunFolder) -> list[str]:
    """Work on the run for a moment; what was said."""
    said: list[str] = []
    with at_work(folder, said.append):
        worker = read_worker(folder)
        assert worker is not None
        assert worker.identity == own_identity()
    assert not folder.at_work.exists()
    return said


def elsewhere() -> Any:
    return replace(own_identity(), kernel="another")


def test_the_lease_is_there_while_a_process_works_and_gone_afterwards(folder: RunFolder) -> None:
    assert read_worker(folder) is None
    assert held(folder) == []
    with pytest.raises(KeyboardInterrupt), at_work(folder, print):
        document = json.loads(folder.at_work.read_text())
        assert document["identity"]["process"] == os.getpid()
        assert document["host"] == node_name(os.environ)
        assert os.listdir(folder.path) == ["at_work.json"]
        raise KeyboardInterrupt
    assert os.listdir(folder.path) == []


def test_a_process_at_work_here_is_named_with_what_to_do(folder: RunFolder, other: Any) -> None:
    documented("a second `vmafarm run` of a run that is being worked on")
    lease(folder, other, age=9 * STALE_SECONDS)  # it may be stopped, or its disk slow
    with pytest.raises(UsageError) as caught, at_work(folder, print):
        pass
    assert str(caught.value) == (
        f'the run "demo" is being worked on: process {other.process} of ada on {node_name(os.environ)}, '
        "since 2025-03-01 10:20:30 UTC\n"
        "wait for it: vmafarm status --run demo --watch\n"
        f"or stop it: kill {other.process}; what is finished is kept\n"
        f"if that process does something else: rm {folder.at_work}"
    )
    assert json.loads(folder.at_work.read_text())["identity"]["process"] == other.process


@pytest.mark.parametrize("change", [{"started": 1}, {"process": 2**22 + 1}])
def test_a_process_that_has_ended_is_taken_over_from_at_once(
    folder: RunFolder, other: Any, change: dict[str, int]
) -> None:
    lease(folder, replace(other, **change))
    refuse_second(folder)
    assert held(folder) == []


def test_a_machine_that_was_started_again_has_none_of_its_processes(folder: RunFolder) -> None:
    lease(folder, elsewhere(), age=1)
    assert held(folder) == []


def test_a_process_elsewhere_is_believed_while_it_refreshes_its_lease(folder: RunFolder) -> None:
    lease(folder, elsewhere(), "node7", age=STALE_SECONDS - 20)
    with pytest.raises(UsageError) as caught:
        refuse_second(folder)
    assert "process" in caught.value.message
    assert "of ada on node7, since 2025-03-01 10:20:30 UTC" in caught.value.message
    assert f"try again in 5m 00s, or rm {folder.at_work}" in caught.value.hint
    lease(folder, elsewhere(), "node7", age=STALE_SECONDS + 60)
    (said,) = held(folder)
    assert re.fullmatch(
        r"taking over from process \d+ of ada on node7, since .*: its lease was not refreshed for 6m \d\ds",
        said,
    )


def test_a_container_on_this_machine_is_another_place(folder: RunFolder) -> None:
    inside = replace(own_identity(), namespace="pid:[1]")
    lease(folder, inside, age=10)
    with pytest.raises(UsageError, match="stop it there"):
        refuse_second(folder)
    lease(folder, inside, age=STALE_SECONDS + 60)
    held(folder)


def test_a_lease_from_the_future_is_no_reason_to_wait_for_it(folder: RunFolder) -> None:
    lease(folder, elsewhere(), "node7", age=-20)
    assert read_worker(folder) is not None, "clocks differ a little"
    lease(folder, elsewhere(), "node7", age=-9e8)
    held(folder)


WRONG: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"\xff\xfe",
    "another document": b"[]",
    "no fields": b"{}",
    "nested": b"[" * 10_000,
    "too large": b" " * 70_000,
    "wrong types": b'{"host": 1, "user": [], "since": "now", "identity": {}}',
    "no process": json.dumps(
        {"host": "h", "user": "u", "since": SINCE, "identity": {"process": -1, "started": 1, "kernel": "",
                                                               "namespace": ""}}
    ).encode(),
}  # fmt: skip


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_what_is_no_lease_is_none_and_is_replaced(folder: RunFolder, content: bytes) -> None:
    folder.at_work.write_bytes(content)
    assert read_worker(folder) is None
    assert held(folder) == []


def test_a_lease_that_another_user_wrote_for_a_process_is_forged(
    folder: RunFolder, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease(folder, other)
    monkeypatch.setattr(module, "owner_of", lambda identity: os.geteuid() + 1)
    assert read_worker(folder) is None
    refuse_second(folder)
    monkeypatch.undo()
    assert read_worker(folder) is not None


@pytest.mark.parametrize("kind", ["folder", "fifo", "link to nothing", "link to itself"])
def test_what_stands_in_its_place_never_hangs_nor_ends_the_work(folder: RunFolder, kind: str) -> None:
    path = folder.at_work
    if kind == "folder":
        (path / "full").mkdir(parents=True)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere" if kind == "link to nothing" else path.name)
    assert read_worker(folder) is None
    worked = False
    with at_work(folder, print):
        worked = True
    assert worked
    assert path.is_dir() == (kind == "folder")


def test_a_folder_that_cannot_be_written_is_worked_on_without(tmp_path: Path, as_ordinary_user: None) -> None:
    folder = RunFolder(tmp_path, "demo")
    folder.path.mkdir()
    folder.path.chmod(0o555)
    try:
        with at_work(folder, print):
            assert not folder.at_work.exists()
            assert read_worker(folder) is None
    finally:
        folder.path.chmod(0o755)


@pytest.mark.parametrize("call", ["open", "write", "fsync", "link", "unlink"])
def test_a_disk_that_fails_is_no_reason_not_to_work(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(self: object, *arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    lease(folder, replace(own_identity(), started=1))
    monkeypatch.setattr(durable.System, call, fail)
    worked = False
    with at_work(folder, print):
        worked = True
    assert worked


def test_a_lease_is_refreshed_and_another_ones_is_left_alone(
    folder: RunFolder, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH_SECONDS", 0.02)

    def was_touched() -> bool:
        os.utime(folder.at_work, (1e9, 1e9))
        until = time.monotonic() + 0.5
        while time.monotonic() < until and folder.at_work.stat().st_mtime == 1e9:
            time.sleep(0.01)
        return folder.at_work.stat().st_mtime != 1e9

    with at_work(folder, print):
        assert was_touched()
        lease(folder, other)  # which took over, say because this one was stopped for long
        content = folder.at_work.read_text()
        assert not was_touched()
    assert folder.at_work.read_text() == content, "nor does its end remove it"


def test_without_threads_there_is_a_lease_all_the_same(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    assert held(folder) == []


def test_of_two_that_begin_at_once_one_is_refused(
    folder: RunFolder, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = module.durable.create_text

    def faster(path: Path, text: str) -> None:
        monkeypatch.undo()
        lease(folder, other)
        create(path, text)

    monkeypatch.setattr(module.durable, "create_text", faster)
    with pytest.raises(UsageError, match="is being worked on"), at_work(folder, print):
        pass


def test_text_in_a_lease_forges_no_line_and_moves_no_cursor(folder: RunFolder) -> None:
    lease(folder, elsewhere(), f"n{TEXT}", user=f"u{TEXT}")
    with pytest.raises(UsageError) as caught:
        refuse_second(folder)
    lines = str(caught.value).split("\n")
    assert len(lines) == 3
    assert not any(line.startswith(FORGED) for line in lines)
    assert all(character.isprintable() for line in lines for character in line), EVIL
