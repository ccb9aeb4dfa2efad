"""Fixtures of the tests of submissions."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs with a name that a shell must not split."""
    return tmp_path / "it's my runs"
