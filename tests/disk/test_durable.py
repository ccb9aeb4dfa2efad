"""Durable I/O: all or nothing, and in the right order."""

from __future__ import annotations

import errno
import os
import resource
import stat
import time
from pathlib import Path

import pytest

from vmafarm.common.errors import IncompleteError, UnavailableError, to_do
from vmafarm.disk import durable
from vmafarm.disk.drafts import LockedDraft, sweep
from vmafarm.disk.durable import (
    Appender,
    create_text,
    make_folder,
    publish,
    remove,
    replace,
    replace_text,
    sync_folder,
)
from vmafarm.disk.syscalls import System

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE)


@pytest.fixture
def calls(monkeypatch):
    """What reaches the disk, in order: ("write" | "fsync" | "rename", name, bytes in the file)."""
    seen = []

    def name(descriptor):
        return Path(f"/proc/self/fd/{descriptor}").readlink().name

    def write(descriptor, data, real=os.write):
        written = real(descriptor, data)
        seen.append(("write", name(descriptor), os.fstat(descriptor).st_size))
        return written

    def fsync(descriptor, real=os.fsync):
        status = os.fstat(descriptor)
        size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
        seen.append(("fsync", name(descriptor), size))
        real(descriptor)

    def rename(source, destination, real=os.replace):
        seen.append(("rename", Path(destination).name, Path(source).stat().st_size))
        real(source, destination)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    return seen


def failing(number):
    """A stand-in for a call of the system that fails."""

    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_is_synced_before_it_gets_its_name_and_the_folder_after(tmp_path, calls):
    replace_text(tmp_path / "a.txt", "twelve bytes")
    temporary = calls[0][1]
    assert calls == [
        ("write", temporary, 12),
        ("fsync", temporary, 12),
        ("rename", "a.txt", 12),
        ("fsync", tmp_path.name, 0),
    ]
    assert temporary != "a.txt"


def test_a_file_of_somebody_else_is_synced_before_it_is_published(tmp_path, calls):
    (tmp_path / "b.tmp").write_bytes(b"rows")
    publish(tmp_path / "b.tmp", tmp_path / "b")
    assert calls == [("fsync", "b.tmp", 4), ("rename", "b", 4), ("fsync", tmp_path.name, 0)]
    assert (tmp_path / "b").read_bytes() == b"rows"
    assert not (tmp_path / "b.tmp").exists()


def test_a_record_is_synced_before_append_returns_and_so_is_the_name_of_its_file(tmp_path, calls):
    appender = Appender(tmp_path / "j")
    assert calls == [("fsync", tmp_path.name, 0)]
    calls.clear()
    appender.append(b"one\n")
    assert calls == [("write", "j", 4), ("fsync", "j", 4)]
    appender.close()


def test_a_hint_is_written_and_not_synced(tmp_path, calls):
    appender = Appender(tmp_path / "h", durable=False)
    appender.append(b"one\n")
    appender.close()
    assert calls == [("write", "h", 4)]


def test_names_are_synced_when_asked_for(tmp_path, calls):
    sync_folder(tmp_path)
    assert calls == [("fsync", tmp_path.name, 0)]


def test_every_new_folder_on_the_way_is_made_and_its_name_synced(tmp_path, calls):
    above = ("fsync", tmp_path.parent.name, 0)
    make_folder(tmp_path / "a" / "b" / "c")
    assert calls == [above, ("fsync", tmp_path.name, 0), ("fsync", "a", 0), ("fsync", "b", 0)]


def test_the_name_of_a_folder_that_is_there_is_synced_who_made_it_may_have_been_killed(tmp_path, calls):
    (tmp_path / "a").mkdir()
    make_folder(tmp_path / "a")
    assert calls == [("fsync", tmp_path.name, 0)]


@pytest.mark.parametrize("mode", [0o311, 0o511])
def test_a_folder_inside_one_that_others_created_can_be_used(tmp_path, calls, mode, as_ordinary_user):
    """It need not be readable, nor on a file system that syncs names: what is not ours is not synced."""
    (tmp_path / "theirs" / "a").mkdir(parents=True)
    (tmp_path / "theirs").chmod(mode)
    try:
        make_folder(tmp_path / "theirs" / "a")
        make_folder(tmp_path / "theirs" / "a" / "b")
    finally:
        (tmp_path / "theirs").chmod(0o700)
    assert calls == [("fsync", "a", 0)]


def test_the_name_of_a_mount_is_not_synced(calls):
    make_folder(Path("/proc"))
    assert calls == []


def test_a_relative_folder_can_be_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_folder(Path("a/b"))
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a"
    path.write_text("old, and longer")
    replace(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_what_is_written_to_a_large_file_is_not_kept_in_memory(tmp_path):
    part = b"x" * (1 << 20)
    with durable.Draft(tmp_path / "a") as draft:
        for count in range(1, 4):
            assert draft.write(memoryview(part)) == len(part)
            assert draft.path.stat().st_size == count * len(part)
        assert draft.writable()
        draft.write(b"end")
        draft.publish()
    assert (tmp_path / "a").read_bytes() == 3 * part + b"end"


def test_a_draft_is_synced_once_and_closed_twice(tmp_path, calls):
    draft = durable.Draft(tmp_path / "a")
    draft.write(b"text")
    draft.sync()
    draft.sync()
    assert [kind for kind, *_ in calls] == ["write", "fsync"]
    draft.write(b" and more")  # is synced, too
    draft.publish()
    assert [kind for kind, *_ in calls] == ["write", "fsync", "write", "fsync", "rename", "fsync"]
    draft.close()
    with (tmp_path / "b").open("wb") as reused:
        draft.close()
        reused.write(b"the number of the descriptor is another file's now")
    assert draft.closed
    os.fstat(1)
    assert (tmp_path / "a").read_bytes() == b"text and more"


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_write_that_fails_half_way_changes_nothing(tmp_path, there, error):
    path = tmp_path / "a"
    if there:
        path.write_text("old")

    def write(file):
        file.write(b"x" * 100_000)
        raise error

    with pytest.raises(error):
        replace(path, write)
    assert os.listdir(tmp_path) == (["a"] if there else [])
    assert not there or path.read_text() == "old"


@pytest.mark.parametrize("number", [*NO_SPACE, *NOT_WRITABLE])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_old_file_and_says_what_to_do(tmp_path, monkeypatch, number, call):
    path = tmp_path / "a\n.txt"
    path.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(number))
        with pytest.raises(UnavailableError) as caught:
            replace_text(path, "new")
    assert r"a\n.txt" in caught.value.message
    assert os.strerror(number) in caught.value.message
    if number in NO_SPACE:
        remedy = "free space (or quota, or inodes: df -h, df -i), then run the same"
    elif number in (errno.EIO, errno.ESTALE, errno.EROFS):
        remedy = to_do(number)
    else:
        remedy = "make the run folder writable, or choose another one (run.root)"
    assert caught.value.hint.startswith(remedy)
    assert "finished so far is kept" in caught.value.hint
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_real_limit_of_the_system_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UnavailableError, match="File too large"):
            replace(path, lambda file: file.write(b"x" * 10_000))
        appender = Appender(tmp_path / "j")
        appender.append(b"1" * 4000 + b"\n")
        with pytest.raises(UnavailableError, match="File too large"):
            appender.append(b"2" * 4000 + b"\n")  # 95 bytes of it fit
        appender.append(b"3\n")
        appender.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old"
    assert (tmp_path / "j").read_bytes() == b"1" * 4000 + b"\n3\n"
    assert sorted(os.listdir(tmp_path)) == ["a", "j"]


@pytest.mark.parametrize(
    "use",
    [
        lambda folder: replace_text(folder / "a", "x"),
        lambda folder: Appender(folder / "a"),
        lambda folder: publish(folder / "a", folder / "b"),
    ],
)
def test_a_folder_that_has_vanished_is_an_error_that_names_it(tmp_path, use):
    with pytest.raises(UnavailableError) as caught:
        use(tmp_path / "gone")
    assert str(tmp_path / "gone") in caught.value.message


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it():
    with pytest.raises(UnavailableError, match="/proc/none"):
        make_folder(Path("/proc/none/of/this"))


@pytest.mark.parametrize("below", ["file", "file/below"])
def test_a_file_where_a_folder_should_be_is_left_to_the_caller(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises((FileExistsError, NotADirectoryError)):
        make_folder(tmp_path / below)


@pytest.mark.parametrize("written", [0, 1, 5])
def test_a_record_that_could_not_be_written_whole_is_cut_off_again(tmp_path, monkeypatch, written):
    appender = Appender(tmp_path / "j")
    appender.append(b"first\n")

    def short(descriptor, data, real=os.write, parts=iter([written, None])):  # noqa: B008
        part = next(parts)
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[:part])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short)
        with pytest.raises(UnavailableError, match="no space left"):
            appender.append(b"second\n")
    assert (tmp_path / "j").read_bytes() == b"first\n", "at once: there may be no next record"
    appender.append(b"third\n")
    appender.close()
    assert (tmp_path / "j").read_bytes() == b"first\nthird\n"


def test_a_record_that_could_not_be_synced_is_not_there(tmp_path, monkeypatch):
    appender = Appender(tmp_path / "j")
    appender.append(b"first\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(UnavailableError, match="cannot write"):
            appender.append(b"second\n")
    assert (tmp_path / "j").read_bytes() == b"first\n", "at once: there may be no next record"
    appender.append(b"third\n")
    appender.close()
    appender.close()
    os.fstat(1)
    assert (tmp_path / "j").read_bytes() == b"first\nthird\n"


def test_a_stump_that_cannot_be_cut_off_is_cut_off_before_the_next_record(tmp_path, monkeypatch):
    appender = Appender(tmp_path / "j")
    appender.append(b"first\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.ENOSPC))
        patch.setattr(os, "ftruncate", failing(errno.EIO))
        for _ in range(2):
            with pytest.raises(UnavailableError):
                appender.append(b"second\n")
    assert (tmp_path / "j").read_bytes() == b"first\nsecond\n"
    appender.append(b"third\n")
    appender.close()
    assert (tmp_path / "j").read_bytes() == b"first\nthird\n"


def test_of_two_that_create_a_file_the_first_one_has_its_text(tmp_path):
    create_text(tmp_path / "a", "first")
    with pytest.raises(FileExistsError):
        create_text(tmp_path / "a", "second")
    assert (tmp_path / "a").read_text() == "first"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_hard_links_a_new_file_is_created_and_an_existing_one_stays(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "link", failing(number))
    create_text(tmp_path / "a", "first")
    assert (tmp_path / "a").read_text() == "first"


@pytest.mark.parametrize("missing", [["link"], ["link", "renameat2"]])
def test_a_file_is_created_where_a_file_system_lacks_links_or_more(tmp_path, monkeypatch, missing):
    class Poor(System):
        pass

    for name in missing:
        call = "rename_first" if name == "renameat2" else name
        monkeypatch.setattr(Poor, call, failing(errno.EINVAL if name == "renameat2" else errno.EPERM))
    monkeypatch.setattr(durable, "system", Poor())
    create_text(tmp_path / "a", "first")
    with pytest.raises(FileExistsError):
        create_text(tmp_path / "a", "second")
    assert (tmp_path / "a").read_text() == "first"
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_that_fails_for_another_reason_puts_no_file_in_place(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", failing(errno.EIO))
    with pytest.raises(UnavailableError, match="cannot write"):
        create_text(tmp_path / "a", "first")
    assert os.listdir(tmp_path) == []


def test_a_rename_that_must_be_the_first_keeps_what_is_there(tmp_path):
    (tmp_path / "one").write_text("one")
    (tmp_path / "two").write_text("two")
    System().rename_first(tmp_path / "one", tmp_path / "taken")
    with pytest.raises(FileExistsError):
        System().rename_first(tmp_path / "two", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "one"
    assert sorted(os.listdir(tmp_path)) == ["taken", "two"]


def test_drafts_that_were_left_behind_go_once_nobody_can_be_writing_them(tmp_path):
    for name, age in (
        (".t.parquet.1.ab.tmp", 3700),
        (".t.parquet.2.ab.tmp", 60),
        (".u.parquet.1.ab.tmp", 3700),
    ):
        (tmp_path / name).touch()
        at = time.time() - age
        os.utime(tmp_path / name, (at, at))
    sweep(tmp_path / "t.parquet")
    assert sorted(os.listdir(tmp_path)) == [".t.parquet.2.ab.tmp", ".u.parquet.1.ab.tmp"]


def test_a_draft_that_is_open_is_left_however_long_nothing_was_written_to_it(tmp_path):
    with LockedDraft(tmp_path / "t.parquet") as draft:
        draft.write(b"rows")
        os.utime(draft.path, (0, 0))
        sweep(tmp_path / "t.parquet")
        draft.publish()
    assert (tmp_path / "t.parquet").read_bytes() == b"rows"


def test_a_draft_that_was_removed_is_one_message_that_names_it(tmp_path):
    with durable.Draft(tmp_path / "a\n") as draft:
        draft.write(b"rows")
        draft.sync()
        draft.path.unlink()
        with pytest.raises(
            IncompleteError, match=r"the draft of .*a\\n was removed while it was being written"
        ) as caught:
            draft.publish()
    assert caught.value.hint.endswith("run the same command again")


def test_an_error_of_a_draft_that_is_there_is_what_it_is(tmp_path):
    with durable.Draft(tmp_path / "a") as draft, pytest.raises(ZeroDivisionError), draft.there():
        raise ZeroDivisionError


def test_a_record_that_the_system_takes_in_parts_is_whole(tmp_path, monkeypatch):
    appender = Appender(tmp_path / "j")
    monkeypatch.setattr(os, "write", lambda fd, data, real=os.write: real(fd, data[:3]))
    appender.append(b"0123456789\n")
    appender.append(b"next\n")
    appender.close()
    assert (tmp_path / "j").read_bytes() == b"0123456789\nnext\n"


def test_what_stood_in_a_file_stays_when_it_is_opened_again(tmp_path, monkeypatch):
    (tmp_path / "j").write_bytes(b"before\n")
    appender = Appender(tmp_path / "j")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.ENOSPC))
        with pytest.raises(UnavailableError):
            appender.append(b"lost\n")
    appender.append(b"after\n")
    appender.close()
    appender.close()
    assert (tmp_path / "j").read_bytes() == b"before\nafter\n"


def test_removing_twice_is_no_error(tmp_path):
    (tmp_path / "a").write_text("")
    remove(tmp_path / "a")
    remove(tmp_path / "a")
    assert os.listdir(tmp_path) == []


def test_no_descriptor_is_left_open(tmp_path):
    before = os.listdir("/proc/self/fd")
    for _ in range(20):
        replace_text(tmp_path / "a", "x")
        sync_folder(tmp_path)
        (tmp_path / "t").touch()
        publish(tmp_path / "t", tmp_path / "b")
        Appender(tmp_path / "j").close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("reader", [False, True])
def test_a_fifo_where_records_should_go_is_an_error_and_no_wait(tmp_path, reader):
    path = tmp_path / "w.journal"
    os.mkfifo(path)
    other = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if reader else -1
    before = os.listdir("/proc/self/fd")
    with pytest.raises(UnavailableError, match="this is a FIFO, expected" if reader else "No such device"):
        Appender(path)
    assert len(os.listdir("/proc/self/fd")) == len(before), "the descriptor was given back"
    with pytest.raises(UnavailableError, match="this is a FIFO, expected a regular file"):
        publish(path, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    if reader:
        os.close(other)


def test_a_name_is_reserved_once(tmp_path):
    durable.reserve(tmp_path / "name")
    assert (tmp_path / "name").read_bytes() == b""
    with pytest.raises(FileExistsError):
        durable.reserve(tmp_path / "name")


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    "use", [lambda path: Appender(path).close(), lambda path: publish(path, path.with_name("x"))]
)
def test_a_link_in_the_place_of_a_file_leads_to_no_other_file(tmp_path, use, there):
    other = tmp_path / "other"
    if there:
        other.write_text("mine")
    path = tmp_path / "w.journal"
    path.symlink_to(other)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UnavailableError, match="this is a link, expected a regular file") as caught:
        use(path)
    assert "remove the link that stands there" in caught.value.hint
    assert sorted(tmp_path.iterdir()) == before
    assert not there or other.read_text() == "mine"


def test_folders_may_be_links(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    Appender(tmp_path / "run" / "w.journal").close()
    replace_text(tmp_path / "run" / "a", "x")
    sync_folder(tmp_path / "run")
    assert (tmp_path / "disk" / "w.journal").exists()
