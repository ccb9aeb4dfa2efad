"""Only regular files are read, and only so much of them: nothing waits, nothing fills the memory."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.regular_files import open_regular, read_regular, read_regular_text


def test_a_file_is_read_whole_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("é".encode() * 100_000)
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link") == (tmp_path / "file").read_bytes()
    assert read_regular_text(tmp_path / "link") == "é" * 100_000
    assert read_regular(tmp_path / "file", 200_000) == (tmp_path / "file").read_bytes()


def test_an_empty_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read_regular(tmp_path / "file") == b""


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


@pytest.mark.parametrize(
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
