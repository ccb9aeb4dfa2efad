"""No program is run that another user could have written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import command
from support.fake_slurm import FakeSlurm, planned
from support.merge_helpers import plan_run

from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import preview, submit
from vmafarm.common.errors import UnavailableError, UsageError
from vmafarm.disk import writers
from vmafarm.run_folder import permissions as trust
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.permissions import check_run_folders, secure_logs

STRANGER = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="files of another user: only root can make them")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A planned run that others cannot write to."""
    made = plan_run(tmp_path / "runs", ["a.mp4"]).folder
    for path in (made.root, made.path):
        path.chmod(0o755)
    return made


def test_the_private_folder_is_made_for_this_user_alone(folder):
    assert check_run_folders(folder) == []
    assert not folder.logs.exists()
    secure_logs(folder)
    assert folder.logs.stat().st_mode & 0o777 == 0o700
    secure_logs(folder)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o2775, 0o777, 0o500])
def test_a_private_folder_that_was_open_is_closed(folder, mode):
    folder.logs.mkdir()
    folder.logs.chmod(mode)
    secure_logs(folder)
    assert folder.logs.stat().st_mode & 0o777 == 0o700


def test_a_link_instead_of_the_private_folder_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    for target in (tmp_path / "elsewhere", tmp_path / "nowhere"):
        folder.logs.symlink_to(target)
        with pytest.raises(UsageError, match=r"runs/demo/logs is a link or a file"):
            secure_logs(folder)
        folder.logs.unlink()
    assert not list((tmp_path / "elsewhere").iterdir())


@root_only
def test_a_private_folder_of_another_user_is_refused(folder):
    folder.logs.mkdir(mode=0o700)
    os.chown(folder.logs, STRANGER, STRANGER)
    with pytest.raises(UsageError, match=r"logs belongs to .*, expected root") as caught:
        secure_logs(folder)
    assert "move it away" in caught.value.hint


@root_only
def test_a_file_of_another_user_in_it_is_refused(folder):
    folder.logs.mkdir()
    folder.logs.chmod(0o770)
    (folder.logs / "12_0_log.out").touch()
    secure_logs(folder)
    os.chown(folder.logs / "12_0_log.out", STRANGER, STRANGER)
    with pytest.raises(UsageError, match=r"holds a file of .*: 12_0_log\.out"):
        secure_logs(folder)


@pytest.mark.parametrize("fails", [True, False])
def test_a_file_system_without_permissions_is_refused(folder, monkeypatch, fails):
    folder.logs.mkdir()
    folder.logs.chmod(0o770)

    def chmod(self: Path, mode: int) -> None:
        if fails:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", chmod)
    with pytest.raises(UnavailableError, match="Operation not permitted" if fails else "stays at 0770"):
        secure_logs(folder)


def test_a_private_folder_that_is_closed_is_not_closed_again(folder, monkeypatch):
    """Nor is it refused if permissions cannot be changed."""
    secure_logs(folder)

    def chmod(self: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", chmod)
    secure_logs(folder)


@pytest.mark.parametrize("place", ["root", "path"])
def test_world_writable_folders_are_refused(folder, place):
    where = getattr(folder, place)
    where.chmod(0o777)
    for check in (check_run_folders, secure_logs):
        with pytest.raises(UsageError, match="is world-writable") as caught:
            check(folder)
        assert caught.value.hint.startswith(f"chmod o-w {where}")
    assert not folder.logs.exists()
    where.chmod(0o1777)  # as /tmp: nobody can put another folder in its place
    secure_logs(folder)


@pytest.mark.parametrize("place", ["root", "path"])
def test_a_group_writable_project_space_is_accepted_with_one_warning(folder, monkeypatch, place):
    monkeypatch.setattr(
        "vmafarm.disk.writers.shared_group", lambda status: "vision" if status.st_mode & 0o020 else ""
    )
    getattr(folder, place).chmod(0o2770)
    (warning,) = check_run_folders(folder)
    assert "also writable by the group vision" in warning
    folder.root.chmod(0o2770)
    folder.path.chmod(0o2770)
    assert len(check_run_folders(folder)) == 1
    secure_logs(folder)
    assert folder.logs.stat().st_mode & 0o777 == 0o700


def test_a_group_writable_folder_above_is_a_warning_unless_it_is_sticky(tmp_path, monkeypatch):
    """A member could replace the folder of all runs."""
    monkeypatch.setattr("vmafarm.disk.writers.shared_group", lambda s: "vision" if s.st_mode & 0o020 else "")
    made = plan_run(tmp_path / "space" / "mine" / "runs", ["a.mp4"]).folder
    (tmp_path / "space").chmod(0o2770)
    (warning,) = check_run_folders(made)
    assert f"warning: {tmp_path}/space is also writable by the group vision" in warning
    (tmp_path / "space").chmod(0o3770)
    assert check_run_folders(made) == []


def test_a_world_writable_folder_above_is_refused(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch").chmod(0o777)
    made = plan_run(tmp_path / "scratch" / "runs", ["a.mp4"]).folder
    made.root.chmod(0o700)
    with pytest.raises(UsageError, match=f"{tmp_path / 'scratch'} is world-writable: "):
        check_run_folders(made)


@root_only
@pytest.mark.parametrize("mode", [0o755, 0o1777, 0o700])
def test_a_folder_above_that_another_user_owns_is_refused(tmp_path, mode):
    above = tmp_path / "theirs"
    made = plan_run(above / "mine" / "runs", ["a.mp4"]).folder
    above.chmod(mode)
    os.chown(above, STRANGER, STRANGER)
    for check in (check_run_folders, secure_logs):
        with pytest.raises(UsageError, match=f"{above} belongs to nobody, who could replace it") as caught:
            check(made)
        assert 'run.trusted_owners = ["nobody"]' in caught.value.hint
    assert not made.logs.exists()
    if mode != 0o1777:
        assert check_run_folders(made, ["nobody"]) == []
        secure_logs(made, ["nobody"])


@root_only
@pytest.mark.parametrize("place", ["root", "path"])
def test_a_run_that_another_user_owns_is_refused(folder, place):
    os.chown(getattr(folder, place), STRANGER, STRANGER)
    with pytest.raises(UsageError, match=f"{getattr(folder, place)} belongs to nobody"):
        check_run_folders(folder)


@root_only
def test_a_link_that_another_user_could_redirect_is_refused(tmp_path):
    made = plan_run(tmp_path / "runs", ["a.mp4"]).folder
    made.root.chmod(0o755)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o1777)
    link = tmp_path / "open" / "link"
    link.symlink_to("../runs")
    assert check_run_folders(RunFolder(link, "demo")) == []
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(UsageError, match=f"{link} belongs to nobody"):
        check_run_folders(RunFolder(link, "demo"))


@root_only
def test_the_target_of_a_link_is_checked_too(tmp_path):
    made = plan_run(tmp_path / "theirs" / "runs", ["a.mp4"]).folder
    os.chown(tmp_path / "theirs", STRANGER, STRANGER)
    for number, target in enumerate(["theirs/runs", str(made.root), "mine/../theirs/runs"]):
        (tmp_path / "mine").mkdir(exist_ok=True)
        link = tmp_path / f"link{number}"
        link.symlink_to(target)
        with pytest.raises(UsageError, match=f"{tmp_path / 'theirs'} belongs to nobody"):
            check_run_folders(RunFolder(link, "demo"))


def test_links_in_a_circle_are_an_error_of_the_system(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        check_run_folders(RunFolder(tmp_path / "a" / "runs", "demo"))


@pytest.mark.parametrize("below", ["shards", "shards/slice-00000", "failures", "submissions", "broken_nodes"])
def test_a_world_writable_folder_of_the_run_is_refused(folder, below):
    (folder.path / below).mkdir(parents=True)
    assert check_run_folders(folder) == []
    (folder.path / below).chmod(0o777)
    for check in (check_run_folders, trust.check_writers):
        with pytest.raises(UsageError, match=f"{folder.path / below} is world-writable: any user"):
            check(folder)


@root_only
def test_a_link_of_another_user_among_the_private_files_counts_as_theirs_whatever_its_target(folder):
    secure_logs(folder)
    (folder.path / "mine").touch()
    (folder.logs / "12_0_log.out").symlink_to(folder.path / "mine")
    secure_logs(folder)
    os.chown(folder.logs / "12_0_log.out", STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(UsageError, match=r"holds a file of nobody: 12_0_log\.out"):
        secure_logs(folder)


@pytest.mark.parametrize(
    ("mode", "group", "members", "expected"),
    [
        (0o2750, "vision", ["ada"], ""),
        (0o2770, "vision", [], "vision"),
        (0o770, "ada", [], ""),
        (0o770, "ada", ["ada"], ""),
        (0o770, "ada", ["ada", "bob"], "ada"),
        (0o770, None, [], "1234"),
    ],
)
def test_a_group_shares_a_folder_unless_it_is_the_owners_alone(monkeypatch, mode, group, members, expected):
    def look_up(_: int) -> SimpleNamespace:
        if group is None:
            raise KeyError
        return SimpleNamespace(gr_name=group, gr_mem=members)

    monkeypatch.setattr(writers.grp, "getgrgid", look_up)
    monkeypatch.setattr(writers.pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="ada"))
    assert writers.shared_group(os.stat_result((mode, 0, 0, 1, 1000, 1234, 0, 0, 0, 0))) == expected


def test_in_an_unprivileged_container_folders_above_belong_to_nobody(tmp_path):
    """It maps only this user: that root owns ``/`` cannot be seen there, and is no reason to refuse."""
    made = plan_run(tmp_path / "above" / "runs", ["a.mp4"]).folder
    if os.geteuid() == 0:  # whom the namespace maps, so that somebody else must be shown as nobody
        os.chown(tmp_path / "above", 4321, 4321)
        with pytest.raises(UsageError, match="belongs to user 4321"):
            check_run_folders(made)
    program = (
        "import sys; from pathlib import Path; from vmafarm.run_folder import permissions as trust;"
        "from vmafarm.run_folder.paths import RunFolder;"
        "folder = RunFolder(Path(sys.argv[1]), 'demo');"
        "assert 65534 in {path.stat().st_uid for path in folder.path.parents}, 'no namespace';"
        "print(trust.check_run_folders(folder))"
    )
    namespace = ["unshare", "--user", "--map-user=1234", sys.executable, "-c", program, str(made.root)]
    seen = subprocess.run(namespace, capture_output=True, text=True, check=False)
    assert (seen.stdout, seen.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    ("mapped", "expected"),
    [
        ("         0          0 4294967295\n", False),
        ("      1234       1000          1\n", True),
        ("         0       1000          1\n         1     100000      65536\n", True),
        ("", False),
        ("nothing of the kind", False),
        (None, False),
    ],
    ids=["all users", "this user", "users of a container", "empty", "unknown", "unreadable"],
)
def test_users_that_a_user_namespace_does_not_map_are_trusted_only_there(monkeypatch, mapped, expected):
    def read_text(self: Path, encoding: str) -> str:
        assert str(self) == "/proc/self/uid_map"
        if mapped is None:
            raise PermissionError(13, "Permission denied")
        return mapped

    with monkeypatch.context() as patch:
        patch.setattr(trust, "_nobody_mapped", trust._nobody_mapped.__wrapped__)  # not as it was found before
        patch.setattr(os, "geteuid", lambda: 1234)
        patch.setattr(Path, "read_text", read_text)
        trusted = {user for user in (0, 1, 2, 1000, 1234, STRANGER) if trust.is_trusted(user, ())}
    assert trusted == ({0, 1234, STRANGER} if expected else {0, 1234})


def test_nothing_is_queued_that_another_user_could_write(tmp_path, monkeypatch):
    cluster = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv("PATH", cluster.path)
    run = planned(tmp_path / "runs")
    run.folder.path.chmod(0o777)
    with pytest.raises(UsageError, match="is world-writable"):
        submit(run.config, Slurm())
    with pytest.raises(UsageError, match="is world-writable"):
        preview(run.config, Slurm(), load_manifest(run.folder))
    run.folder.path.chmod(0o755)
    run.folder.logs.symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is a link"):
        submit(run.config, Slurm())
    assert not cluster.scripts
    assert not list(run.folder.submissions.glob("*"))


def test_jobs_are_queued_with_one_warning_about_a_group(tmp_path, monkeypatch):
    cluster = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv("PATH", cluster.path)
    monkeypatch.setattr("vmafarm.disk.writers.shared_group", lambda status: "vision")
    run = planned(tmp_path / "runs")
    run.folder.path.chmod(0o2770)
    said: list[str] = []
    submit(run.config, Slurm(), say=said.append)
    assert len([line for line in said if "group vision" in line]) == 1
    assert cluster.scripts


def test_a_merge_of_world_writable_rows_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"x")
    command.write_scores(tmp_path / "scores.csv", ["a.mp4"])
    command.call("plan", *command.corpus("--run", "r"))
    slice_folder = tmp_path / "runs/r/shards/slice-00000"
    slice_folder.mkdir(parents=True)
    slice_folder.chmod(0o777)
    said = command.call("merge", "--run", "r", status=2).stderr
    assert "runs/r/shards/slice-00000 is world-writable: any user of this machine could change rows" in said
    slice_folder.chmod(0o755)
    assert "1 of 1 clips" in command.call("merge", "--run", "r", status=1).stderr
