"""A run with all kinds of files, for tests that spoil one of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.merge_helpers import Run
from support.verbs import moved, whole_run


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Made once, and copied."""
    return whole_run(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def run(sound: Run, tmp_path: Path) -> Run:
    """A copy of it."""
    shutil.copytree(sound.folder.root, tmp_path / "runs")
    return moved(sound, tmp_path / "runs")
