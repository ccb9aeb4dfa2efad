"""Values of the configuration that may be secrets, and documents of it without them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

from vmafarm.config.sections import Config, flat

MAY_BE_SECRET = ("slurm.environment", "slurm.setup", "slurm.extra", "slurm.merge.extra", "slurm.notify")
"""Keys of free text, which may hold tokens and passwords. Their values go into the job scripts in
``runs/<run>/logs`` (0700) and nowhere that others may read: no record, no command line, and no digest, from
which a short secret could be guessed."""


def for_jobs(config: Config) -> dict[str, Any]:
    """The configuration as a document for a job; its script has the values of `MAY_BE_SECRET`."""
    document = config.model_dump()
    for key in MAY_BE_SECRET:
        *sections, name = key.split(".")
        table = reduce(getitem, sections, document)
        table[name] = _without_secrets(table[name])
    return document


def recorded(config: Config) -> dict[str, Any]:
    """All keys as records hold them; for `MAY_BE_SECRET` the names of entries, or the length."""
    values = flat(config)
    for key in MAY_BE_SECRET:
        value = values[key]
        values[key] = sorted(value) if isinstance(value, Mapping) else len(value)
    return values


def _without_secrets(value: dict[str, Any] | list[str] | str) -> dict[str, Any] | list[str] | str:
    if isinstance(value, dict):
        return dict.fromkeys(value, "")
    return [""] * len(value) if isinstance(value, list) else ""
