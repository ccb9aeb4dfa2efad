"""The version of the package, and the files in it that are not Python."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"

PACKAGE = Path(__file__).resolve().parents[1]

CHECKOUT = PACKAGE.parents[1]
"""Where the package lies in jobs/ of a checkout; else some folder."""


def data_folder(name: str) -> Path:
    """A folder of such files: of an installed wheel its package data, of a checkout the one beside jobs/."""
    installed = PACKAGE / "_data" / name
    return installed if installed.is_dir() else CHECKOUT / name
