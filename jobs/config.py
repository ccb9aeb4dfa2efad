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
from pydantic import BaseModel, ConfigDict, Field

from jobs.errors import UsageError, show
from jobs.run_folder import RunFolder


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RunSection(_Section):
    """Which run, and where it lies."""

    name: str = Field(
        "k150k",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        description="name of the run; letters, digits, dot, dash, underscore",
    )
    root: str = Field("runs", min_length=1, description="folder of all runs and of the final tables")


class CorpusSection(_Section):
    """The clips and their opinion scores."""

    clips: str = Field("", description="folder of the clips, searched with its subfolders")
    scores: str = Field("", description="CSV file with a header: clip name and mean opinion score")
    name_column: str = Field("", description="its column of names; empty: clip_name, video_name, ...")
    mos_column: str = Field("", description="its column of scores; empty: mos, else video_score, ...")
    mos_min: float = Field(1.0, description="lowest score that is possible")
    mos_max: float = Field(5.0, description="highest score that is possible")
    missing_mos: Literal["error", "skip", "nan"] = Field(
        "error", description="a clip without a score: refuse to plan, leave the clip out, or mos = NaN"
    )


class EngineSection(_Section):
    """What scores the frames."""

    kind: Literal["auto", "vmaf", "ffmpeg"] = Field(
        "auto", description="vmaf: the fork's command line; ffmpeg: embedded libvmaf; auto: vmaf if found"
    )
    plan: Literal["full", "identity"] = Field(
        "full",
        description="full: run all extractors; identity: run only what is not known on an identity pair",
    )
    backend: Literal["cuda", "cpu"] = Field("cpu", description="where the vmaf engine computes")
    vmaf: str = Field("vmaf", description="the fork's program: a name in PATH or a path")
    ffmpeg: str = Field("", description="ffmpeg: a name in PATH or a path; empty: the one that comes along")
    threads: Annotated[int, Field(ge=1, le=256)] = Field(
        1, description="threads of one engine process; does not change values"
    )


class ExtractSection(_Section):
    """How the clips of an element are worked through."""

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto", description="clips at once; auto: processors / engine.threads"
    )
    flush_every: int = Field(50, ge=1, description="clips between two atomic writes of a shard")
    retries: int = Field(1, ge=0, le=20, description="more tries for a clip that failed")
    scratch: str = Field("", description="folder for temporary files; empty: $TMPDIR or /tmp")
    timeout: float = Field(
        0.0, ge=0, description="seconds a clip may take; 0: from its size, at least 10 minutes"
    )
    max_engine_failures: int = Field(
        5, ge=1, description="engine failures in a row after which an element gives up"
    )


class SlicesSection(_Section):
    """How the manifest is cut; one slice is the work of one array element."""

    count: int = Field(0, ge=0, description="number of slices; 0: from clips_per_slice")
    clips_per_slice: int = Field(100, ge=1, description="clips in a slice, on average")


class MergeSection(_Section):
    """When the final table is published."""

    max_failed_share: float = Field(
        0.001, ge=0, le=1, description="share of clips that may have failed for good"
    )
    memory: str = Field(
        "2GB", pattern=r"^\d+(\.\d+)?\s*[KMGT]i?B$", description="memory limit of DuckDB, for example 2GB"
    )
    on_conflict: Literal["fail", "latest"] = Field(
        "fail", description="rows of one clip that disagree: publish nothing, or take the latest"
    )


class Config(_Section):
    """The whole configuration."""

    run: RunSection = RunSection()
    corpus: CorpusSection = CorpusSection()
    engine: EngineSection = EngineSection()
    extract: ExtractSection = ExtractSection()
    slices: SlicesSection = SlicesSection()
    merge: MergeSection = MergeSection()

    @property
    def folder(self) -> RunFolder:
        """Paths of this run."""
        return RunFolder(Path(self.run.root), self.run.name)


FROZEN = ("corpus", "engine")
"""Sections frozen at plan."""
NOT_FROZEN = {"engine.threads"}
"""Keys of those sections that do not determine values."""


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
    origins = {key: "default" for key in keys()}
    if path is not None:
        document = _read(path)
        origins.update({key: str(path) for key in _flatten(document)})
    given = [(*_split_override(text), "--set") for text in overrides]
    given += [(k.replace("__", "."), v, "command line") for k, v in values.items() if v is not None]
    for key, value, origin in given:
        section, _, name = key.partition(".")
        if isinstance(document.setdefault(section, {}), dict):
            document[section][name] = value
        origins[key] = origin
    try:
        config = Config.model_validate(document)
    except pydantic.ValidationError as error:
        raise _explain(error, origins) from None
    if config.corpus.mos_min >= config.corpus.mos_max:
        raise UsageError(
            f"{origins['corpus.mos_min']}: corpus.mos_min = {config.corpus.mos_min}, expected less than "
            f"corpus.mos_max = {config.corpus.mos_max}"
        )
    return config, origins


def keys() -> dict[str, pydantic.fields.FieldInfo]:
    """Every key as ``section.key``, with its field."""
    return {
        f"{section}.{name}": field
        for section, info in Config.model_fields.items()
        for name, field in _section(info).model_fields.items()
    }


def flat(config: Config) -> dict[str, Any]:
    """Every key with its value."""
    return _flatten(config.model_dump())


def frozen(config: Config) -> dict[str, Any]:
    """Those keys that a run may not change after `plan`."""
    return {
        key: value
        for key, value in flat(config).items()
        if key.partition(".")[0] in FROZEN and key not in NOT_FROZEN
    }


def to_toml(values: Mapping[str, Any]) -> str:
    """Keys and values as TOML, one table a section."""
    return "\n".join(_toml_lines(values, lambda key: []))


def template() -> str:
    """A commented configuration file with every key at its default."""
    fields = keys()

    def comment(key: str) -> list[str]:
        allowed = _allowed(fields[key].annotation)
        return [f"# {fields[key].description}" + (f" ({allowed})" if allowed else "")]

    return "\n".join(_toml_lines(flat(Config()), comment))


def _toml_lines(values: Mapping[str, Any], comment: typing.Callable[[str], list[str]]) -> list[str]:
    lines: list[str] = []
    current = ""
    for key, value in values.items():
        section, _, name = key.partition(".")
        if section != current:
            lines += [*([""] if lines else []), f"[{section}]"]
            current = section
        lines += [*comment(key), f"{name} = {_toml_value(value)}"]
    return [*lines, ""]


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(
            f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else {"\\": "\\\\", '"': '\\"'}.get(c, c)
            for c in value
        )
        return f'"{escaped}"'
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
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{show(str(path))}: not TOML: {error}") from None


def _split_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise UsageError(f"--set {show(text)}: expected section.key=value", _suggest(key.strip()))
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _section(info: pydantic.fields.FieldInfo) -> type[BaseModel]:
    assert isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    return info.annotation


def _flatten(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section, table in document.items()
        if isinstance(table, Mapping)
        for name, value in table.items()
    }


def _explain(error: pydantic.ValidationError, origins: Mapping[str, str]) -> UsageError:
    messages = []
    hints = []
    fields = keys()
    seen = set()
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        key = ".".join(location[:2])
        if key in seen:  # each member of a union complains
            continue
        seen.add(key)
        origin = origins.get(key, next(iter({o for o in origins.values() if o != "default"}), ""))
        if problem["type"] == "extra_forbidden":
            messages.append(f"{origin}: unknown key {show(key)}")
            hints.append(_suggest(key))
        elif key in fields:
            allowed = _allowed(fields[key].annotation)
            close = get_close_matches(str(problem["input"]), re.findall(r'"(.*?)"', allowed), n=1)
            hints.append(f'did you mean "{close[0]}"?' if close else "")
            allowed = allowed or problem["msg"].removeprefix("Input should be ")
            messages.append(
                f"{origin}: {key} = {problem['input']!r}: expected {allowed} ({fields[key].description})"
            )
        else:
            messages.append(f"{origin}: [{show(key)}] = {problem['input']!r}: expected a table of keys")
    return UsageError("\n".join(messages), "\n".join(hint for hint in hints if hint))


def _suggest(key: str) -> str:
    known = [*keys(), *Config.model_fields]
    close = get_close_matches(key, known, n=1, cutoff=0.6)
    if not close:
        close = [k for k in known if key.rpartition(".")[2] == k.rpartition(".")[2]][:1]
    if close:
        return f"did you mean {close[0]}?"
    section = key.partition(".")[0]
    inside = [k for k in known if k.startswith(f"{section}.")]
    return "known keys: " + ", ".join(inside or Config.model_fields)


def _allowed(annotation: Any) -> str:
    """Allowed values in words, or "" where pydantic's own message says more."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return ", ".join(f'"{value}"' for value in typing.get_args(annotation))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(filter(None, (_allowed(part) for part in typing.get_args(annotation))))
    if origin is Annotated:
        base, *rules = typing.get_args(annotation)
        bounds = [b for rule in rules for b in _bounds(rule)]
        return " ".join(["a whole number" if base is int else "a number", *bounds])
    return ""


def _bounds(rule: Any) -> list[str]:
    found = [rule, *getattr(rule, "metadata", ())]
    low = [f"from {r.ge}" for r in found if getattr(r, "ge", None) is not None]
    high = [f"to {r.le}" for r in found if getattr(r, "le", None) is not None]
    return low + high
