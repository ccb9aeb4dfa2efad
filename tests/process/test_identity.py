"""A process is told from one that has its number later, or elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from vmafarm.process.identity import is_visible, own_identity, owner_of


def test_this_process_is_alive_and_seen_here() -> None:
    own = own_identity()
    assert (own.process, owner_of(own)) == (os.getpid(), os.geteuid())
    assert is_visible(own)
    assert own.started > 0


def test_a_process_that_began_at_another_time_is_another_one() -> None:
    own = own_identity()
    assert owner_of(replace(own, started=own.started - 1)) is None


def test_a_process_that_has_ended_is_not_alive_even_before_it_is_reaped() -> None:
    code = (
        "import sys; from dataclasses import astuple; from vmafarm.process.identity import own_identity\n"
        "print(*astuple(own_identity())[:2], flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    process, started = map(int, child.stdout.readline().split())
    there = replace(own_identity(), process=process, started=started)
    assert process == child.pid
    assert owner_of(there) == os.geteuid()
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert owner_of(there) is None, "a zombie"
    child.wait()
    child.stdout.close()
    assert owner_of(there) is None


def test_a_process_of_another_kernel_or_container_is_not_seen() -> None:
    own = own_identity()
    assert not is_visible(replace(own, kernel="another"))
    assert not is_visible(replace(own, namespace="pid:[1]"))
    assert not is_visible(replace(own, kernel=""))
