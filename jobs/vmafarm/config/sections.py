"""The sections of the configuration: every key with its type, default and description."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from vmafarm.run_folder.paths import RunFolder

_MEMORY = r"^\d{1,6}(\.\d{1,9})?\s*[KMGT]i?B$"  # 999,999 TB fit into 64 bits
_MANY = 1_000_000_000
"""More of anything is a slip."""
_YEAR = 366 * 24 * 60
"""Minutes."""


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
    trusted_owners: list[str] = Field(
        [],
        description="users besides you and root who may own folders above it; they could run programs as you",
    )


class CorpusSection(_Section):
    """The clips and their opinion scores."""

    clips: str = Field(
        "", description="folder of the clips, searched with its subfolders, or a SquashFS image of it"
    )
    scores: str = Field("", description="CSV file with a header: clip name and mean opinion score")
    name_column: str = Field("", description="its column of names; empty: clip_name, video_name, ...")
    mos_column: str = Field("", description="its column of scores; empty: mos, else video_score, ...")
    mos_min: float = Field(
        1.0, ge=-1e9, le=1e9, allow_inf_nan=False, description="lowest score that is possible"
    )
    mos_max: float = Field(
        5.0, ge=-1e9, le=1e9, allow_inf_nan=False, description="highest score that is possible"
    )
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
        1, description="threads of one engine process; decoding has one of its own; does not change values"
    )
    audit_every: int = Field(
        200,
        ge=0,
        le=_MANY,
        description="one clip in so many, at least one, is scored by both plans and compared; 0: none; "
        "does not change values",
    )


class ExtractSection(_Section):
    """How the clips of an element are worked through."""

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto", description="clips at once; auto: processors / engine.threads"
    )
    flush_every: int = Field(50, ge=1, le=_MANY, description="clips between two atomic writes of a shard")
    retries: int = Field(1, ge=0, le=20, description="more tries for a clip that failed")
    scratch: str = Field("", description="folder for temporary files; empty: $TMPDIR or /tmp")
    timeout: float = Field(
        0.0, ge=0, le=_YEAR * 60, description="seconds a clip may take; 0: from its size, 10 minutes to a day"
    )
    max_pixels: int = Field(
        8192 * 4352,
        ge=1,
        le=_MANY,
        description="pixels that a frame may have; a clip with larger ones is set aside",
    )
    max_frames: int = Field(
        20_000, ge=1, le=1_000_000, description="frames that a clip may have; one with more is set aside"
    )
    max_scratch: str = Field(
        "20GB", pattern=_MEMORY, description="decoded frames of one clip on disk; one with more is set aside"
    )
    decoder_memory: str = Field(
        "4GB", pattern=_MEMORY, description="address space of a program that decodes a clip"
    )
    engine_memory: str = Field(
        "8GB", pattern=_MEMORY, description="resident memory of a program that scores a clip"
    )
    max_engine_failures: int = Field(
        50,
        ge=1,
        le=_MANY,
        description="engine failures in a row that end an element although the engine scores a built-in clip",
    )


class SlicesSection(_Section):
    """How the manifest is cut; one slice is the work of one array element."""

    count: int = Field(0, ge=0, le=_MANY, description="number of slices; 0: from clips_per_slice")
    clips_per_slice: int = Field(100, ge=1, le=_MANY, description="clips in a slice, at most on average")


class MergeSection(_Section):
    """When the final table is published."""

    max_failed_share: float = Field(
        0.001,
        ge=0,
        le=1,
        description="share of clips that may have failed for good; in a corpus of up to 10,000 also ten "
        "of them, but not more than 5%; 0: none",
    )
    memory: str = Field("1.5GB", pattern=_MEMORY, description="memory limit of DuckDB, for example 2GB")
    checks: bool = Field(
        True,
        description="end with all checks of sql/qa, the page and qa.duckdb; the checks of severity error "
        "refuse the merge in any case",
    )
    allow: list[str] = Field(
        [], description="checks of severity error that may find something: publish all the same"
    )
    on_conflict: Literal["fail", "latest"] = Field(
        "fail", description="rows of one clip that disagree: publish nothing, or take the latest"
    )


class SlurmMergeSection(_Section):
    """Resources of the merge job that is chained behind the arrays; it needs no GPU."""

    partition: str = Field("", description="empty: that of the arrays")
    time: int = Field(60, ge=1, le=_YEAR, description="minutes")
    mem: str = Field("4GB", pattern=_MEMORY, description="memory of the job")
    cpus: int = Field(2, ge=1, le=_MANY, description="processors of the job")


class SlurmSection(_Section):
    """SLURM array jobs; everything here may change between two submissions of a run."""

    image: str = Field("", description="Apptainer image (.sif); empty: this Python, without a container")
    partition: str = Field("", description="empty: the cluster's default")
    account: str = Field("", description="account to charge")
    qos: str = Field("", description="quality of service")
    time: int = Field(60, ge=1, le=_YEAR, description="minutes that an element may take")
    mem: str = Field("8GB", pattern=_MEMORY, description="memory of an element")
    cpus: int = Field(2, ge=1, le=_MANY, description="processors of an element, srun's too")
    gpus: int = Field(0, ge=0, le=_MANY, description="GPUs of an element; with 0 the image gets no --nv")
    gres: str = Field("", description='how this site asks for GPUs, for example "gpu:a100:1"; empty: gpus')
    constraint: str = Field("", description="features that a node must have")
    exclude: str = Field("", description="nodes not to use")
    extra: dict[str, str] = Field({}, description='more sbatch options: { "mail-type" = "END" }')
    setup: list[str] = Field([], description="shell lines before the element, such as module load")
    environment: dict[str, str] = Field({}, description="environment variables of the element")
    binds: list[str] = Field([], description="more folders for the image, as apptainer --bind takes them")
    parallelism: int = Field(64, ge=1, le=_MANY, description="elements that run at the same time")
    rounds: int = Field(
        2, ge=1, le=10, description="arrays queued up front, each doing what the one before it left"
    )
    minutes: float = Field(
        30.0,
        gt=0,
        le=_YEAR,
        description="most work of an element, as slices together; from measured clips (--canary)",
    )
    max_jobs: int = Field(
        0,
        ge=0,
        le=_MANY,
        description="jobs that may be in the queue at once, elements counted; 0: ask the cluster",
    )
    stage: Literal["auto", "yes", "no"] = Field(
        "auto", description="copy the image to each node's disk; auto: if over 8 elements fit a node"
    )
    stage_folder: str = Field(
        "/tmp",  # noqa: S108 - only a folder of this user's own in it is used
        pattern="^/",
        description="where on the nodes",
    )
    merge: SlurmMergeSection = SlurmMergeSection()


class Config(_Section):
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
        """Paths of this run."""
        return RunFolder(Path(self.run.root), self.run.name)


FROZEN = ("corpus", "engine")
"""Sections frozen at plan."""
NOT_FROZEN = {"engine.threads", "engine.audit_every"}
"""Keys of those sections that do not determine values."""

MAY_BE_SECRET = ("slurm.environment", "slurm.setup", "slurm.extra")
"""Keys of free text, in which sites have tokens and passwords. Their values reach the scripts of jobs, in
``runs/<run>/logs`` (0700), and nothing that others may read: no record, and no command line. Not a digest
either, by which a short secret could be guessed."""


def keys() -> dict[str, pydantic.fields.FieldInfo]:
    """Every key as ``section.key``, with its field."""
    return _keys(Config, "")


def _keys(model: type[BaseModel], prefix: str) -> dict[str, pydantic.fields.FieldInfo]:
    own: dict[str, pydantic.fields.FieldInfo] = {}
    below: dict[str, pydantic.fields.FieldInfo] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            below |= _keys(field.annotation, f"{prefix}{name}.")
        else:
            own[prefix + name] = field
    return own | below  # as TOML wants it: a table's keys before the tables in it


def flat(config: Config) -> dict[str, Any]:
    """Every key with its value."""
    values = flatten(config.model_dump())
    return {key: values[key] for key in keys()}


def for_jobs(config: Config) -> dict[str, Any]:
    """The configuration as a document for a job: blanks for `MAY_BE_SECRET`, whose values its script has."""
    document = config.model_dump()
    for key in MAY_BE_SECRET:
        section, name = key.split(".")
        value = document[section][name]
        document[section][name] = dict.fromkeys(value, "") if isinstance(value, dict) else [""] * len(value)
    return document


def recorded(config: Config) -> dict[str, Any]:
    """Every key as records may have it: of `MAY_BE_SECRET` names of entries, or the number of lines."""
    values = flat(config)
    for key in MAY_BE_SECRET:
        values[key] = sorted(values[key]) if isinstance(values[key], Mapping) else len(values[key])
    return values


def frozen(config: Config) -> dict[str, Any]:
    """Those keys that a run may not change after `plan`."""
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
