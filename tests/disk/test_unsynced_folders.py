"""File systems that cannot sync folders: files are as durable as elsewhere, names may be lost."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from vmafarm.common.errors import UnavailableError
from vmafarm.disk import durable
from vmafarm.disk.durable import Appender, create_text, make_folder, replace_text, sync_folder

CANNOT_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
DISK_FAILS = (errno.EIO, errno.ENOSPC, errno.EDQUOT)


@pytest.fixture
def refuse(monkeypatch):
    """Have fsync of folders, or of files, refused; gives the list of what was synced."""
    synced = []

    def refuse_with(number, of_folders=True, real=os.fsync):
        def fsync(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode) == of_folders:
                raise OSError(number, os.strerror(number))
            real(descriptor)
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

        monkeypatch.setattr(os, "fsync", fsync)
        return synced

    return refuse_with


@pytest.mark.parametrize("number", CANNOT_SYNC, ids=errno.errorcode.get)
def test_where_folders_cannot_be_synced_everything_else_is_as_durable(tmp_path, refuse, number):
    synced = refuse(number)
    runs = tmp_path / "runs"
    make_folder(runs / "a")
    replace_text(runs / "b", "text")
    create_text(runs / "c", "text")
    appender = Appender(runs / "d")
    appender.append(b"one\n")
    appender.close()
    sync_folder(runs)
    assert sorted(os.listdir(runs)) == ["a", "b", "c", "d"]
    assert durable.may_lose_names(runs)
    assert len(synced) == 3
    assert synced[-1] == str(runs / "d")


@pytest.mark.parametrize("number", DISK_FAILS, ids=errno.errorcode.get)
def test_a_folder_whose_disk_fails_is_an_error(tmp_path, refuse, number):
    refuse(number)
    with pytest.raises(UnavailableError, match=os.strerror(number)):
        replace_text(tmp_path / "b", "text")
    assert not durable.may_lose_names(tmp_path)


@pytest.mark.parametrize("number", [*CANNOT_SYNC, *DISK_FAILS], ids=errno.errorcode.get)
def test_a_file_that_cannot_be_synced_is_an_error(tmp_path, refuse, number):
    refuse(number, of_folders=False)
    with pytest.raises(UnavailableError, match=os.strerror(number)):
        replace_text(tmp_path / "b", "text")
    assert os.listdir(tmp_path) == []
