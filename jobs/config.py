"""Strict TOML to frozen objects; unknown keys are errors that name the close match."""

from __future__ import annotations

import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from jobs.errors import UsageError, show
from jobs.settings import Config, flat, flatten, frozen, keys

__all__ = ["Config", "as_override", "flat", "frozen", "keys", "load", "template", "to_toml"]


def load(
    path: Path | None = None, overrides: Sequence[str] = (), **values: Any
) -> tuple[Config, dict[str, str]]:
    """Read and check the configuration.

    Parameters
    ----------
    path
        TOML file; None: defaults alone.
    overrides
        ``section.key=value`` as on the command line; the value is TOML, or else a bare string.
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
        The file cannot be read, or a key or value is not one of the allowed.
    """
    document: dict[str, Any] = {}
    origins = dict.fromkeys(keys(), "default")
    if path is not None:
        document = _read(path)
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
        if isinstance(value, str) and not _is_utf8(value):
            raise UsageError(f"{show(origins[key])}: {key} = {show(value)}: expected UTF-8 text", "rename it")
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
    return f"{key}={_toml_value(value)}"


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
        lines += [*comment(key), f"{name} = {_toml_value(value)}"]
    return [*lines, ""]


def _toml_character(character: str) -> str:
    if character in '\\"':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{"".join(map(_toml_character, value))}"'
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        items = (f"{_toml_value(key)} = {_toml_value(item)}" for key, item in value.items())
        return f"{{ {', '.join(items)} }}" if value else "{}"
    return repr(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"cannot read the configuration {show(str(path))}: {error.strerror}",
            "write one with: vmafarm config --template > vmafarm.toml",
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{show(str(path))}: not UTF-8 text: {error}") from None
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # besides TOMLDecodeError: a number of 5,000 digits
        raise UsageError(f"{show(str(path))}: not TOML: {error}") from None


def _split_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    section, _, name = key.partition(".")
    if not (equals and section and name):
        raise UsageError(f"--set {show(text)}: expected section.key=value", _suggest(key))
    try:
        document = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        return key, value
    parsed = document.pop("value")
    if document:  # a value that goes on with other keys in a second line
        return key, value
    field = keys().get(key)
    if field is not None and not isinstance(parsed, str) and _takes_text_only(field.annotation):
        return key, value  # --set corpus.missing_mos=nan means the word, not the number
    return key, parsed


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of the command line that are not, as surrogates (PEP 383)
        return False
    return True


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
        origin = show(
            next(origins[p] for i in range(len(location), 0, -1) if (p := ".".join(location[:i])) in origins)
        )
        if problem["type"] == "extra_forbidden":
            messages.append(f"{origin}: unknown key {show(key)}")
            hints.append(_suggest(key))
        elif key in fields:
            allowed = _allowed(fields[key].annotation, fields[key].metadata)
            close = get_close_matches(str(problem["input"]), re.findall(r'"(.*?)"', allowed), n=1)
            hints.append(f'did you mean "{close[0]}"?' if close else "")
            messages.append(
                f"{origin}: {key} = {problem['input']!r:.200}: expected {allowed or 'text'} "
                f"({fields[key].description})"
            )
        else:
            messages.append(f"{origin}: [{show(key)}] = {problem['input']!r:.200}: expected a table of keys")
    return UsageError("\n".join(messages), "\n".join(hint for hint in hints if hint))


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
