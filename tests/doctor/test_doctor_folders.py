"""The doctor tries folders and files: run root, scratch, clips, scores."""

from __future__ import annotations

import errno
import os
import stat
import tempfile

import pytest
from support import command
from support.doctor_helpers import configure, node, tree

from vmafarm.common.errors import UnavailableError
from vmafarm.doctor import Machine
from vmafarm.doctor.check_result import attempt
from vmafarm.doctor.folders import (
    check_clips,
    check_run_root,
    check_scores,
    check_scratch,
    check_space,
    file_system,
)


def test_the_run_root_is_written_to_and_left_as_it_was(tmp_path):
    root = tmp_path / "runs"
    root.mkdir(mode=0o755)
    (root / "k150k").mkdir()
    assert check_run_root(root).state == "ok"
    assert tree(root) == ["k150k"]


def test_a_run_root_that_is_not_there_is_not_made(tmp_path):
    found = check_run_root(tmp_path / "a" / "runs")
    assert found.state == "ok"
    assert found.message.endswith(f"can be written; the plan creates {tmp_path}/a/runs")
    assert tree(tmp_path) == []


def test_a_run_root_that_cannot_be_written_fails(tmp_path, as_ordinary_user):
    root = tmp_path / "runs"
    root.mkdir()
    root.chmod(0o555)
    found = attempt("run folder", lambda: check_run_root(root))
    root.chmod(0o755)
    assert (found.state, found.exit_status) == ("failed", 3)
    assert "Permission denied" in found.message


@pytest.mark.parametrize("good", [0, 1])  # the file's fsync, then the folder's, when it has its name already
def test_a_full_disk_is_found_and_leaves_no_probe(tmp_path, monkeypatch, good):
    calls = []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) > good:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    found = attempt("run folder", lambda: check_run_root(tmp_path))
    assert found.state == "failed"
    assert "No space left on device" in found.message
    assert tree(tmp_path) == []


def test_a_run_root_whose_folders_cannot_be_synced_is_one_warning(tmp_path, monkeypatch):
    def fsync(descriptor, real=os.fsync):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    found = check_run_root(tmp_path)
    assert (found.state, found.exit_status) == ("warning", 0)
    assert "cannot sync folders" in found.message
    assert "a power loss" in found.hint
    assert tree(tmp_path) == []


def test_a_file_in_the_run_roots_place_is_wrong_configuration(tmp_path):
    (tmp_path / "runs").write_text("x")
    found = attempt("run folder", lambda: check_run_root(tmp_path / "runs"))
    assert (found.state, found.exit_status) == ("failed", 2)
    assert "is not a folder" in found.message


@pytest.mark.parametrize(
    ("mode", "state"),
    [(0o755, "ok"), (0o700, "ok"), (0o2770, "warning"), (0o777, "failed"), (0o1777, "warning")],
)
def test_who_else_may_write_the_run_root_is_judged(tmp_path, monkeypatch, mode, state):
    monkeypatch.setattr("vmafarm.disk.writers.shared_group", lambda s: "vision" if s.st_mode & 0o020 else "")
    root = tmp_path / "runs"
    root.mkdir()
    root.chmod(mode)
    found = attempt("run folder", lambda: check_run_root(root))
    assert found.state == state
    if state == "warning":
        assert "also by the group vision" in found.message
    if state == "failed":
        assert found.hint.startswith("chmod o-w ")


def test_a_group_that_is_the_owners_alone_is_not_shared(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs").chmod(0o775)
    if os.geteuid() == 0:  # root's group is called root
        assert check_run_root(tmp_path / "runs").state == "ok"
        os.chown(tmp_path / "runs", 0, 1)
        assert check_run_root(tmp_path / "runs").state == "warning"


def disk(monkeypatch, free, files, total_files=1_000_000):
    """Every file system has so many bytes and inodes left."""
    real = os.statvfs

    def statvfs(path):
        found = list(real(path))
        found[1], found[4], found[5], found[7] = 1, free, total_files, files
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "statvfs", statvfs)


@pytest.mark.parametrize(
    ("free", "files", "total_files", "slices", "state"),
    [
        (2_000_000_000, 50_000, 1_000_000, 0, "ok"),
        (900_000_000, 50_000, 1_000_000, 0, "warning"),
        (2_000_000_000, 9_999, 1_000_000, 0, "warning"),
        (2_000_000_000, 0, 0, 0, "ok"),
        (2_000_000_000, 50_000, 1_000_000, 6_000, "warning"),
    ],
)
def test_little_space_and_few_inodes_are_warned_about(
    tmp_path, monkeypatch, free, files, total_files, slices, state
):
    disk(monkeypatch, free, files, total_files)
    found = check_space(tmp_path / "runs", slices)
    assert found.state == state
    assert ("files" in found.message) == bool(total_files)
    if slices:
        assert "room for 72,000 files" in found.hint


def test_a_node_without_any_scratch_folder_is_found(tmp_path, machine, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "gone")])
    with pytest.raises(UnavailableError, match="no scratch folder can be used"):
        check_scratch(configure(tmp_path), node(machine))


def test_scratch_is_used_and_left_empty(tmp_path, machine):
    (tmp_path / "scratch").mkdir()
    config = configure(tmp_path, extract={"scratch": str(tmp_path / "scratch")})
    assert check_scratch(config, machine).state == "ok"
    assert tree(tmp_path / "scratch") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="folders of another user: only root can make them")
def test_a_scratch_folder_that_others_could_exchange_is_a_warning_that_names_them(tmp_path, machine):
    stranger = 54321
    (tmp_path / "space/scratch").mkdir(parents=True)
    config = configure(tmp_path, extract={"scratch": str(tmp_path / "space/scratch")})
    os.chown(tmp_path / "space", stranger, stranger)
    found = check_scratch(config, machine)
    assert (found.state, found.message) == (
        "warning", f"{tmp_path / 'space'} is also writable by user {stranger}"
    )  # fmt: skip
    os.chown(tmp_path / "space", 0, stranger)
    (tmp_path / "space").chmod(0o2770)
    assert f"is also writable by the group {stranger}" in check_scratch(config, machine).message
    (tmp_path / "space").chmod(0o3770)
    assert check_scratch(config, machine).state == "ok"


def test_a_scratch_folder_in_memory_says_so_and_too_little_of_it_is_a_warning(
    tmp_path, machine, monkeypatch, standin
):
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 0:999 / /proc rw - proc proc rw\n"
        f"36 1 {os.major(device)}:{os.minor(device)} / /tmp rw shared:1 - tmpfs tmpfs rw,size=1g\n"
    )
    assert file_system(tmp_path, mounts) == "tmpfs"
    assert file_system(tmp_path, tmp_path / "none") == ""
    machine = Machine({}, machine.driver, machine.build, mounts)
    disk(monkeypatch, 900_000_000, 1_000_000)
    extract = {"scratch": str(tmp_path), "workers": 4}
    found = check_scratch(configure(tmp_path, extract=extract), machine)
    assert found.state == "ok"  # the embedded engine writes logs only
    assert "in memory (tmpfs), which counts against the job's memory" in found.message
    config = configure(tmp_path, extract=extract, engine={"kind": "vmaf", "vmaf": str(standin)})
    found = check_scratch(config, machine)
    assert found.state == "warning"
    assert "4 clips at once may need 1.0 GB" in found.message
    less = configure(tmp_path, extract=extract | {"workers": 3}, engine={"kind": "vmaf"})
    assert check_scratch(less, machine).state == "ok"


def test_scratch_that_only_the_nodes_have_is_a_warning_on_a_login_node(tmp_path, machine, no_slurm):
    scratch = {"scratch": str(tmp_path / "local")}
    config = configure(tmp_path, extract=scratch, slurm={"partition": "gpu"})
    found = check_scratch(config, machine)
    assert found.state == "warning"
    assert "is not there" in found.message
    found = attempt("scratch", lambda: check_scratch(config, node(machine)))
    assert (found.state, found.exit_status) == ("failed", 3)
    assert attempt("scratch", lambda: check_scratch(configure(tmp_path, extract=scratch), machine)).state == (
        "failed"
    )


def test_one_clip_that_can_be_read_is_enough(tmp_path):
    (tmp_path / "clips" / "a").mkdir(parents=True)
    (tmp_path / "clips" / "0.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "clips" / "a" / "1.MP4").write_bytes(b"x")
    found = check_clips(configure(tmp_path, corpus={"clips": str(tmp_path / "clips")}))
    assert (found.state, found.message) == ("ok", f"{tmp_path}/clips/a/1.MP4 can be read")


def test_clips_that_are_missing_or_cannot_be_read_fail(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "0.mp4").symlink_to(tmp_path / "gone.mp4")
    for name, status, message in (
        ("none", 2, "no such folder, expected the folder of the clips"),
        ("empty", 2, "no clips in it or its subfolders"),
        ("links", 3, "none of the first 1 clips can be read"),
    ):
        config = configure(tmp_path, corpus={"clips": str(tmp_path / name)})
        found = attempt("clips", lambda config=config: check_clips(config))
        assert (found.state, found.exit_status) == ("failed", status)
        assert message in found.message
    assert check_clips(configure(tmp_path)).state == "skipped"


def test_scores_are_read_where_they_are_given(tmp_path):
    path = command.write_scores(tmp_path / "scores.csv", ["a.mp4", "b.mp4"])
    config = configure(tmp_path, corpus={"scores": str(path)})
    assert check_scores(config).message == f"2 scores in {path}"
    path.write_text("a,b\n1,2\n")
    assert attempt("scores", lambda: check_scores(config)).exit_status == 2
    assert check_scores(configure(tmp_path)).state == "skipped"
