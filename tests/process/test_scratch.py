"""The scratch folder: private, always removed, and folders that killed elements left are swept."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support.errors_document import documented

from vmafarm.common.errors import UnavailableError
from vmafarm.engines.diagnosis import common_diagnosis
from vmafarm.engines.probe import run_probe, write_probe_clip
from vmafarm.process.run import Finished
from vmafarm.process.scratch import check_scratch, in_scratch, scratch_folder


def make_old(folder, seconds=3600):
    os.utime(folder, (time.time() - seconds,) * 2)


@pytest.fixture
def owner(tmp_path):
    """Start another process with a scratch folder in `tmp_path`; return both."""
    script = f"""
        import time
        from vmafarm.process.scratch import scratch_folder
        with scratch_folder({str(tmp_path)!r}) as folder:
            (folder / "clip.y4m").write_text("frames")
            print(folder, flush=True)
            time.sleep(300)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.communicate()


def test_the_folder_is_private_and_gone_afterwards(tmp_path):
    with scratch_folder(str(tmp_path)) as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o7777 == 0o700
        (folder / "below").mkdir()
        (folder / "below" / "clip.y4m").write_text("frames")
    assert os.listdir(tmp_path) == []


def test_a_machine_where_nothing_can_be_written_is_reported_as_such(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "gone")])
    with pytest.raises(UnavailableError, match="no scratch folder can be used: No usable temporary dir"):
        scratch_folder("").__enter__()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_folder_is_gone_after_an_error_too(tmp_path, error):
    before = len(os.listdir("/proc/self/fd"))
    with suppress(error), scratch_folder(str(tmp_path)) as folder:
        (folder / "clip.y4m").write_text("frames")
        raise error
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_two_scratch_folders_in_one_place_are_distinct(tmp_path):
    with scratch_folder(str(tmp_path)) as one, scratch_folder(str(tmp_path)) as two:
        assert one != two
        make_old(one)
        with scratch_folder(str(tmp_path)):
            assert one.exists()
            assert two.exists()


def test_by_default_it_is_in_the_folder_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder("") as folder:
        assert folder.parent == tmp_path


def test_a_relative_place_gives_an_absolute_path(tmp_path, monkeypatch):
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path)
    with scratch_folder("scratch") as folder:
        assert folder.is_absolute()  # programs run with it as their working folder
        assert folder.parent == tmp_path / "scratch"


def test_a_folder_whose_owner_was_killed_is_swept(tmp_path, owner):
    process, left = owner
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (left / "clip.y4m").exists()
    make_old(left)
    with scratch_folder(str(tmp_path)) as folder:
        assert os.listdir(tmp_path) == [folder.name]


def test_a_folder_whose_owner_lives_is_not_swept_however_old(tmp_path, owner):
    _, other = owner
    make_old(other)
    with scratch_folder(str(tmp_path)):
        pass
    assert (other / "clip.y4m").read_text() == "frames"


def test_a_young_folder_is_not_swept_for_its_owner_may_just_be_taking_the_lock(tmp_path):
    young = tmp_path / "vmafarm-young"
    young.mkdir()
    (young / ".lock").touch()
    make_old(young, seconds=5)
    with scratch_folder(str(tmp_path)):
        pass
    assert young.exists()
    make_old(young, seconds=120)
    with scratch_folder(str(tmp_path)):
        pass
    assert not young.exists()


def test_nothing_is_swept_where_the_file_system_has_no_locks(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with scratch_folder(str(tmp_path)) as one:
        make_old(one)
        with scratch_folder(str(tmp_path)):
            assert one.exists()


def test_other_folders_are_never_swept(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / ".lock").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".lock").touch()
    (tmp_path / "vmafarm-without-a-lock").mkdir()
    (tmp_path / "vmafarm-with-a-link").mkdir()
    (tmp_path / "vmafarm-with-a-link" / ".lock").symlink_to(tmp_path / "target" / ".lock")
    (tmp_path / "vmafarm-file").touch()
    before = sorted(os.listdir(tmp_path))
    for name in before:
        make_old(tmp_path / name)
    with scratch_folder(str(tmp_path)):
        pass
    assert sorted(os.listdir(tmp_path)) == before


def test_a_place_where_nothing_can_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "none", tmp_path / "file", Path("/proc")):
        with pytest.raises(UnavailableError) as caught, scratch_folder(str(place)):
            pass
        assert str(place) in caught.value.message
        assert "extract.scratch" in caught.value.hint


def test_a_place_without_permission_is_an_error_that_names_it(tmp_path, as_ordinary_user):
    tmp_path.chmod(0o500)
    with pytest.raises(UnavailableError, match="Permission denied"), scratch_folder(str(tmp_path)):
        pass


@pytest.mark.parametrize(
    ("number", "told", "hint"),
    [
        (errno.ENOSPC, "has no space left", "free space there, or choose another one"),
        (errno.EDQUOT, "is above this user's quota", "free space there, or choose another one"),
        (errno.EROFS, "cannot be used: Read-only file system", "choose another one"),
        (errno.EACCES, "cannot be used: Permission denied", "choose another one"),
        (errno.EIO, "cannot be used: Input/output error", "the disk, or the server"),
        (errno.EFBIG, "cannot be used: File too large", "raise the limit on the size of files (ulimit -f)"),
        (errno.ENOTDIR, "is not a folder", "choose another one"),
    ],
)
def test_what_is_wrong_with_the_folder_is_reported_with_its_name(tmp_path, number, told, hint):
    with (
        scratch_folder(str(tmp_path)) as folder,
        pytest.raises(UnavailableError) as caught,
        in_scratch(folder),
    ):
        raise OSError(number, os.strerror(number))  # a write that fails names no file
    assert caught.value.message.startswith(f"the scratch folder {tmp_path}")
    assert caught.value.message.endswith(told)
    assert caught.value.hint.startswith(hint)


def test_a_file_system_without_inodes_is_reported_as_such(tmp_path, monkeypatch):
    found = os.statvfs(tmp_path)
    full = os.statvfs_result((*found[:5], 1000, 0, 0, *found[8:]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(UnavailableError, match=r"has no inodes left \(df -i\)"), in_scratch(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_is_removed_while_in_use_is_reported_and_the_program_is_not_blamed(tmp_path):
    with scratch_folder(str(tmp_path)) as folder:
        check_scratch(folder)
        (folder / ".lock").unlink()
        folder.rmdir()
        gone = f"the scratch folder {folder} was removed while in use"
        for use in (
            lambda: check_scratch(folder),
            lambda: write_probe_clip(folder / "probe.y4m"),
            lambda: common_diagnosis(Finished(1, "Error opening output", False, 0.0, None, folder)),
            lambda: run_probe(Path(sys.executable), [sys.executable, "-c", ""], folder, None),
        ):
            with pytest.raises(UnavailableError) as caught:
                use()
            assert caught.value.message == gone


def test_a_disk_that_is_gone_with_the_folder_is_named_with_the_key(tmp_path):
    documented("the scratch folder is gone, or its disk")
    place = tmp_path / "scratch"
    place.mkdir()
    with scratch_folder(str(place)) as folder:
        place.rename(tmp_path / "unmounted")
        with pytest.raises(UnavailableError) as caught:
            run_probe(Path(sys.executable), [sys.executable, "-c", ""], folder, None)
        (tmp_path / "unmounted").rename(place)
    assert caught.value.message == f"the scratch folder {place} is gone"
    assert "extract.scratch" in caught.value.hint


def test_a_folder_that_can_no_longer_be_entered_is_reported_and_the_program_is_not_blamed(
    tmp_path, as_ordinary_user
):
    with scratch_folder(str(tmp_path)) as folder:
        folder.chmod(0)
        with pytest.raises(UnavailableError) as caught:
            run_probe(Path(sys.executable), [sys.executable, "-c", ""], folder, None)
        folder.chmod(0o700)
    assert caught.value.message == f"the scratch folder {tmp_path} cannot be used: Permission denied"
    assert "extract.scratch" in caught.value.hint


def test_a_full_folder_that_takes_no_probe_clip_is_named(tmp_path):
    (tmp_path / "probe.y4m").symlink_to("/dev/full")
    with pytest.raises(UnavailableError, match=f"the scratch folder {tmp_path} has no space left"):
        write_probe_clip(tmp_path / "probe.y4m")


@pytest.mark.parametrize("inner", ["", "mine"])
def test_a_place_where_any_user_could_replace_the_folder_is_refused(tmp_path, inner):
    """The sticky bit prevents it, as in /tmp."""
    shared = tmp_path / "shared"
    (shared / inner).mkdir(parents=True)
    shared.chmod(0o777)
    with pytest.raises(UnavailableError, match=f"{shared} is world-writable and ") as caught:
        scratch_folder(str(shared / inner)).__enter__()
    assert caught.value.hint.startswith(f"chmod +t {shared}, or ")
    assert [path.name for path in shared.rglob("*")] == [inner] * bool(inner)
    shared.chmod(0o1777)
    with scratch_folder(str(shared / inner)) as folder:
        assert folder.is_dir()
