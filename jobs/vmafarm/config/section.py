"""What the sections of the configuration share: their base class and bounds."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

MEMORY = r"^\d{1,6}(\.\d{1,9})?\s*[KMGT]i?B$"  # 999,999 TB fit into 64 bits
MANY = 1_000_000_000
"""A larger number is a typing error."""
YEAR = 366 * 24 * 60
"""Minutes."""


class Section(BaseModel):
    """A section: read-only, without unknown keys and without conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
