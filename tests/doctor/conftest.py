"""Fixtures of the doctor's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vmafarm.doctor import Machine


@pytest.fixture
def no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH without SLURM and Apptainer."""
    (tmp_path / "bin").mkdir()
    for name in ("sh", "sleep"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A workstation: no job, no GPU, no image, whatever this test runs on."""
    return Machine({}, tmp_path / "driver", tmp_path / "build.json")
