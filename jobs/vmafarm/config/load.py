"""Reads the configuration: strict TOML to frozen objects; unknown keys are errors with the closest match."""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from vmafarm.common.errors import UsageError, show
from vmafarm.common.toml import MOST_BYTES, parse_toml
from vmafarm.common.utf8 import is_utf8
from vmafarm.config.geometry import FORM, check_geometry
from vmafarm.config.paths import PATHS, expand
from vmafarm.config.secret_keys import MAY_BE_SECRET
from vmafarm.config.sections import Config, flat, flatten, keys
from vmafarm.config.toml import to_toml
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import open_regular
from vmafarm.run_folder.permissions import require_own

_TEXT = 16 << 10
"""Characters of a value; Linux allows 4,096 in a path."""
_KEY = 200
_MESSAGES = 20
"""Most keys that one error explains; a file can have thousands of unknown ones."""


def load(
    path: Path | None = None, overrides: Sequence[str] = (), *, named: bool = True, **values: Any
) -> tuple[Config, dict[str, str]]:
    """Read and check the configuration.

    Parameters
    ----------
    path
        TOML file; None: only defaults.
    overrides
        ``section.key=value`` as on the command line; a value that is not TOML is a string.
    named
        The user named the file. False: it was found in the working folder, and must be the user's own.
    **values
        ``section__key=value`` from command line options; None is ignored.

    Returns
    -------
    config : Config
    origins : dict
        Where the value of each key comes from.

    Raises
    ------
    UsageError
        The file cannot be read, belongs to another user and was not named, or a key or value is invalid.
    """
    document: dict[str, Any] = {}
    origins = dict.fromkeys(keys(), "default")
    if path is not None:
        document = _read(path, named)
        # Before other values come in, which a shell has read.
        _expand(document, lambda _: str(path), variables=True)
        origins.update({key: str(path) for key in (*document, *flatten(document))})
    given = [(*_split_override(text), "--set") for text in overrides]
    given += [(k.replace("__", "."), v, "command line") for k, v in values.items() if v is not None]
    for key, value, origin in given:
        *sections, name = key.split(".")
        table: Any = document
        for section in sections:
            table = table.setdefault(section, {}) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table[name] = value
        origins[key] = origin
        for i in range(1, len(sections) + 1):
            above = ".".join(sections[:i])
            if origins.get(above, "default") == "default":
                origins[above] = origin
    _expand(document, lambda key: origins[key], variables=False)
    try:
        config = Config.model_validate(document)
    except pydantic.ValidationError as error:
        raise _explain(error, origins) from None
    for key, value in flat(config).items():
        for text in _texts(value):
            if not is_utf8(text):
                shown = "" if key in MAY_BE_SECRET else f" = {show(text)}"
                raise UsageError(f"{show(origins[key])}: {key}{shown}: expected UTF-8 text", "rename it")
            if "\0" in text or len(text) > _TEXT:
                raise UsageError(
                    f"{show(origins[key])}: {key} has {len(text):,} characters"
                    + (", a NUL among them" if "\0" in text else "")
                    + f": expected at most {_TEXT:,}, and no NUL"
                )
    root = os.path.abspath(config.run.root)  # noqa: PTH100 - links stay as they are
    if not is_utf8(root):
        raise UsageError(
            f"run.root is {show(root)}: expected UTF-8 text",
            "rename the folder in which you are, or choose another run.root",
        )
    if config.corpus.mos_min >= config.corpus.mos_max:
        raise UsageError(
            f"corpus.mos_min = {config.corpus.mos_min} ({show(origins['corpus.mos_min'])}): expected less "
            f"than corpus.mos_max = {config.corpus.mos_max} ({show(origins['corpus.mos_max'])})"
        )
    try:
        check_geometry(config.corpus.geometry)
    except ValueError as error:
        raise UsageError(
            f"corpus.geometry = {show(config.corpus.geometry)} ({show(origins['corpus.geometry'])}): "
            f"{show(str(error))}",
            f"for example {FORM}, or 1280x720 30fps 8bit",
        ) from None
    return config, {key: origins[key] for key in keys()}


def _expand(document: dict[str, Any], origin: Callable[[str], str], *, variables: bool) -> None:
    for key in PATHS:
        section, _, name = key.partition(".")
        table = document.get(section)
        if isinstance(table, dict) and name in table:
            table[name] = expand(key, table[name], origin(key), variables=variables)


def make_template() -> str:
    """Return a commented configuration file with all keys at their defaults."""
    comments = {}
    for key, field in keys().items():
        allowed = _allowed(field.annotation, field.metadata)
        comments[key] = f"{field.description} ({allowed})" if allowed else f"{field.description}"
    return to_toml(flat(Config()), above=comments)


def _read(path: Path, named: bool) -> dict[str, Any]:
    try:
        with open_regular(path, MOST_BYTES) as file:
            if not named:
                require_own(path, path.lstat(), os.fstat(file.fileno()))
            text = file.read(MOST_BYTES + 1).decode("utf-8-sig")
    except PermissionError:
        raise denied(path) from None
    except OSError as error:
        raise UsageError(
            f"cannot read the configuration {show(str(path))}: {error.strerror or error}",
            "name a file, or write one: vmafarm config --template > vmafarm.toml",
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{show(str(path))}: not UTF-8 text: {error}") from None
    try:
        return parse_toml(text)
    except ValueError as error:  # besides TOMLDecodeError: a number of 5,000 digits
        raise UsageError(f"{show(str(path))}: not TOML: {show(str(error))}") from None


def _split_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    section, _, name = key.partition(".")
    if len(key) > _KEY:
        raise UsageError(f"--set {show(key[:_KEY])}...: a key of {len(key):,} characters")
    if not (equals and section and name):
        raise UsageError(f"--set {show(text[:_TEXT])}: expected section.key=value", _suggest(key))
    try:
        document = parse_toml(f"value = {value}")
    except ValueError:
        return key, value
    parsed = document.pop("value")
    if document:  # the value continues with other keys on a second line
        return key, value
    field = keys().get(key)
    if field is not None and not isinstance(parsed, str) and _takes_text_only(field.annotation):
        return key, value  # --set corpus.missing_mos=nan means the word, not the number
    return key, parsed


def _texts(value: Any) -> list[str]:
    """All text within the value of a key."""
    if isinstance(value, Mapping):
        return [*value, *value.values()]
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def _takes_text_only(annotation: Any) -> bool:
    if typing.get_origin(annotation) is Literal:
        return all(isinstance(value, str) for value in typing.get_args(annotation))
    return annotation is str


def _explain(error: pydantic.ValidationError, origins: Mapping[str, str]) -> UsageError:
    messages = []
    hints = []
    fields = keys()
    seen = set()
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        # The longest prefix that is a key: pydantic reports each member of a union and each item of a list.
        parts = (".".join(location[:i]) for i in range(len(location), 0, -1))
        key = next((part for part in parts if part in fields), ".".join(location))
        if key in seen:
            continue
        seen.add(key)
        if len(seen) > _MESSAGES:
            messages.append("and more")
            break
        origin = show(
            next(origins[p] for i in range(len(location), 0, -1) if (p := ".".join(location[:i])) in origins)
        )
        if problem["type"] == "extra_forbidden":
            messages.append(f"{origin}: unknown key {show(key)}")
            hints.append(_suggest(key))
        elif key in fields:
            is_other = problem["type"] == "string_unicode"
            allowed = "UTF-8 text" if is_other else _allowed(fields[key].annotation, fields[key].metadata)
            shown = "" if key in MAY_BE_SECRET else f" = {_brief(problem['input'])}"
            close = get_close_matches(
                _brief(problem["input"]).strip("'"), re.findall(r'"(.*?)"', allowed), n=1
            )
            hints.append(f'did you mean "{close[0]}"?' if close else "")
            messages.append(
                f"{origin}: {key}{shown}: expected {allowed or 'text'} ({fields[key].description})"
            )
        else:
            # Without the value: it may be a secret in the wrong place.
            kind = _KINDS.get(type(problem["input"]), "a date or time")
            messages.append(f"{origin}: [{show(key)}] is {kind}, expected a table of keys")
    return UsageError("\n".join(messages), "\n".join(dict.fromkeys(hint for hint in hints if hint)))


_KINDS = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}


def _brief(value: Any) -> str:
    try:
        return f"{value!r:.200}"
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return "a number of thousands of digits"


def _suggest(key: str) -> str:
    known = [*keys(), *Config.model_fields]
    same_name = [k for k in known if key.rpartition(".")[2] == k.rpartition(".")[2]]
    close = same_name or get_close_matches(key, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    section = key.partition(".")[0]
    inside = [k for k in known if k.startswith(f"{section}.")]
    return "known keys: " + ", ".join(inside or Config.model_fields)


def _allowed(annotation: Any, rules: Sequence[Any] = ()) -> str:
    """Describe the allowed values; empty for any text."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return ", ".join(f'"{value}"' for value in typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_allowed(part) or "text" for part in typing.get_args(annotation))
    if origin is Annotated:
        base, *inner = typing.get_args(annotation)
        return _allowed(base, inner)
    bounds = [bound for rule in rules for bound in _bounds(rule)]
    if origin is list:
        return "a list of text"
    if origin is dict:
        values = typing.get_args(annotation)[1]
        return f"a table of {_allowed(values) or 'text'}"
    if annotation is bool:
        return "true or false"
    if annotation is str:
        return " ".join(["text", *bounds]) if bounds else ""
    return " ".join(["a whole number" if annotation is int else "a number", *bounds])


def _bounds(rule: Any) -> list[str]:
    words = {"ge": "from {}", "le": "to {}", "min_length": "of length {} or more", "pattern": "matching {}"}
    return [
        text.format(value)
        for part in (rule, *getattr(rule, "metadata", ()))
        for name, text in words.items()
        if (value := getattr(part, name, None)) is not None
    ]
