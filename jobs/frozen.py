"""The configuration that a plan has frozen."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import Any

import pydantic

from jobs.config import Config, frozen
from jobs.errors import UsageError, show
from jobs.manifest import load_manifest
from jobs.regular_files import MOST_BYTES_OF_DOCUMENT, read_regular_text
from jobs.run_folder import RunFolder

LIMIT = "plan.limit"
DIGEST = "plan.manifest"


def freeze(config: Config, limit: int | None) -> dict[str, Any]:
    """What a plan of this configuration freezes.

    Parameters
    ----------
    config
        The configuration.
    limit
        Number of clips that are asked for; None: all.

    Returns
    -------
    dict
        As `read_frozen` gives it, without the manifest's digest.

    Raises
    ------
    UsageError
        Clips or scores are not given.
    """
    values = frozen(config)
    for key, what, option in (
        ("corpus.clips", "the folder of the clips, or an image of it", "--clips DIR, CLIPS=DIR with make"),
        ("corpus.scores", "the CSV file of scores", "--scores FILE, SCORES=FILE with make"),
    ):
        path = str(values[key])
        if not path:
            raise UsageError(f"{key} is not set, expected {what}", f"give it: {option}, or {key} in the file")
        try:
            path.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{key} = {show(path)}: expected a path in UTF-8", "rename it") from None
        # Without ".." but as the user names it: resolving links would tie the run to today's targets.
        values[key] = os.path.abspath(path)  # noqa: PTH100
    return values | {LIMIT: limit or 0}


def read_frozen(folder: RunFolder) -> dict[str, Any]:
    """Read the frozen configuration of a planned run.

    Returns
    -------
    dict
        ``section.key`` to value: what `jobs.config.frozen` gives, clips and scores as absolute
        paths; ``plan.limit`` (0: all clips) and ``plan.manifest`` (its digest).

    Raises
    ------
    UsageError
        The file is missing or is not what `plan` wrote.
    """
    hint = "restore it from a copy, or plan again under another run.name"
    path = show(str(folder.config))
    try:
        document = tomllib.loads(read_regular_text(folder.config, MOST_BYTES_OF_DOCUMENT))
    except OSError as error:
        raise UsageError(f"cannot read the frozen configuration {path}: {error.strerror}", hint) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not the frozen configuration: {show(str(error))}", hint) from None
    found = {
        f"{section}.{key}": value
        for section, table in document.items()
        if isinstance(table, dict)
        for key, value in table.items()
    }
    if not {"plan.limit", "plan.manifest"} <= found.keys():  # the last ones that a plan writes
        raise UsageError(f"{path}: not the frozen configuration, or cut: [plan] is not whole", hint)
    return found


def with_frozen(config: Config) -> Config:
    """Take what a planned run has frozen in place of what the configuration says now.

    Raises
    ------
    UsageError
        The run is not planned, or its frozen configuration is damaged.
    """
    if not os.path.exists(config.folder.manifest):  # noqa: PTH110 - no permission is no manifest, too
        load_manifest(config.folder)  # says why; else whoever needs the manifest reads it
    try:
        return with_values(config, read_frozen(config.folder))
    except pydantic.ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise UsageError(
            f"{show(str(config.folder.config))}: not the frozen configuration: {show(key)} has a wrong type",
            "restore it from a copy, or plan again under another run.name",
        ) from None


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with what a plan freezes, as `freeze` and `read_frozen` give it.

    Raises
    ------
    pydantic.ValidationError
        A value has a wrong type.
    """
    sections: dict[str, dict[str, Any]] = config.model_dump()
    for key, value in values.items():
        section, _, name = key.partition(".")
        if name in sections.get(section, {}):
            sections[section][name] = value
    return Config.model_validate(sections)
