"""The sections of the configuration: every key with its type, default and description."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

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
    mos_min: float = Field(1.0, allow_inf_nan=False, description="lowest score that is possible")
    mos_max: float = Field(5.0, allow_inf_nan=False, description="highest score that is possible")
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


def keys() -> dict[str, pydantic.fields.FieldInfo]:
    """Every key as ``section.key``, with its field."""
    return {
        f"{section}.{name}": field
        for section, info in Config.model_fields.items()
        for name, field in _section(info).model_fields.items()
    }


def flat(config: Config) -> dict[str, Any]:
    """Every key with its value."""
    return flatten(config.model_dump())


def frozen(config: Config) -> dict[str, Any]:
    """Those keys that a run may not change after `plan`."""
    return {
        key: value
        for key, value in flat(config).items()
        if key.partition(".")[0] in FROZEN and key not in NOT_FROZEN
    }


def _section(info: pydantic.fields.FieldInfo) -> type[BaseModel]:
    assert isinstance(info.annotation, type)
    assert issubclass(info.annotation, BaseModel)
    return info.annotation


def flatten(document: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of keys as ``section.key``; anything else at the top level is left out."""
    return {
        f"{section}.{name}": value
        for section, table in document.items()
        if isinstance(table, Mapping)
        for name, value in table.items()
    }
