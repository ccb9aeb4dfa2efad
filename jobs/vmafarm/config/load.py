"""Strict TOML to frozen objects; unknown keys are errors that name the close match."""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from vmafarm.common.errors import UsageError, show
from vmafarm.common.utf8 import is_utf8
from vmafarm.config.sections import MAY_BE_SECRET, Config, flat, flatten, frozen, keys
from vmafarm.config.toml import MOST_BYTES, parse_toml, toml_value
from vmafarm.disk.regular_files import open_regular
from vmafarm.run_folder.permissions import require_own

_TEXT = 16 << 10
"""Characters of a value; Linux allows 4,096 in a path."""
_KEY = 200
_MESSAGES = 20
"""So many keys are explained; a file can have thousands that are none."""

__all__ = ["Config", "as_override", "flat", "frozen", "keys", "load", "template", "to_toml"]


def load(
    path: Path | None = None, overrides: Sequence[str] = (), *, named: bool = True, **values: Any
) -> tuple[Config, dict[str, str]]:
    """Read and check the configuration.

    Parameters
    ----------
    path
        TOML file; None: defaults alone.
    overrides
        ``section.key=value`` as on the command line; the value is TOML, or else a bare string.
    named
        The user has named the file. False: it lies where it is looked for, and must be the user's own.
    **values
        ``section__key=value`` from options of the command line; None is left out.

    Returns
    -------
    config : Config
    origins : dict
        Key to where its value comes from.

    Raises
    ------
    UsageError
        The file cannot be read, is another user's though nobody named it, or a key or value is not one
        of the allowed.
    """
    document: dict[str, Any] = {}
    origins = dict.fromkeys(keys(), "default")
    if path is not None:
        document = _read(path, named)
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
    return config, {key: origins[key] for key in keys()}


def to_toml(values: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> str:
    """Keys and values as TOML, one table a section; with `origins`, where each value comes from."""
    lines = _toml_lines(values, lambda key: [])
    if origins is None:
        return "\n".join(lines)
    section = ""
    for i, line in enumerate(lines):
        if line.startswith("["):
            section = line[1:-1]
        elif " = " in line:
            key = f"{section}.{line.split(' = ')[0]}"
            lines[i] = f"{line}  # {show(origins[key])}"
    return "\n".join(lines)


def as_override(key: str, value: Any) -> str:
    """A key and its value as ``load`` takes them in `overrides`."""
    return f"{key}={toml_value(value)}"


def template() -> str:
    """A commented configuration file with every key at its default."""
    fields = keys()

    def comment(key: str) -> list[str]:
        allowed = _allowed(fields[key].annotation, fields[key].metadata)
        return [f"# {fields[key].description}" + (f" ({allowed})" if allowed else "")]

    return "\n".join(_toml_lines(flat(Config()), comment))


def _toml_lines(values: Mapping[str, Any], comment: typing.Callable[[str], list[str]]) -> list[str]:
    lines: list[str] = []
    current = ""
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        if section != current:
            lines += [*([""] if lines else []), f"[{section}]"]
            current = section
        lines += [*comment(key), f"{name} = {toml_value(value)}"]
    return [*lines, ""]


def _read(path: Path, named: bool) -> dict[str, Any]:
    try:
        with open_regular(path, MOST_BYTES) as file:
            if not named:
                require_own(path, path.lstat(), os.fstat(file.fileno()))
            text = file.read(MOST_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"cannot read the configuration {show(str(path))}: {error.strerror or error}",
            "name a file; write one with: vmafarm config --template > vmafarm.toml",
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
    if document:  # a value that goes on with other keys in a second line
        return key, value
    field = keys().get(key)
    if field is not None and not isinstance(parsed, str) and _takes_text_only(field.annotation):
        return key, value  # --set corpus.missing_mos=nan means the word, not the number
    return key, parsed


def _texts(value: Any) -> list[str]:
    """All text in the value of a key."""
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
        # The longest beginning that is a key: each member of a union complains, and each item of a list.
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
            # Without the value: what stands in the wrong place may be secret, too.
            kind = _KINDS.get(type(problem["input"]), "a date or time")
            messages.append(f"{origin}: [{show(key)}] is {kind}, expected a table of keys")
    return UsageError("\n".join(messages), "\n".join(dict.fromkeys(hint for hint in hints if hint)))


_KINDS = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}


def _brief(value: Any) -> str:
    try:
        return f"{value!r:.200}"
    except ValueError:  # an integer of more digits than Python writes
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
    """Allowed values in words, or "" for any text."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return ", ".join(f'"{value}"' for value in typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_allowed(part) for part in typing.get_args(annotation))
    if origin is Annotated:
        base, *inner = typing.get_args(annotation)
        return _allowed(base, inner)
    bounds = [bound for rule in rules for bound in _bounds(rule)]
    if origin is list:
        return "a list of text"
    if origin is dict:
        return "a table of text"
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
