"""The section ``[slurm]``: each key with its type, default and description."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from vmafarm.config.section import MANY, MEMORY, YEAR, Section

_MEMORY_OR_NONE = f"^$|{MEMORY}"
_CLUSTER = "^[A-Za-z0-9_.-]{0,64}$"
_GPU = re.compile(r"gpu(?::[^:,=]*[^:,=0-9][^:,=]*)?(?:[:=]([0-9]{1,9}))?(?:\(.*\))?")


class SlurmMergeSection(Section):
    """Resources of the merge job, which runs after the arrays and needs no GPU."""

    partition: str = Field("", description="partition; empty: that of the arrays")
    time: int = Field(60, ge=1, le=YEAR, description="time limit in minutes")
    mem: str = Field("4GB", pattern=_MEMORY_OR_NONE, description="memory of the job; empty: not requested")
    cpus: int = Field(2, ge=1, le=MANY, description="processors of the job")
    extra: dict[str, str | bool] = Field(
        {}, description='sbatch options in addition to slurm.extra, such as { "mail-type" = "END" }'
    )


class SlurmSection(Section):
    """SLURM array jobs; all of it may change between two submissions of a run."""

    image: str = Field("", description="image (.sif, for pyxis .sqsh); empty: this Python, no container")
    container: Literal["apptainer", "singularity", "pyxis", "none"] = Field(
        "apptainer", description="what starts the image on nodes; none: nothing, as if there were no image"
    )
    cluster: str = Field(
        "", pattern=_CLUSTER, description="where to submit to (--clusters); empty: this login node's cluster"
    )
    partition: str = Field("", description="partition; empty: the cluster's default")
    account: str = Field("", description="account to charge")
    qos: str = Field("", description="quality of service")
    time: int = Field(60, ge=1, le=YEAR, description="time limit of an element in minutes")
    mem: str = Field("8GB", pattern=_MEMORY_OR_NONE, description="memory of an element; empty: not requested")
    cpus: int = Field(2, ge=1, le=MANY, description="processors of an element")
    nodes: int = Field(
        1,
        ge=1,
        le=1000,
        description="nodes of a job, each with one element; some sites favour large jobs",
    )
    gpus: int = Field(0, ge=0, le=MANY, description="GPUs of an element; 0: none, and no --nv for the image")
    gres: str = Field("", description='how this site requests GPUs, such as "gpu:a100:1"; empty: by gpus')
    constraint: str = Field("", description="features that a node must have (sbatch --constraint)")
    exclude: str = Field("", description="nodes to exclude")
    extra: dict[str, str | bool] = Field(
        {}, description='further sbatch options, such as { "mail-type" = "END" }; empty: without that option'
    )
    setup: list[str] = Field([], description="shell commands before the element, such as module load")
    environment: dict[str, str] = Field({}, description="environment variables of the element")
    binds: list[str] = Field([], description="further bind mounts of the image, as for apptainer --bind")
    parallelism: int = Field(64, ge=1, le=MANY, description="most elements that run at the same time")
    rounds: int = Field(2, ge=1, le=10, description="arrays to queue; each does what the one before it left")
    minutes: float = Field(
        30.0,
        gt=0,
        le=YEAR,
        description="work of an element in minutes, at most; estimated from measured clips (--canary)",
    )
    max_jobs: int = Field(
        0,
        ge=0,
        le=MANY,
        description="most jobs in the queue, counting elements; 0: ask the cluster",
    )
    max_array_size: int = Field(
        0, ge=0, le=MANY, description="largest array, as MaxArraySize; 0: ask the cluster; 1: no arrays"
    )
    stage: Literal["auto", "yes", "no"] = Field(
        "auto", description="copy the image to each node's disk; auto: if more than 8 elements fit on a node"
    )
    stage_folder: str = Field(
        "/tmp",  # noqa: S108 - only a folder of this user's own in it is used
        pattern="^/",
        description="folder for that copy on the nodes",
    )
    notify: str = Field(
        "",
        description="shell command that the merge job runs at its end, with the outcome as JSON on its input",
    )
    merge: SlurmMergeSection = SlurmMergeSection()

    @property
    def uses_image(self) -> bool:
        """Whether elements run in an image."""
        return bool(self.image) and self.container != "none"

    @property
    def gpu_count(self) -> int:
        """GPUs that an element requests: by ``gres`` (``gpu``, ``gpu:a100:2``), else by ``gpus``."""
        found = [_GPU.fullmatch(part.strip().removeprefix("gres/")) for part in self.gres.split(",")]
        return sum(int(match[1] or 1) for match in found if match) if self.gres else self.gpus
