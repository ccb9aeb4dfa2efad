"""Tidies up a finished run: packs its logs, and removes files that nothing needs once its table is published.

Each step leaves a run of which every verb says the same, so a kill at any point loses nothing, and the next
call goes on. The record of the merge first says which shards and journals may be gone from now on.
"""

from __future__ import annotations

import json
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vmafarm.cluster.clusters import queued_jobs
from vmafarm.cluster.submit import alone
from vmafarm.cluster.tidy_plan import Plan, make_plan, slice_folders
from vmafarm.common.errors import IncompleteError, UsageError, show
from vmafarm.common.layout import labelled, unbroken
from vmafarm.config.sections import Config
from vmafarm.disk.file_stamp import Stamp
from vmafarm.disk.held_folder import HeldFolder
from vmafarm.published.in_place import InPlace
from vmafarm.published.up_to_date import read_delivered, read_errors, read_input, read_tidied
from vmafarm.run_folder.at_work import read_worker
from vmafarm.run_folder.file_counts import JOURNALS, LOGS, SHARDS, FileCounts, compare, count_files
from vmafarm.run_folder.packed_logs import pack
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.permissions import secure_logs


@dataclass(frozen=True)
class Tidied:
    """What was tidied up, or would be.

    Attributes
    ----------
    before, after
        Files of the run.
    archive
        Where its logs are now; None: none were packed.
    logs
        How many files were packed, or would be.
    kept
        What was not touched because it is not known or cannot be read.
    dry_run
        Nothing was changed.
    """

    before: FileCounts
    after: FileCounts
    archive: Path | None
    logs: int
    kept: tuple[str, ...]
    dry_run: bool

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = compare(self.before, self.after)
        rows = []
        if self.archive is not None:
            rows.append(("logs", unbroken(str(self.archive))))
        elif self.dry_run and self.logs:
            rows.append(("logs", f"{self.logs:,} files would become one archive, not counted above"))
        if self.kept:
            more = len(self.kept) - _SHOWN
            rows.append(
                ("kept", "; ".join(self.kept[:_SHOWN]) + (f"; and {more:,} more" if more > 0 else ""))
            )
        if self.dry_run:
            rows.append(("note", "nothing was changed (--dry-run)"))
        return lines + labelled(rows, 14)


_SHOWN = 5


def tidy(config: Config, *, dry_run: bool = False) -> Tidied:
    """Pack the logs of a finished run, and remove the files that no verb needs.

    Parameters
    ----------
    config
        The configuration of a planned run.
    dry_run
        Only say what would be done.

    Raises
    ------
    IncompleteError
        The run has no table that is sound and up to date with its rows.
    UsageError
        Jobs of the run are queued or running, or are just being queued; or others could change its logs.
    UnavailableError
        Whether jobs are queued is not known; or the run folder cannot be written.
    """
    folder = config.folder
    with nullcontext() if dry_run else alone(folder):
        _require_idle(config)
        place = InPlace(folder)
        record = _require_published(config)
        before, plan = count_files(folder), make_plan(folder)
        if dry_run:
            return _foretell(before, plan)
        archive = _pack_logs(config, plan)
        _announce(folder, record, place, plan)
        for found in plan.files.values():
            _remove(found, plan.kept)
        _remove_empty_folders(folder)
        return Tidied(before, count_files(folder), archive, len(plan.logs), tuple(plan.kept), dry_run=False)


def _require_idle(config: Config) -> None:
    if worker := read_worker(config.folder):
        raise UsageError(
            f'the run "{config.folder.name}" is being worked on: {worker}',
            f"wait for it: vmafarm status --run {config.folder.name} --watch; then tidy up again",
        )
    if jobs := queued_jobs(config.folder):
        raise UsageError(
            f'jobs of "{config.folder.name}" wait or run: {", ".join(jobs)}',
            "wait for them (vmafarm status), or end them: vmafarm cancel; then tidy up again",
        )


def _require_published(config: Config) -> dict[str, Any]:
    name = config.folder.name
    record = read_delivered(config)
    if record is None:
        raise IncompleteError(
            f'"{name}" has no table that is complete, unchanged and up to date with its rows: '
            f"{show(str(config.folder.table))}",
            f"publish it: vmafarm merge --run {name}; then tidy up. What is missing: vmafarm status",
        )
    if errors := read_errors(config.folder):
        raise IncompleteError(
            f"checks found errors in the table: {', '.join(errors)}",
            f"vmafarm qa --check {next(iter(errors))} shows the rows; its logs are kept until then",
        )
    return record


def _foretell(before: FileCounts, plan: Plan) -> Tidied:
    after = before
    sizes = {kind: [stamp.bytes for stamp in found.values()] for kind, found in plan.files.items()}
    if plan.logs:
        sizes[LOGS] = list(plan.logs.values())
    for kind, found in sizes.items():
        after = after.without(kind, len(found), sum(found))
    return Tidied(before, after, None, len(plan.logs), tuple(plan.kept), dry_run=True)


def _pack_logs(config: Config, plan: Plan) -> Path | None:
    """Pack the logs; each is removed once the archive is on disk, unless it has changed since."""
    folder = config.folder
    if not plan.logs:
        return None
    secure_logs(folder, config.run.trusted_owners)
    with HeldFolder(folder.logs) as logs:
        made = pack(logs, plan.logs)
        if made is None:
            return None
        archive, packed, unread = made
        plan.kept += [f"logs/{why}" for why in unread]
        for name, stamp in packed.items():
            if not logs.remove(name, stamp):
                plan.kept.append(f"logs/{show(name)}: it has changed meanwhile")
    return archive


def _announce(folder: RunFolder, record: dict[str, Any], place: InPlace, plan: Plan) -> None:
    """Have the record of the merge say which of its inputs may be gone: the table stays up to date."""
    known = {one.file: one for one in read_tidied(record)}
    tidied = dict(known)
    for kind in (JOURNALS, SHARDS):
        for path in list(plan.files.get(kind, {})):
            one = read_input(folder, path)
            if one.bytes < 0:  # gone meanwhile
                del plan.files[kind][path]
            else:
                tidied[one.file] = one
    if tidied != known:
        document = record | {"tidied": [asdict(one) for one in tidied.values()]}
        place.replace_text(folder.merge_record, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _remove(found: dict[Path, Stamp], kept: list[str]) -> None:
    """Remove files that are as they were when they were judged."""
    by_folder: dict[Path, list[str]] = {}
    for path in found:
        by_folder.setdefault(path.parent, []).append(path.name)
    for path, names in by_folder.items():
        with HeldFolder(path) as folder:
            changed = [name for name in names if not folder.remove(name, found[path / name])]
        kept += [f"{path.name}/{show(name)}: it has changed meanwhile" for name in changed]


def _remove_empty_folders(folder: RunFolder) -> None:
    for base in (folder.shards, folder.frames, folder.clip_logs):
        slices = list(slice_folders(base))
        if not slices:
            continue
        with HeldFolder(base, may_be_link=True) as held:
            for path in slices:
                with suppress(OSError):  # not empty: the system decides, in one step
                    held.remove_folder(path.name)
