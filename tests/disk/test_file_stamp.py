"""A file that another one has taken the place of is noticed, whatever the two have in common."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from vmafarm.disk.file_stamp import Stamps


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a file"
    path.write_bytes(b"rows")
    return path


def test_unchanged_files_are_not_reported(file: Path):
    stamps = Stamps()
    assert stamps.read(file) == b"rows"
    file.read_bytes()
    assert stamps.changed() == []


def test_another_file_with_equal_bytes_and_time_is_reported(file: Path):
    stamps = Stamps()
    stamps.read(file)
    copy = file.with_name("copy")
    shutil.copy2(file, copy)
    os.replace(copy, file)
    assert stamps.changed() == [file]


@pytest.mark.parametrize(
    "change", [Path.unlink, lambda path: path.write_bytes(b"rowS"), lambda path: os.truncate(path, 2)]
)
def test_a_removed_truncated_or_rewritten_file_is_reported(file: Path, change):
    stamps = Stamps()
    stamps.read(file)
    change(file)
    assert stamps.changed() == [file]


def test_what_cannot_be_read_is_an_error_and_not_remembered(tmp_path: Path):
    stamps = Stamps()
    with pytest.raises(FileNotFoundError):
        stamps.read(tmp_path / "nothing")
    assert stamps.changed() == []
