"""Pages about runs without their figures, which are most of the work."""

from __future__ import annotations

import pytest
from markupsafe import Markup


def draw_nothing(patch: pytest.MonkeyPatch) -> None:
    """From here on a figure is an empty one."""
    patch.setattr("vmafarm.report.plots.draw", lambda *_: Markup("<svg/>"))
