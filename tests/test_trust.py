"""Nothing is run that another user could have written."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm, planned
from merge_helpers import plan_run

from jobs import launch, trust
from jobs.errors import UnavailableError, UsageError
from jobs.manifest import load_manifest
from jobs.run_folder import RunFolder
from jobs.slurm import Slurm
from jobs.submit import preview, submit
from jobs.trust import check_run_folders, secure_logs

STRANGER = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="files of another user: only root can make them")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A planned run, nothing in it open to others."""
    made = plan_run(tmp_path / "runs", ["a.mp4"]).folder
    for path in (made.root, made.path):
        path.chmod(0o755)
    return made


def test_the_folder_of_pickles_is_made_for_this_user_alone(folder):
    assert check_run_folders(folder) == []
    assert not folder.logs.exists()
    secure_logs(folder)
    assert folder.logs.stat().st_mode & 0o777 == 0o700
    secure_logs(folder)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o2775, 0o777, 0o500])
def test_a_folder_of_pickles_that_was_open_is_closed(folder, mode):
    folder.logs.mkdir()
    folder.logs.chmod(mode)
    secure_logs(folder)
    assert folder.logs.stat().st_mode & 0o777 == 0o700


def test_a_link_in_the_place_of_the_folder_of_pickles_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    for target in (tmp_path / "elsewhere", tmp_path / "nowhere"):
        folder.logs.symlink_to(target)
        with pytest.raises(UsageError, match=r"runs/demo/logs is a link or a file"):
            secure_logs(folder)
        folder.logs.unlink()
    assert not list((tmp_path / "elsewhere").iterdir())


@root_only
def test_a_folder_of_pickles_that_is_another_users_is_refused(folder):
    folder.logs.mkdir(mode=0o700)
    os.chown(folder.logs, STRANGER, STRANGER)
    with pytest.raises(UsageError, match=r"logs belongs to .*, expected root") as caught:
        secure_logs(folder)
    assert "move it away" in caught.value.hint


@root_only
def test_a_pickle_that_another_user_has_put_there_is_refused(folder):
    folder.logs.mkdir()
    folder.logs.chmod(0o770)
    (folder.logs / "12_0_submitted.pkl").touch()
    secure_logs(folder)
    os.chown(folder.logs / "12_0_submitted.pkl", STRANGER, STRANGER)
    with pytest.raises(UsageError, match=r"holds a file of .*: 12_0_submitted\.pkl"):
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


@pytest.mark.parametrize("place", ["root", "path"])
def test_folders_that_everybody_may_write_are_refused(folder, place):
    where = getattr(folder, place)
    where.chmod(0o777)
    for check in (check_run_folders, secure_logs):
        with pytest.raises(UsageError, match="everybody on this machine may write") as caught:
            check(folder)
        assert caught.value.hint.startswith(f"chmod o-w {where}")
    assert not folder.logs.exists()
    where.chmod(0o1777)  # as /tmp: nobody can put another folder in its place
    secure_logs(folder)


@pytest.mark.parametrize("place", ["root", "path"])
def test_a_project_space_that_a_group_may_write_is_fine_with_one_warning(folder, monkeypatch, place):
    monkeypatch.setattr(trust, "shared_group", lambda status: "vision" if status.st_mode & 0o020 else "")
    getattr(folder, place).chmod(0o2770)
    (warning,) = check_run_folders(folder)
    assert "by everybody in the group vision too" in warning
    folder.root.chmod(0o2770)
    folder.path.chmod(0o2770)
    assert len(check_run_folders(folder)) == 1
    secure_logs(folder)
    assert folder.logs.stat().st_mode & 0o777 == 0o700


def test_a_folder_above_that_everybody_may_write_is_told(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch").chmod(0o777)
    made = plan_run(tmp_path / "scratch" / "runs", ["a.mp4"]).folder
    made.root.chmod(0o700)
    (warning,) = check_run_folders(made)
    assert warning.startswith(f"warning: everybody on this machine may write {tmp_path / 'scratch'}")


def test_nothing_is_queued_where_somebody_else_could_write_it(tmp_path, monkeypatch):
    cluster = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv("PATH", cluster.path)
    run = planned(tmp_path / "runs")
    run.folder.path.chmod(0o777)
    with pytest.raises(UsageError, match="everybody on this machine may write"):
        submit(run.config, Slurm())
    with pytest.raises(UsageError, match="everybody on this machine may write"):
        preview(run.config, Slurm(), load_manifest(run.folder))
    run.folder.path.chmod(0o755)
    run.folder.logs.symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is a link"):
        submit(run.config, Slurm())
    assert not cluster.scripts
    assert not list(run.folder.submissions.glob("*"))


def test_a_group_is_warned_of_once_when_jobs_are_queued(tmp_path, monkeypatch):
    cluster = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv("PATH", cluster.path)
    monkeypatch.setattr(trust, "shared_group", lambda status: "vision")
    run = planned(tmp_path / "runs")
    said: list[str] = []
    submit(run.config, Slurm(), say=said.append)
    assert len([line for line in said if "group vision" in line]) == 1
    assert cluster.scripts


class Trap:
    def __reduce__(self):
        return os.mkdir, (os.environ["TRAP"],)


def test_no_pickle_is_read_on_this_machine_from_a_folder_that_is_not_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAP", str(tmp_path / "trapped"))
    run = plan_run(tmp_path / "runs", ["a.mp4"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1_0_result.pkl").write_bytes(pickle.dumps(Trap()))
    run.folder.logs.symlink_to(elsewhere)
    with pytest.raises(UsageError, match="is a link"):
        launch.run_local(run.config, (0,), lambda: None)
    assert not (tmp_path / "trapped").exists()


def test_a_result_is_not_read_when_the_folder_has_become_another_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAP", str(tmp_path / "trapped"))
    run = plan_run(tmp_path / "runs", ["a.mp4"])

    class Job:
        """One that has ended; its result is the trap."""

        def done(self) -> bool:
            return True

        def result(self) -> object:
            return pickle.loads(pickle.dumps(Trap()))

    class Executor:
        def __init__(self, folder: str) -> None:
            run.folder.logs.rename(tmp_path / "away")
            run.folder.logs.symlink_to(tmp_path / "away")

        def update_parameters(self, **_: object) -> None: ...

        def submit(self, *_: object) -> Job:
            return Job()

    monkeypatch.setattr(launch.submitit, "LocalExecutor", Executor)
    with pytest.raises(UsageError, match="is a link"):
        launch.run_local(run.config, (0,), lambda: None)
    assert not (tmp_path / "trapped").exists()
