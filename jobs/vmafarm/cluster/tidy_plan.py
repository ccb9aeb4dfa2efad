"""What may go of a finished run: every file that it names is one that no verb needs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vmafarm.common.errors import reason, show
from vmafarm.disk.drafts import is_abandoned, is_draft
from vmafarm.disk.file_stamp import Stamp
from vmafarm.disk.held_folder import HeldFolder
from vmafarm.run_folder.file_counts import DRAFTS, JOURNALS, MARKERS, SHARDS
from vmafarm.run_folder.manifest import most_rows
from vmafarm.run_folder.packed_logs import find_logs
from vmafarm.run_folder.paths import RunFolder, slice_folder, slice_id
from vmafarm.run_folder.provenance import read_provenance
from vmafarm.shards.listing import list_shards
from vmafarm.shards.planned import read_outline
from vmafarm.shards.redundant import find_redundant


@dataclass
class Plan:
    """What may go.

    Attributes
    ----------
    logs
        Names of logs, with their sizes.
    files
        Other files by kind, each in the state in which it was judged.
    kept
        What stays because it is not known or cannot be read, with the reason.
    """

    logs: dict[str, int] = field(default_factory=dict)
    files: dict[str, dict[Path, Stamp]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)

    def add(self, kind: str, path: Path, stamp: Stamp) -> None:
        """Add a file."""
        self.files.setdefault(kind, {})[path] = stamp


def make_plan(folder: RunFolder) -> Plan:
    """Find out what may go; nothing is changed.

    Parameters
    ----------
    folder
        A run whose table is up to date and of which no job waits or runs.
    """
    plan = Plan()
    if os.path.lexists(folder.logs):
        try:
            with HeldFolder(folder.logs) as logs:
                entries = {name: one for name, one in logs.entries().items() if not is_draft(name)}
                names, kept = find_logs(entries)
                plan.logs = {name: entries[name].st_size for name in names}
                plan.kept += [f"logs/{why}" for why in kept]
        except OSError as error:
            plan.kept.append(f"logs: {reason(error)}")
    outline = read_outline(folder)
    listing = list_shards(folder, outline.slices)
    plan.kept += listing.wrong + listing.strange
    provenance = read_provenance(folder.provenance)
    if provenance is not None:
        found = find_redundant(folder, listing, provenance, most_rows(folder), outline.digests)
        plan.kept += found.kept
        plan.files = {JOURNALS: found.journals, SHARDS: found.shards}
    for path in _folders_with_drafts(folder):
        _plan_leftovers(folder, path, plan)
    return plan


def _folders_with_drafts(folder: RunFolder) -> Iterator[Path]:
    yield from (folder.path, folder.logs, folder.submissions, folder.merge_jobs, folder.broken_nodes)
    yield folder.clip_logs
    for base in (folder.shards, folder.frames, folder.clip_logs):
        yield from slice_folders(base)


def slice_folders(base: Path) -> Iterator[Path]:
    """Folders of slices in a folder; no links, which only a person could have put there."""
    try:
        entries = sorted(os.scandir(base), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        number = slice_id(Path(entry.name))
        if number is not None and entry.name == slice_folder(number) and entry.is_dir(follow_symlinks=False):
            yield base / entry.name


def _plan_leftovers(folder: RunFolder, path: Path, plan: Plan) -> None:
    """Add the markers and drafts in a folder."""
    shown = show(os.path.relpath(path, folder.path))
    try:
        with HeldFolder(path) as held:
            entries = held.entries()
    except FileNotFoundError:
        return
    except OSError as error:
        plan.kept.append(f"{shown}: {reason(error)}")
        return
    for name, status in entries.items():
        marker = path.parent == folder.shards and name.endswith(".done")
        if not (marker or is_draft(name)):
            continue
        if not stat.S_ISREG(status.st_mode):
            plan.kept.append(f"{shown}/{show(name)}: not a regular file")
        elif not marker and not is_abandoned(status):
            plan.kept.append(f"{shown}/{show(name)}: perhaps still being written")
        else:
            plan.add(MARKERS if marker else DRAFTS, path / name, Stamp.of(status))
