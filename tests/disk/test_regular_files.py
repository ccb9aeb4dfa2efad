"""Only regular files are read, and only so much of them: nothing waits, nothing fills the memory."""

from __future__ import annotations

import errno
import io
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from vmafarm.disk.regular_files import is_regular, kind_of, open_regular, read_regular, read_regular_text


def test_a_file_is_read_whole_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("é".encode() * 100_000)
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link") == (tmp_path / "file").read_bytes()
    assert read_regular_text(tmp_path / "link") == "é" * 100_000
    assert read_regular(tmp_path / "file", 200_000) == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("content", [b"", b"1", b"12"])
def test_a_file_of_next_to_nothing_is_read_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_regular(tmp_path / "file") == content


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


OTHERS = pytest.mark.parametrize(
    ("make", "number", "said"),
    [
        (os.mkfifo, errno.EINVAL, "this is a FIFO, expected a regular file"),
        (
            lambda path: path.symlink_to("/dev/zero"),
            errno.EINVAL,
            "this is a device, expected a regular",
        ),
        (Path.mkdir, errno.EINVAL, "this is a folder, expected a regular file"),
        (lambda path: path.symlink_to(path), errno.ELOOP, "Too many levels"),
        (_socket, errno.EINVAL, "this is a socket, expected a regular file"),
        (lambda path: None, errno.ENOENT, "No such file"),
    ],
    ids=["fifo", "device", "folder", "link to itself", "socket", "missing"],
)


@OTHERS
def test_anything_else_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], object], number: int, said: str
) -> None:
    path = tmp_path / "x"
    make(path)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=said) as caught:
        read_regular(path)
    assert caught.value.errno == number
    assert caught.value.filename in (str(path), path)
    assert len(os.listdir("/proc/self/fd")) == len(before), "the descriptor was given back"


@OTHERS
def test_the_kind_of_a_file_is_known_without_opening_it(
    tmp_path: Path, make: Callable[[Path], object], number: int, said: str
) -> None:
    path = tmp_path / "x"
    make(path)
    assert not is_regular(path)
    with os.scandir(tmp_path) as entries:
        kinds = [kind_of(entry) for entry in entries]
    if number == errno.ENOENT:
        assert kinds == []
    elif number == errno.ELOOP:
        assert kinds == [f"a broken link ({os.strerror(errno.ELOOP)})"]
    else:
        assert said.startswith(f"this is {kinds[0].replace('folder', 'a folder')}, ")


def test_a_file_and_a_link_to_it_are_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    with os.scandir(tmp_path) as entries:
        assert [kind_of(entry) for entry in entries] == ["file", "file"]
    assert is_regular(tmp_path / "file")
    assert is_regular(tmp_path / "link")


def test_a_file_without_read_permission_is_reported_as_such(tmp_path: Path, as_ordinary_user: None) -> None:
    (tmp_path / "x").touch(0)
    with pytest.raises(PermissionError):
        read_regular(tmp_path / "x")


@pytest.mark.parametrize("sizes", [(10, 20), (10, 11), (0, 5), (10, 3_000_000)])
def test_a_file_that_grows_as_it_is_read_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int]
) -> None:
    before, after = sizes
    (tmp_path / "x").write_bytes(b"1" * before)

    class Growing(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(size)
            if (tmp_path / "x").stat().st_size < after:
                with (tmp_path / "x").open("ab") as file:
                    file.write(b"2" * (after - before))
            return found or super().read(size)

    monkeypatch.setattr(
        "vmafarm.disk.regular_files.open", lambda *args, **_: Growing(*args[:2]), raising=False
    )
    assert read_regular(tmp_path / "x") == b"1" * before + b"2" * (after - before)
    assert read_regular(tmp_path / "x", after) == (tmp_path / "x").read_bytes()
    with pytest.raises(OSError, match=f"expected at most {after - 1:,}"):
        read_regular(tmp_path / "x", after - 1)


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match=r"1,099,511,627,776 bytes, expected at most 1,000: ") as caught:
        read_regular(path, 1000)
    assert caught.value.errno == errno.EFBIG
    with open_regular(path, None) as file:
        assert file.read(3) == b"\0\0\0"


def test_a_file_that_grows_beyond_the_bound_is_refused() -> None:
    # Files of /proc state a size of 0 whatever they hold.
    with pytest.raises(OSError, match="expected at most 10"):
        read_regular(Path("/proc/self/status"), 10)
