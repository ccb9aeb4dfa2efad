"""The clips of a run that were tried and have no row: why, how often, and whether that is final."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vmafarm.common.errors import UsageError, show
from vmafarm.common.layout import wrapped
from vmafarm.common.text import counted
from vmafarm.config.sections import Config
from vmafarm.run_folder.failures import FAILURE_CLASSES
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.shards.completeness import read_states


@dataclass(frozen=True)
class TriedClip:
    """A clip without a row.

    Attributes
    ----------
    clip_name
        Its name.
    failure, message
        Class and message of what went wrong: that which is final, else the last.
    tries
        Failed tries on record; of a final failure those that count.
    hosts
        Where they were made, in order.
    final
        Whether it has failed for good: it is not tried again.
    slice
        Number of its slice.
    """

    clip_name: str
    failure: str
    message: str
    tries: int
    hosts: tuple[str, ...]
    final: bool
    slice: int


@dataclass(frozen=True)
class FailedClips:
    """The failed clips of a run.

    Attributes
    ----------
    run
        Its name.
    clips
        Those that were asked for: final ones first, then by class of failure and name.
    unread
        Records that could not be read, and so do not count.
    """

    run: str
    clips: tuple[TriedClip, ...]
    unread: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {"version": 1, **asdict(self)}

    def lines(self) -> list[str]:
        """For a terminal."""
        final = sum(clip.final for clip in self.clips)
        again = len(self.clips) - final
        lines = wrapped(f"{counted(final, 'clip')} failed for good, {again:,} to be tried again")
        if self.unread:
            lines += wrapped(f"note: {counted(self.unread, 'damaged record')} could not be read", then="  ")
        for clip in self.clips:
            end = "for good" if clip.final else "to be tried again"
            tries = "1 try" if clip.tries == 1 else f"{clip.tries:,} tries"
            lines.append(show(clip.clip_name))
            lines += wrapped(
                f"{clip.failure}, {end}: {tries} on {', '.join(clip.hosts)}, slice {clip.slice}", "  "
            )
            lines += wrapped(clip.message, "    ")
        if self.clips:
            lines += [
                f"tasks and logs of a slice: vmafarm logs {self.clips[0].slice} --run {self.run}",
                "every try of a clip, with what its program said:",
                f"  vmafarm sql --run {self.run} \"FROM failures WHERE clip_name = 'NAME'\"",
            ]
        return lines


def read_failed_clips(config: Config, classes: Sequence[str] = ()) -> FailedClips:
    """Read which clips were tried and have no row.

    Parameters
    ----------
    config
        The configuration of a planned run.
    classes
        Only failures of these classes; empty: all.

    Raises
    ------
    UsageError
        There is no such class.
    UnavailableError
        This user has no permission to read the run.
    """
    for name in classes:
        if name not in FAILURE_CLASSES:
            raise UsageError(
                f"there is no class of failure {show(name)!r}", f"there are: {', '.join(FAILURE_CLASSES)}"
            )
    manifest = load_manifest(config.folder)
    states = read_states(config.folder, config, manifest)
    wanted = states.gaps.failed.keys() | states.gaps.tried.keys()
    slices = {
        name: int(number)
        for name, number in zip(manifest.names, manifest.slices, strict=True)
        if name in wanted
    }
    found = [
        TriedClip(name, clip.failure, clip.message, clip.tries, clip.hosts, True, slices[name])
        for name, clip in states.gaps.failed.items()
    ]
    hosts: dict[str, list[str]] = {name: [] for name in states.gaps.tried}
    for record in states.history.records:
        if record.clip_name in hosts:
            hosts[record.clip_name].append(record.host)
    found += [
        TriedClip(
            name, last.failure, last.message, len(hosts[name]), tuple(sorted(set(hosts[name]))), False,
            slices[name],
        )
        for name, last in states.gaps.tried.items()
    ]  # fmt: skip
    chosen = [clip for clip in found if not classes or clip.failure in classes]
    ordered = sorted(chosen, key=lambda clip: (not clip.final, clip.failure, clip.clip_name))
    return FailedClips(config.run.name, tuple(ordered), states.history.unread.count)
