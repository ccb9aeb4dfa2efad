"""Who besides its owner may write a file: its groups, and those whom its access control list names."""

from __future__ import annotations

import os
import pwd
import struct
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.command import command
from support.merge_helpers import make_row, plan_run

from vmafarm.common.errors import UsageError
from vmafarm.config.load import load
from vmafarm.disk import writers
from vmafarm.disk.writers import shared_with

OWNER, OWN_GROUP, MASK, OTHER = (1, 0o6, -1), (4, 0o4, -1), (0x10, 0o6, -1), (0x20, 0o4, -1)
ADA, ROOT, VISION = (2, 0o6, 4242), (2, 0o7, 0), (8, 0o7, 4343)


def with_list(path: Path, *entries: tuple[int, int, int]) -> os.stat_result:
    """Give a file an access control list, as setfacl does."""
    content = struct.pack("<I", 2)
    for tag, may, number in sorted([OWNER, OWN_GROUP, OTHER, *entries]):
        content += struct.pack("<HHI", tag, may, number & 0xFFFFFFFF)
    os.setxattr(path, "system.posix_acl_access", content)
    return path.stat()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("[run]\n")
    path.chmod(0o644)
    return path


@pytest.fixture(autouse=True)
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """User ada has the number 4242, the group vision 4343 and no members by name."""
    users = {0: "root", 4242: "ada", os.geteuid(): "me"}
    groups = {4343: "vision", os.getegid(): "me"}
    monkeypatch.setattr(
        writers.pwd, "getpwuid", lambda n: pwd.struct_passwd((users[n], "x", n, n, "", "/", "/bin/sh"))
    )
    monkeypatch.setattr(writers.grp, "getgrgid", lambda n: SimpleNamespace(gr_name=groups[n], gr_mem=[]))
    monkeypatch.setattr(writers.pwd, "getpwall", list)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([ADA, MASK], "ada (by its access control list)"),
        ([(2, 0o6, 4747), MASK], "user 4747 (by its access control list)"),
        ([VISION, MASK], "the group vision"),
        ([(2, 0o4, 4242), MASK], ""),
        ([ADA, (0x10, 0o4, -1)], ""),
        ([ROOT, MASK], ""),
        ([(2, 0o6, os.geteuid()), MASK], ""),
    ],
    ids=["user", "no name", "group", "reads", "masked", "root", "owner"],
)
def test_whom_a_list_lets_write(file: Path, entries: list[tuple[int, int, int]], told: str) -> None:
    assert shared_with(file, with_list(file, *entries)) == told


def test_without_a_list_the_permissions_count(file: Path) -> None:
    assert shared_with(file, file.stat()) == ""
    file.chmod(0o664)
    assert shared_with(file, file.stat()) == ""


def test_a_group_named_as_its_owner_is_shared_with_those_whose_first_group_it_is(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.chmod(0o664)
    own, other = SimpleNamespace(pw_name="me", pw_gid=os.getegid()), SimpleNamespace(pw_name="bob", pw_gid=1)
    monkeypatch.setattr(writers.pwd, "getpwall", lambda: [own, other])
    assert shared_with(file, file.stat()) == ""
    other.pw_gid = os.getegid()
    assert shared_with(file, file.stat()) == "the group me"


def test_a_configuration_that_a_list_lets_another_user_write_is_not_read_unasked(file: Path) -> None:
    with_list(file, ADA, MASK)
    with pytest.raises(
        UsageError, match=r"is writable by ada \(by its access control list\), expected only by you"
    ):
        load(file, named=False)
    assert load(file)[0].run.root == "runs"


@pytest.mark.full
def test_nothing_of_a_run_is_for_everybody_whatever_the_umask(tmp_path: Path) -> None:
    """Files that libraries make as well: the table is DuckDB's."""
    run = plan_run(tmp_path / "runs", ["a.mp4"], scratch=tmp_path)
    run.freeze()
    run.shard([make_row("a.mp4")])
    made_before = set(tmp_path.rglob("*"))
    words = ["merge", "--run", "demo", "--set", f"run.root={tmp_path}/runs"]
    subprocess.run(command(words), check=True, capture_output=True, preexec_fn=lambda: os.umask(0))
    made = set(tmp_path.rglob("*")) - made_before
    assert {path.name for path in made} >= {"full_features_demo.parquet", "qa.duckdb"}
    assert [path for path in made if path.stat().st_mode & 0o002] == []
