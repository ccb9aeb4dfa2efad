"""Command lines that start Python on a compute node: containers/element.sh, and in it the image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from vmafarm.common.errors import UsageError, show
from vmafarm.common.package import data_folder
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.images.containers import container_of
from vmafarm.process.interpreter import own_command
from vmafarm.run_folder.paths import RunFolder

STARTER = "element.sh"
_CHECKED = (
    'text=$(timeout 60 cat "$2") && [ "$(printf "%s\\n" "$text" | sha256sum)" = "$1  -" ] || '
    '{ echo "element.sh: cannot read $2, or it is not the file that was submitted; not running it" >&2; '
    'exit 3; }; shift 2; eval "$text"'
)
"""Others who may write the run folder could replace the file while jobs wait. It is read once: what is
compared is what runs."""


def container_python(
    section: SlurmSection, folder: RunFolder, clips: Path | None, scratch: str, *, publishes: bool = False
) -> list[str]:
    """Command that starts Python for an element: in the image, or this Python without one.

    Parameters
    ----------
    section
        ``[slurm]``.
    folder
        The run, bound writable at its own path.
    clips
        Folder of the clips, bound read-only at its own path; or an image of it, whose content is bound
        at `vmafarm.corpus.squashfs.CONTAINER_CLIPS`. None: nothing to bind.
    scratch
        Folder for temporary files on the node; empty: the node's default.
    publishes
        For a merge: the table is next to the run's folder, so the folder of all runs is bound.

    Raises
    ------
    UsageError
        A path cannot be bound, because containers split at colons and commas; or see `own_command`.
    """
    container = container_of(section)
    if container is None:
        return own_command()
    writable = [(folder.root if publishes else folder.path).absolute()]
    writable += [Path(scratch).absolute()] if scratch else []
    return container.command(
        [_bindable(path) for path in writable], clips if clips is None else _bindable(clips), section.binds
    )


def _bindable(path: Path) -> Path:
    if any(character in str(path) for character in ":,\n"):
        raise UsageError(
            f"{show(str(path))}: containers cannot bind a path with a colon, a comma or a line break",
            "rename the folder, or use a link with another name",
        )
    return path


@cache
def starter_text() -> str:
    """Text of containers/element.sh; every submission has its own copy."""
    return (data_folder("containers") / STARTER).read_text(encoding="utf-8")


def starter_command(starter: Path) -> list[str]:
    """Command that runs a copy of containers/element.sh if it is unchanged; append its options."""
    digest = hashlib.sha256(starter_text().encode()).hexdigest()
    return ["sh", "-c", _CHECKED, "sh", digest, str(starter)]


def start_command(
    starter: Path,
    section: SlurmSection,
    folder: RunFolder,
    job_name: str,
    python: Sequence[str],
    *,
    clips: str,
    max_broken: int,
    image_digest: str = "",
    image_stamp: str = "",
    staged: bool = False,
    next_look: Path | None = None,
) -> list[str]:
    """Command that starts Python for an element, with everything that runs outside of the image.

    Parameters
    ----------
    starter
        This submission's copy of containers/element.sh, visible on every node.
    section, folder, job_name
        The run's ``[slurm]``, its folder, and the name of its jobs.
    python
        From `container_python`.
    clips
        Folder or image of the clips, on the host.
    max_broken
        If more nodes than this are broken, the nodes are not to blame.
    image_digest, image_stamp
        Of the image: ``sha256:...``, and `vmafarm.images.sif.read_stamp`; empty without a container.
    staged
        Have the image copied to each node's own disk.
    next_look
        File with the job that must not run on the same node as this one; None: no such job.
    """
    command = [*starter_command(starter), "--run", str(folder.path.absolute()), "--name", job_name]
    command += ["--clips", clips, "--max-broken", str(max_broken)]
    if section.exclude:
        command += ["--exclude", section.exclude]
    if image_digest:
        image = str(Path(section.image).absolute())
        command += ["--image", image, "--digest", image_digest.removeprefix("sha256:")]
        command += ["--stamp", image_stamp, *(["--stage", section.stage_folder] if staged else [])]
    if next_look is not None:
        command += ["--next-look", str(next_look.absolute())]
    return [*command, "--", *python]
