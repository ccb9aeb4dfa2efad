"""The configuration that a plan freezes."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pydantic

from vmafarm.common.errors import UsageError, show
from vmafarm.common.toml import MOST_BYTES, parse_toml
from vmafarm.common.utf8 import is_utf8
from vmafarm.config.geometry import check_geometry
from vmafarm.config.sections import PROGRAMS, Config, EngineSection, frozen, keys
from vmafarm.config.toml import to_toml
from vmafarm.disk import durable
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import read_regular_text
from vmafarm.disk.writers import shared_with, user_name, way_to
from vmafarm.run_folder.manifest_file import read_stated
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.permissions import is_trusted
from vmafarm.run_folder.provenance import read_provenance

LIMIT = "plan.limit"
DIGEST = "plan.manifest"
TEXT = "plan.features"
"""The text of the feature set; see `vmafarm.corpus.planned_set`."""

_HEAD = "# A copy for people of what manifest.parquet has; changes here have no effect.\n"
_HINT = "restore it from a copy, or plan again under another run.name"


def config_to_freeze(config: Config, before: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Return what a plan of this configuration freezes.

    Parameters
    ----------
    config
        The configuration.
    before
        What the plan so far has frozen: keys that the configuration does not set keep these values.

    Returns
    -------
    dict
        As `read_frozen_config` gives it, without the manifest's digest.

    Raises
    ------
    UsageError
        Clips are not given.
    """
    values = {
        key: before[key] if key in before and not _is_set(config, key) else value
        for key, value in frozen(config).items()
    }
    for key, what, option in (
        ("corpus.clips", "the folder of the clips", "--clips DIR, CLIPS=DIR with make"),
        ("corpus.scores", "the CSV file of scores", "--scores FILE, SCORES=FILE with make"),
    ):
        path = str(values[key])
        if not path and key == "corpus.scores":
            continue
        if not path:
            raise UsageError(f"{key} is not set, expected {what}", f"give it: {option}, or {key} in the file")
        # Without ".." but as the user names it: resolving links would tie the run to today's targets.
        values[key] = whole = os.path.abspath(path)  # noqa: PTH100
        if not is_utf8(whole):
            raise UsageError(f"{key} = {show(whole)}: expected a path in UTF-8", "rename it")
    return values | {LIMIT: 0}


def _is_set(config: Config, key: str) -> bool:
    section, _, name = key.partition(".")
    return name in getattr(config, section).model_fields_set


def tell_moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Lines on the keys whose new values determine no row, for example a corpus that was moved."""
    return [
        f"{key}: {show(repr(_was(before, key)))} -> {show(repr(value))}"
        for key, value in now.items()
        if key in keys() and _was(before, key) != value
    ]


def _was(before: Mapping[str, Any], key: str) -> Any:
    # A key that this version added was at its default when the run was planned.
    return before[key] if key in before else keys()[key].default


def refuse_other_engine(folder: RunFolder, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise UsageError if there are rows, and the configuration asks for another engine than theirs.

    Which program it is does not matter, nor where it is: an element compares what the program itself says.
    """
    found = read_provenance(folder.provenance)
    if found is None:
        return
    wrong = []
    for key, have, is_free in (
        ("engine.kind", found.engine, now["engine.kind"] == "auto"),
        ("engine.backend", found.backend, found.engine != "vmaf"),
    ):
        if not is_free and now[key] != have and now[key] != _was(before, key):
            wrong.append(f"  {key}: the rows are of {have!r}, now {now[key]!r}")
    if wrong:
        raise UsageError(
            "\n".join([f'the run "{folder.name}" has rows of another engine:', *wrong]),
            "leave these keys as they are, or choose another run.name",
        )


def refuse_other_geometry(folder: RunFolder, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise UsageError if there are rows, and their raw clips would be read in another way now."""
    key = "corpus.geometry"
    was = _was(before, key)
    if was and now[key] != was and read_provenance(folder.provenance) is not None:
        raise UsageError(
            f'the run "{folder.name}" has rows of raw clips read by {key} = {show(was)}, '
            f"now {show(now[key]) or 'none'}",
            "leave it as it is, or choose another run.name",
        )


def read_frozen_config(folder: RunFolder) -> dict[str, Any]:
    """Read the frozen configuration of a planned run.

    Returns
    -------
    dict
        ``section.key`` to value: what `vmafarm.config.sections.frozen` gives, clips and scores as absolute
        paths; ``plan.limit`` (0: all clips; earlier versions planned samples) and ``plan.manifest`` (its
        digest).

    Raises
    ------
    UsageError
        The run is not planned, or a file is not what `plan` wrote.
    UnavailableError
        The manifest cannot be read.
    """
    folder = replace(folder, sample=0)  # a sample has the configuration of its run
    return _read_embedded(folder) or _read_copy(folder)


def _read_embedded(folder: RunFolder) -> dict[str, Any] | None:
    """Read it from the manifest; None: an earlier version planned the run."""
    stated = read_stated(folder.manifest)
    if "configuration" not in stated:
        return None
    found = stated["configuration"]
    if not isinstance(found, dict) or LIMIT not in found:
        raise UsageError(f"{show(str(folder.manifest))}: its frozen configuration is damaged", _HINT)
    return found | {DIGEST: stated.get("manifest")}


def _read_copy(folder: RunFolder) -> dict[str, Any]:
    """Read it from config.toml, where earlier versions wrote it."""
    path = show(str(folder.config))
    try:
        document = parse_toml(read_regular_text(folder.config, MOST_BYTES))
    except PermissionError:
        raise denied(folder.config) from None
    except OSError as error:
        raise UsageError(f"cannot read the frozen configuration {path}: {error.strerror}", _HINT) from None
    except ValueError as error:
        raise UsageError(f"{path}: not the frozen configuration: {show(str(error))}", _HINT) from None
    found = {
        f"{section}.{key}": value
        for section, table in document.items()
        if isinstance(table, dict)
        for key, value in table.items()
    }
    if not {LIMIT, DIGEST} <= found.keys():  # the last ones that a plan writes
        raise UsageError(f"{path}: not the frozen configuration, or cut: [plan] is not whole", _HINT)
    return found


def keep_copy(folder: RunFolder) -> None:
    """Write config.toml for people if it differs from the manifest; a plan may have ended before that.

    Raises
    ------
    UsageError, UnavailableError
        The manifest is damaged, or the run folder cannot be written.
    """
    values = _read_embedded(folder)
    if values is None:
        return
    text = _HEAD + to_toml({key: value for key, value in values.items() if key != TEXT})
    with suppress(OSError, UnicodeDecodeError):
        if read_regular_text(folder.config, MOST_BYTES) == text:
            return
    durable.replace_text(folder.config, text)


def with_frozen(config: Config, *, to_start: bool = False) -> Config:
    """Replace the frozen keys of the configuration by what the plan of the run says.

    Parameters
    ----------
    config
        The configuration as the user gives it.
    to_start
        The engine is going to be run. Somebody else may have written the plan, so a program that it names
        and the user does not must be one that nobody else can change.

    Raises
    ------
    UsageError
        The run is not planned, its frozen configuration is damaged, or another user could change its engine.
    """
    found = with_values(config, read_frozen_config(config.folder))
    if to_start:
        _require_own_programs(config, found)
    return found


def with_plan(config: Config) -> Config:
    """The configuration of a planned run that is to go on: keys that are not set are those of its plan.

    Raises UsageError as `with_frozen`, whose `to_start` this implies.
    """
    found = with_values(config, config_to_freeze(config, read_frozen_config(config.folder)))
    _require_own_programs(config, found)
    # A feature set's file is read again only where the user names it.
    engine = EngineSection.model_construct(config.engine.model_fields_set, **dict(found.engine))
    return found.model_copy(update={"engine": engine})


def _require_own_programs(given: Config, found: Config) -> None:
    for name in PROGRAMS:
        program = getattr(found.engine, name)
        if program != getattr(given.engine, name):
            _require_own_program(program, f"engine.{name}", given)


def _require_own_program(program: str, key: str, config: Config) -> None:
    if os.sep not in program:
        return  # is looked for in this user's PATH
    path = Path(program).absolute()
    way = list(way_to(path))
    for part, status in way:
        is_next = part == way[-1][0] and not path.exists()  # what is not there yet would come in this folder
        if who := _who_could_change(part, status, config.run.trusted_owners, by_adding=is_next):
            raise UsageError(
                f'the plan of "{config.run.name}" says {key} = {show(program)}, and {show(who)} could change '
                f"{show(str(part))}: what lies there would be run as {show(user_name(os.geteuid()))}",
                f"if you trust it, name it yourself: --set {key}={show(program)}",
            )


def _who_could_change(part: Path, status: os.stat_result, trusted: Collection[str], by_adding: bool) -> str:
    """Name who else could replace the program; empty: nobody."""
    if not is_trusted(status.st_uid, trusted):
        return user_name(status.st_uid)
    if stat.S_ISLNK(status.st_mode):
        return ""
    # In a sticky folder (/tmp) others may add files, and move their own only.
    if status.st_mode & stat.S_ISVTX and not by_adding:
        return ""
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    return shared_with(part, status)


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with what a plan freezes, as `config_to_freeze` and `read_frozen_config` give it.

    Raises
    ------
    UsageError
        A value is not one that a plan freezes.
    """
    sections: dict[str, dict[str, Any]] = config.model_dump()
    for key in frozen(config).keys() & values.keys():  # other keys were never frozen, and may be forged
        section, _, name = key.partition(".")
        sections[section][name] = values[key]
    try:
        found = Config.model_validate(sections)
        check_geometry(found.corpus.geometry)
    except pydantic.ValidationError as error:
        wrong = f"{show('.'.join(map(str, error.errors()[0]['loc'])))} has a wrong type"
    except ValueError as error:
        wrong = f"corpus.geometry: {show(str(error))}"
    else:
        return found
    folder = replace(config.folder, sample=0)
    path = folder.manifest if "configuration" in read_stated(folder.manifest) else folder.config
    raise UsageError(f"{show(str(path))}: not the frozen configuration: {wrong}", _HINT)
