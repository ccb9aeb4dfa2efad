"""Two published runs that are combined."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.combined import publish_run

K150K = {"a.mp4": 1.0, "b.mp4": 3.0, "ä.mp4": 5.0}
LIVE = {"b.mp4": 20.0, "c.mp4": 40.0, "B.mp4": 80.0}


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs; to be read, never changed."""
    root = tmp_path_factory.mktemp("published") / "runs"
    publish_run(root, "k150k", K150K)
    publish_run(root, "live", LIVE, plan="full", constant=("ssimulacra2",))
    return root


@pytest.fixture
def runs(published: Path, tmp_path: Path) -> Path:
    """A copy of it: runs k150k and live; b.mp4 is in both."""
    shutil.copytree(published, tmp_path / "runs")
    return tmp_path / "runs"
