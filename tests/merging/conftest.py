"""A run for tests of the merge."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.merge_helpers import Run, plan_run
from support.merges import CLIPS


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Ten clips in one slice, no rows yet."""
    return plan_run(tmp_path / "runs", CLIPS)
