"""Links of a corpus that lead to folders which a container does not see."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmafarm.common.errors import UsageError, show
from vmafarm.common.text import counted
from vmafarm.config.slurm_section import SlurmSection
from vmafarm.corpus.squashfs import is_squashfs
from vmafarm.run_folder.paths import RunFolder

_LOOKED_AT = 1_000
"""Clips looked at, evenly over all of them: on a file server each takes about a millisecond."""
_LINKS = 40
"""Links that Linux follows on the way to a file."""
_SHOWN = 5


@dataclass(frozen=True)
class LinkedClips:
    """Which clips a container would not find.

    Attributes
    ----------
    looked_at, unseen
        Clips looked at; those of them that lead to where nothing is bound.
    folders
        The top-most folders that hold them.
    """

    looked_at: int
    unseen: int
    folders: tuple[str, ...]

    def message(self) -> str:
        """Say what was found."""
        named = ", ".join(map(show, self.folders[:_SHOWN])) + (", ..." if len(self.folders) > _SHOWN else "")
        all_of = "all" if self.unseen == self.looked_at else f"{self.unseen:,} of"
        leads = "leads" if self.looked_at == 1 else "lead"
        return (
            f"{all_of} {counted(self.looked_at, 'clip')} that were looked at {leads} by links to {named}, "
            "which the container does not see"
        )

    def hint(self) -> str:
        """Say what to bind."""
        listed = ", ".join(f'"{show(folder)}"' for folder in self.folders)
        return f"have it bound: slurm.binds = [{listed}]"


def find_unseen(
    section: SlurmSection, folder: RunFolder, clips: Path, scratch: str, names: Sequence[str]
) -> LinkedClips | None:
    """Look for links that lead out of what the container of a run has bound.

    Parameters
    ----------
    section
        ``[slurm]``.
    folder
        The run.
    clips
        Folder of the clips, or an image of it.
    scratch
        ``extract.scratch``.
    names
        The clips of the run.

    Returns
    -------
    LinkedClips or None
        None: there are none, or no container is used, or the clips lie in an image.
    """
    if not section.uses_image or is_squashfs(clips):
        return None
    top = clips.absolute()
    bound = [str(top), str(folder.path.absolute()), *([str(Path(scratch).absolute())] if scratch else [])]
    bound += [_destination(bind) for bind in section.binds]
    looked_at = names[:: max(1, -(-len(names) // _LOOKED_AT))]
    outside = []
    for name in looked_at:
        stops = _way(f"{top}/{name}")
        if (leads_to := next((stop for stop in stops if not _is_below(stop, bound)), None)) is not None:
            outside.append(leads_to)
    return LinkedClips(len(looked_at), len(outside), _top_most(outside)) if outside else None


def check_linked_clips(
    section: SlurmSection, folder: RunFolder, clips: Path, scratch: str, names: Sequence[str]
) -> tuple[str, str] | None:
    """Find clips that the container does not see; see `find_unseen` for the parameters.

    Returns
    -------
    (message, hint) or None
        A warning: some of the clips would be unreadable.

    Raises
    ------
    UsageError
        All of the clips would be.
    """
    found = find_unseen(section, folder, clips, scratch, names)
    if found is None:
        return None
    if found.unseen == found.looked_at:
        raise UsageError(found.message(), found.hint())
    return found.message(), found.hint()


def _destination(bind: str) -> str:
    """Where a bind mount appears in the container: ``source[:destination[:options]]``."""
    source, _, rest = bind.partition(":")
    return os.path.normpath(rest.partition(":")[0] or source)


def _way(path: str) -> Iterator[str]:
    """Where the links of a clip lead, one after the other, as the container would follow them."""
    for _ in range(_LINKS):
        try:
            target = os.readlink(path)  # noqa: PTH115 - as text
        except OSError:  # a file, or nothing: the end of the way
            return
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))  # noqa: PTH118, PTH120
        yield path


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(folder == "/" or path == folder or path.startswith(f"{folder}/") for folder in folders)


def _top_most(targets: Iterable[str]) -> tuple[str, ...]:
    """For each folder below the root that has targets, the folder that all of them share."""
    below: dict[str, set[str]] = {}
    for target in targets:
        below.setdefault(target.split("/")[1], set()).add(os.path.dirname(target))  # noqa: PTH120
    return tuple(sorted(os.path.commonpath(folders) for folders in below.values()))
