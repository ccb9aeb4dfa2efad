"""The configuration from the options that all verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmafarm.config.sections import Config


def load_config(config_file: Path | None, overrides: list[str] | None, **values: object) -> Config:
    """The configuration in effect; see `vmafarm.config.load.load`."""
    from vmafarm.config.load import load

    path, settings = config_source(config_file, overrides)
    return load(path, settings, named=config_file is not None, **values)[0]


def config_source(config_file: Path | None, overrides: list[str] | None) -> tuple[Path | None, list[str]]:
    """The file of the configuration, named or not, and the settings over it."""
    default = Path("vmafarm.toml")
    return config_file or (default if os.path.lexists(default) else None), overrides or []
