"""The run that most queries are asked of."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.merge_helpers import Run
from support.queries import query_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """As `query_run` makes it."""
    return query_run(tmp_path)
