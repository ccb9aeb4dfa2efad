"""Clips, and a look for processes that were left behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import media

Clips = Callable[[str], Path]


@pytest.fixture
def clip(clips: Clips) -> Path:
    """Six frames of 160x240: everything but float_ms_ssim takes them."""
    return clips("160x240.mkv")


@pytest.fixture
def y4m(clips: Clips, tmp_path: Path) -> Path:
    """Five frames of 480x270."""
    path = tmp_path / "five.y4m"
    media.run_ffmpeg("-i", clips("plain.mp4"), "-frames:v", "5", "-f", "yuv4mpegpipe", path)
    return path


@pytest.fixture(scope="session")
def small_y4m(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of 100x100."""
    return media.as_y4m(clips("100x100.mkv"), tmp_path_factory.mktemp("small") / "small.y4m")


@pytest.fixture
def no_child_left() -> Iterator[None]:
    """Whatever a test does, its programs are gone at its end."""
    before = _children()
    yield
    assert _children() <= before


def _children() -> set[str]:
    """Children of this process, zombies too."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[path.parent.name] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # ended meanwhile
    return {pid for pid, parent in parents.items() if parent == os.getpid()}
