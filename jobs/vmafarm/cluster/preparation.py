"""Checks a run, and finds out what its elements need, before anything is queued."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vmafarm.cluster.executor import Queue
from vmafarm.cluster.sbatch import check_request, chosen
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.slurm_answers import Partition
from vmafarm.common.errors import UnavailableError, UsageError, VmafarmError, show
from vmafarm.common.steps import step, working
from vmafarm.config.secret_keys import recorded
from vmafarm.config.sections import Config
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.corpus.squashfs import inside
from vmafarm.disk import durable
from vmafarm.engines import ENGINES, make_engine
from vmafarm.images.command import container_python, start_command, starter_text
from vmafarm.images.containers import Container, container_of
from vmafarm.images.sif import read_digest, read_stamp
from vmafarm.process.toolkit import version
from vmafarm.run_folder.broken_nodes import read_broken
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.run_folder.provenance import read_provenance
from vmafarm.run_folder.submissions import (
    Submission,
    new_submission,
    next_look_path,
    next_number,
    run_job_name,
    starter_path,
)

_MANY = 8
"""With more elements than this on one node, the image is copied to the node's disk first."""


_SOME_NODES = 2
"""Assumed if the number of nodes is unknown."""


@dataclass(frozen=True)
class Prepared:
    """A run that can be submitted.

    Attributes
    ----------
    config
        As elements get it: ``engine.kind`` is resolved ("auto" in the image), and ``slurm.exclude``
        includes broken nodes.
    slurm
        The cluster.
    manifest
        Its clips.
    job_name
        Name of all its jobs.
    version
        Version of the toolkit, inside and outside of the image.
    image_digest, image_stamp
        SHA-256 of the SIF, and what shows that it was replaced; empty without a container.
    staged
        Whether the image is copied to the nodes.
    clips
        Folder or image of the clips, on the host.
    python, merge_python
        Commands that start Python in an element's container, and in that of the merge.
    max_array_size
        SLURM's MaxArraySize.
    max_broken
        With more broken nodes than this, the nodes are not to blame.
    partitions
        Partitions in which elements may run, separated by commas.
    nodes
        Nodes in these partitions.
    settings
        The configuration that may change between submissions.
    """

    config: Config
    slurm: Slurm
    manifest: Manifest
    job_name: str
    version: str
    image_digest: str
    image_stamp: str
    staged: bool
    clips: str
    python: Sequence[str]
    merge_python: Sequence[str]
    max_array_size: int
    max_broken: int
    partitions: str
    nodes: int
    settings: Mapping[str, Any]

    def queue(self, number: int, *, next_look: bool = False) -> Queue:
        """The queue for jobs of a submission; with `next_look`, a job keeps the next one off its node."""
        folder = self.config.folder
        start = start_command(
            starter_path(folder, number).absolute(), self.config.slurm, folder, self.job_name, self.python,
            clips=self.clips, max_broken=self.max_broken,
            image_digest=self.image_digest, image_stamp=self.image_stamp, staged=self.staged,
            next_look=next_look_path(folder, number) if next_look else None,
        )  # fmt: skip
        return Queue(
            self.config, shlex.join(start), shlex.join(self.merge_python), self.slurm, self.manifest.digest
        )

    def begin(self, submission: Submission) -> Submission:
        """Record a submission under a number of its own, before its first job is queued."""
        folder = self.config.folder
        submission = replace(submission, number=next_number(folder))
        durable.replace_text(starter_path(folder, submission.number), starter_text())
        new_submission(folder, submission)
        return submission


@working("submitting")
def prepare(
    config: Config, slurm: Slurm, manifest: Manifest | None = None, tell: Callable[[str], None] | None = None
) -> Prepared:
    """Check that a planned run can be submitted, and find out what its elements need.

    Parameters
    ----------
    config, slurm
        The run and the cluster.
    manifest
        Manifest of a run that is not planned yet, for a dry run; None: the run's own.
    tell
        For a dry run: gets what would be an error otherwise.

    Raises
    ------
    UsageError
        The cluster lacks what is requested, the image or the engine does not match the run, or too many
        nodes have failed.
    UnavailableError
        No SLURM, no answer, or no usable image.
    """
    folder, section = config.folder, config.slurm
    manifest = manifest or load_manifest(folder)
    step("asking SLURM")
    slurm.check()
    partitions = slurm.partitions()
    if slurm.is_known:
        check_request(section, partitions)
    mine = chosen(section.partition, partitions)
    max_broken = max(1, sum(partition.nodes for partition in mine) // 4)
    exclude = _with_broken(config, max_broken)
    container = container_of(section)
    try:
        step("reading the image" if container else "looking for the engine")
        stamp, digest = read_image(container) if container else ("", "")
        kind = _engine_kind(config, container)
        _check_engine(config, kind)
    except VmafarmError as error:
        if tell is None:
            raise
        tell(f"a submission would be refused: {error.message}")
        stamp, digest, kind = "", "", config.engine.kind
    section = section.model_copy(update={"exclude": exclude})
    engine = config.engine.model_copy(update={"kind": kind})
    config = config.model_copy(update={"slurm": section, "engine": engine})
    clips, scratch = config.corpus.clips, config.extract.scratch
    python, merge_python = (
        container_python(section, folder, Path(clips), scratch, publishes=publishes)
        for publishes in (False, True)
    )
    settings = {key: value for key, value in recorded(config).items() if not key.startswith("corpus.")}
    if container is not None:  # their path in the container
        corpus = config.corpus.model_copy(update={"clips": str(inside(Path(clips)))})
        config = config.model_copy(update={"corpus": corpus})
    return Prepared(
        config=config,
        slurm=slurm,
        manifest=manifest,
        job_name=run_job_name(folder, manifest.origin),
        version=version(),
        image_digest=digest,
        image_stamp=stamp,
        staged=bool(digest) and _is_staged(section, mine),
        clips=clips,
        python=python,
        merge_python=merge_python,
        max_array_size=section.max_array_size or slurm.max_array_size(),
        max_broken=max_broken,
        partitions=",".join(partition.name for partition in mine),
        nodes=sum(partition.nodes for partition in mine) if slurm.is_known else _SOME_NODES,
        settings=settings,
    )


def check_image(container: Container) -> str:
    """Check that an image holds this version of the toolkit, and return its SHA-256.

    Raises
    ------
    UsageError
        No such file, not an image, or another version.
    UnavailableError
        The program that starts it is not installed, or does not start it.
    """
    container.check()
    inside, own = container.toolkit()
    if inside != own:
        raise UsageError(
            f"{show(str(container.image))} holds vmafarm {show(inside)}, this is {own}",
            "build the image again (vmafarm image), or use the version that it was built from",
        )
    return read_digest(container.image)


def read_image(container: Container) -> tuple[str, str]:
    """`vmafarm.images.sif.read_stamp` of an image, and `check_image` of what was there then."""
    container.check()
    return read_stamp(container.image), check_image(container)


def _engine_kind(config: Config, container: Container | None) -> str:
    """Resolve ``engine.kind`` where elements run: in the image, or here."""
    section = config.engine
    if section.kind != "auto":
        return section.kind
    if container is None:
        return make_engine(section).kind
    kind = container.engine(section.vmaf)
    if kind not in ENGINES:
        raise UnavailableError(f"{show(str(container.image))} does not say which engine it has: {show(kind)}")
    return kind


def _check_engine(config: Config, kind: str) -> None:
    frozen = read_provenance(config.folder.provenance)
    if frozen is not None and frozen.engine != kind:
        raise UsageError(
            f'"{config.folder.name}" was begun with the engine {frozen.engine}; '
            + (f"{show(config.slurm.image)} has" if config.slurm.uses_image else "here it would be")
            + f" {kind}, whose rows cannot be mixed with those",
            "use an image with the same engine, or start another run (run.name)",
        )
    if kind == "ffmpeg" and config.engine.backend == "cuda":
        raise UsageError(
            'engine.backend = "cuda", but the embedded engine (ffmpeg) computes on the CPU',
            'set engine.backend = "cpu", or use an image built from apptainer.def',
        )


def _with_broken(config: Config, max_broken: int) -> str:
    """``slurm.exclude`` and the nodes that failed in this run."""
    broken = read_broken(config.folder)
    if len(broken) > max_broken:
        raise UsageError(
            f"{len(broken)} nodes have failed, more than {max_broken}: the nodes are probably not to blame; "
            f"{broken[0].node}: {show(broken[0].message)}",
            f"fix the cause, then remove {show(str(config.folder.broken_nodes))} and submit again",
        )
    given = [config.slurm.exclude] if config.slurm.exclude else []
    return ",".join(given + [node.node for node in broken])


def _is_staged(section: SlurmSection, partitions: Sequence[Partition]) -> bool:
    if section.stage != "auto":
        return section.stage == "yes"
    return any(elements_on_a_node(section, partition) > _MANY for partition in partitions)


def elements_on_a_node(section: SlurmSection, partition: Partition) -> int:
    """How many elements may run at once on the largest node of a partition."""
    most = min(partition.cpus // section.cpus, section.parallelism)
    if section.gpu_count:
        most = min(most, max(partition.gpu_counts(), default=0) // section.gpu_count)
    return most


def refused(error: OSError | VmafarmError, queued: Sequence[str]) -> VmafarmError:
    """Turn an error during queueing into one message for the user.

    Parameters
    ----------
    error
        An error of the file system, or one of ours.
    queued
        Jobs that had been queued before it.
    """
    if not isinstance(error, VmafarmError):
        error = UnavailableError(
            f"cannot write what the jobs need: {error}", "free space, or make the folder writable"
        )
    if queued:
        error.hint += f"\nqueued before that: {', '.join(queued)}; vmafarm cancel removes them"
    return error
