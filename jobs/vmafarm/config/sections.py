"""The sections of the configuration: each key with its type, default and description."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, Field

from vmafarm.common.errors import UsageError
from vmafarm.config.section import MANY, MEMORY, YEAR, Section
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.run_folder.known_runs import RUN_NAME
from vmafarm.run_folder.paths import RunFolder


class RunSection(Section):
    """The run and its folder."""

    name: str = Field(
        "",
        pattern=rf"^({RUN_NAME})?$",
        description="name of the run: letters, digits, dots, dashes, underscores; empty: a new run is named "
        "after the folder of its clips, else the only or the newest run is taken",
    )
    root: str = Field("runs", min_length=1, description="folder of all runs and final tables")
    sample: int = Field(
        0,
        ge=0,
        le=MANY,
        description="score and publish a sample of so many clips; 0: all",
    )
    trusted_owners: list[str] = Field(
        [],
        description="other users who may own folders above root; they could run programs as you",
    )


class CorpusSection(Section):
    """The clips and their opinion scores."""

    clips: str = Field(
        "",
        description="folder of the clips and its subfolders; with slurm.image also a SquashFS image",
    )
    preset: str = Field(
        "",
        description="a known corpus, which sets what is not set here; vmafarm presets lists them; empty: the "
        "one that the label file looks like",
    )
    scores: str = Field("", description="file of mean opinion scores: CSV, other text, .xlsx or .mat")
    columns: str = Field(
        "", description='columns of that file in order, such as "name,,mos"; empty: by its header'
    )
    encoding: str = Field("", description="of that file, such as gb18030; empty: UTF-8 or by its mark")
    sheet: str = Field("", description="of a workbook; empty: the first with a known header")
    name_column: str = Field("", description="column of clip names; empty: clip_name, video_name, ...")
    mos_column: str = Field("", description="column of scores; empty: mos, else video_score, ...")
    mos_min: float = Field(1.0, ge=-1e9, le=1e9, allow_inf_nan=False, description="lowest possible score")
    mos_max: float = Field(5.0, ge=-1e9, le=1e9, allow_inf_nan=False, description="highest possible score")
    missing_mos: Literal["error", "skip", "nan"] = Field(
        "error", description="clips without a score: refuse to plan, leave them out, or set mos = NaN"
    )
    match: str = Field("", description="regular expression of the key that names of clips and scores share")
    clip_name: str = Field("", description="name of a score's clip, such as {name}_crf_10.mp4")
    min_coverage: float = Field(
        1.0, ge=0, le=1, allow_inf_nan=False,
        description="below 1: so many of the clips must have a score, others are left out (or mos = NaN)",
    )  # fmt: skip
    carry: list[str] = Field(
        [], description="columns of the label file to write into a table beside the published one"
    )
    identity: bool = Field(
        False, description="go on although the clips look like encodings of references, as with --identity"
    )
    geometry: str = Field(
        "",
        description="geometry of raw clips (*.yuv) by their names, such as {w}x{h}_{fps}fps_{bits}bit, or of "
        "all, such as 1280x720 30fps 8bit; empty: by columns width and height of the label file, or left out",
    )


class EngineSection(Section):
    """The program that scores frames."""

    kind: Literal["auto", "vmaf", "ffmpeg"] = Field(
        "auto",
        description="vmaf: the program vmaf of the fork or upstream; ffmpeg: its libvmaf filter; "
        "auto: vmaf if it is found",
    )
    plan: Literal["full", "identity"] = Field(
        "full",
        description="full: run all extractors; identity: skip those with values known on an identity pair",
    )
    features: str = Field(
        "full",
        min_length=1,
        description="the feature set: a name that vmafarm features lists, or a TOML file of your own",
    )
    frames: bool = Field(False, description="keep each frame's value of every measured feature as well")
    backend: Literal["cuda", "cpu"] = Field(
        "cpu", description="where the vmaf engine runs; cuda needs the fork's program"
    )
    vmaf: str = Field("vmaf", description="the program vmaf: a name in PATH or a path")
    ffmpeg: str = Field("", description="ffmpeg: a name in PATH or a path; empty: the bundled one")
    threads: Annotated[int, Field(ge=1, le=256)] = Field(
        1, description="threads of one engine process, besides one for decoding; does not change values"
    )
    audit_every: int = Field(
        200,
        ge=0,
        le=MANY,
        description="score one clip in this many (at least one) with both plans and compare (plan full: the "
        "first clip of an element), and with backend cuda by the CPU; 0: none; does not change values",
    )
    max_gpu_differences: float = Field(
        0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="share of the audited clips on which GPU and CPU may differ; above it nothing is "
        "published",
    )


PROGRAMS = tuple(
    name
    for name, field in EngineSection.model_fields.items()
    if field.annotation is str and name != "features"  # of which a plan freezes the text
)
"""Keys of ``[engine]`` that name a program, which nobody else's plan may choose: all that are free text."""


class ExtractSection(Section):
    """How an element scores its clips."""

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto", description="clips scored at once; auto: processors / engine.threads"
    )
    flush_every: int = Field(50, ge=1, le=MANY, description="clips between two writes of a shard")
    retries: int = Field(1, ge=0, le=20, description="further tries for a clip that failed")
    scratch: str = Field("", description="folder for temporary files; empty: $TMPDIR or /tmp")
    timeout: float = Field(
        0.0, ge=0, le=YEAR * 60, description="seconds a clip may take; 0: by its size, 10 minutes to a day"
    )
    max_pixels: int = Field(
        8192 * 4352,
        ge=1,
        le=MANY,
        description="most pixels of a frame; clips with larger frames are set aside",
    )
    max_frames: int = Field(
        20_000, ge=1, le=1_000_000, description="most frames of a clip; longer clips are set aside"
    )
    max_scratch: str = Field(
        "20GB", pattern=MEMORY, description="most disk space for the decoded frames of a clip"
    )
    decoder_memory: str = Field(
        "4GB", pattern=MEMORY, description="address space limit of a program that decodes a clip"
    )
    engine_memory: str = Field(
        "8GB", pattern=MEMORY, description="resident memory limit of a program that scores a clip"
    )
    max_engine_failures: int = Field(
        50,
        ge=1,
        le=MANY,
        description="consecutive engine failures that end an element although a built-in clip can be scored",
    )


class SlicesSection(Section):
    """How the manifest is divided into slices, the work of array elements."""

    count: int = Field(0, ge=0, le=MANY, description="number of slices; 0: from clips_per_slice")
    clips_per_slice: int = Field(100, ge=1, le=MANY, description="most clips per slice, on average")


class MergeSection(Section):
    """When and how the final table is published."""

    max_failed_share: float = Field(
        0.001,
        ge=0,
        le=1,
        description="share of clips that may have failed for good; with up to 10,000 clips also ten of them, "
        "but at most 5%; 0: none",
    )
    memory: str = Field("1.1GB", pattern=MEMORY, description="memory limit of DuckDB, for example 2GB")
    checks: bool = Field(
        True,
        description="after publishing, run all checks of sql/qa, and write the report and qa.duckdb; checks "
        "of severity error refuse the merge in any case",
    )
    allow: list[str] = Field([], description="checks of severity error that do not stop the merge")
    on_conflict: Literal["fail", "latest"] = Field(
        "fail", description="rows of a clip that disagree: publish nothing, or take the latest"
    )


class Config(Section):
    """The whole configuration."""

    run: RunSection = RunSection()
    corpus: CorpusSection = CorpusSection()
    engine: EngineSection = EngineSection()
    extract: ExtractSection = ExtractSection()
    slices: SlicesSection = SlicesSection()
    merge: MergeSection = MergeSection()
    slurm: SlurmSection = SlurmSection()

    @property
    def folder(self) -> RunFolder:
        """The paths of this run.

        Raises
        ------
        UsageError
            No run is named.
        """
        if not self.run.name:
            raise UsageError("no run is named", "name one: --run NAME (run.name)")
        return RunFolder(Path(self.run.root), self.run.name, self.run.sample)


FROZEN = ("corpus", "engine")
"""Sections that a plan freezes."""
NOT_FROZEN = {"engine.threads", "engine.audit_every", "engine.max_gpu_differences"}
"""Keys of those sections that do not affect values."""


def keys() -> dict[str, pydantic.fields.FieldInfo]:
    """All keys as ``section.key``, with their fields."""
    return _keys(Config, "")


def _keys(model: type[BaseModel], prefix: str) -> dict[str, pydantic.fields.FieldInfo]:
    own: dict[str, pydantic.fields.FieldInfo] = {}
    below: dict[str, pydantic.fields.FieldInfo] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            below |= _keys(field.annotation, f"{prefix}{name}.")
        else:
            own[prefix + name] = field
    return own | below  # TOML: a table's own keys come before its tables


def flat(config: Config) -> dict[str, Any]:
    """All keys with their values."""
    values = flatten(config.model_dump())
    return {key: values[key] for key in keys()}


def frozen(config: Config) -> dict[str, Any]:
    """The keys that must not change after `plan`."""
    return {
        key: value
        for key, value in flat(config).items()
        if key.partition(".")[0] in FROZEN and key not in NOT_FROZEN
    }


def flatten(document: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of keys as ``section.key``; a key whose value is a table of the user's own is one value."""
    found: dict[str, Any] = {}
    _flatten(document, "", set(keys()), found)
    return found


def _flatten(table: Mapping[str, Any], prefix: str, known: set[str], found: dict[str, Any]) -> None:
    for name, value in table.items():
        key = prefix + name
        if isinstance(value, Mapping) and key not in known:
            _flatten(value, f"{key}.", known, found)
        elif prefix:
            found[key] = value
