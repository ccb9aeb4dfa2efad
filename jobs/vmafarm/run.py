"""The main job on this machine: plan, extract, merge, check."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from vmafarm.common.errors import IncompleteError, VmafarmError, show
from vmafarm.common.say import say
from vmafarm.common.steps import working
from vmafarm.common.text import counted, format_seconds
from vmafarm.config.sections import Config
from vmafarm.contents.reuse import refuse_with_frames
from vmafarm.contents.reuse import reuse as reuse_rows
from vmafarm.contents.verify import verify as find_others
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.corpus.squashfs import require_folder
from vmafarm.process.scratch import scratch_place
from vmafarm.publish import deliver, require_sound_record
from vmafarm.published.up_to_date import read_delivered
from vmafarm.run_folder.at_work import at_work, refuse_second
from vmafarm.run_folder.element_records import ElementResult
from vmafarm.run_folder.permissions import check_run_folders, others_on_the_way
from vmafarm.run_folder.planned_clips import Manifest
from vmafarm.run_folder.submissions import EVERYTHING, LAST_LOOK
from vmafarm.scoring.local_executor import run_local
from vmafarm.scoring.origin import probe_here, provenance_of
from vmafarm.scoring.progress import watch_progress
from vmafarm.shards.completeness import read_states


def run(
    config: Config, *, update: bool = False, drop: bool = False, verify: bool = False,
    reuse: Sequence[str] = (), allow_missing: bool = False, file: IO[str] | None = None,
) -> None:  # fmt: skip
    """Plan, score what has no row yet, merge and check.

    Parameters
    ----------
    config
        The configuration, with the corpus.
    update, drop
        See `vmafarm.corpus.plan.plan`.
    verify
        First read the files of all clips that have a row: are they what was scored? With `update`, others
        are scored again.
    reuse
        Runs or tables whose rows are taken; see `vmafarm.contents.reuse.reuse`.
    allow_missing
        Publish the table although clips are missing.
    file
        Where to print progress; None: the standard output.

    Raises
    ------
    VmafarmError
        See `plan`, `run_local` and `merge`.
    """
    if reuse:  # a new run leaves no plan behind
        refuse_with_frames(config)
    with begun(config, file, update=update, drop=drop) as (config, manifest):
        if verify:
            manifest = _verify(config, manifest, file, update=update)
        if reuse:
            own = provenance_of(probe_here(config), manifest)
            for source in reuse:
                say(str(reuse_rows(config, manifest, source, own)), file=file)
        extracted = extract_missing(config, manifest, file=file)
        if not extracted and (record := read_delivered(config, allow_missing=allow_missing)):
            require_sound_record(record, config, allow_missing=allow_missing)
            say(
                f"nothing to do: the table is there and up to date: {show(str(config.folder.table))}",
                file=file,
            )
            return
        deliver(config, partial(say, file=file), allow_missing=allow_missing)


def _verify(config: Config, manifest: Manifest, file: IO[str] | None, *, update: bool) -> Manifest:
    """Compare files with what was scored; the manifest, in which those that differ count as changed."""
    found = find_others(config, manifest)
    if not update or found.unreadable.count:
        found.require_same()
    say(*found.lines(), file=file)
    if not found.others:
        return manifest
    planned = plan(config, update=True, others=found.others)
    say(*planned.changes.lines(), file=file)
    return planned.manifest


@contextmanager
def begun(
    config: Config, file: IO[str] | None = None, *, update: bool = False, drop: bool = False
) -> Iterator[tuple[Config, Manifest]]:
    """Plan a run, or take what has changed since, print what was found, and say who works on it meanwhile.

    Parameters
    ----------
    config, file, update, drop
        As for `run`.

    Yields
    ------
    config : Config
        With what the plan has frozen.
    manifest : Manifest

    Raises
    ------
    UsageError
        Another process works on the run.
    VmafarmError
        See `plan` and `check_run_folders`.
    """
    refuse_second(config.folder)  # before the corpus is read, which may take minutes
    config, manifest = _begin(config, file, update=update, drop=drop)
    with at_work(config.folder, partial(say, file=file)):
        yield config, manifest


@working("planning")
def _begin(config: Config, file: IO[str] | None, *, update: bool, drop: bool) -> tuple[Config, Manifest]:
    require_folder(Path(config.corpus.clips))
    if not config.folder.manifest.exists():
        probe_here(config)  # an engine that does not work here leaves no run behind
    planned = plan(config, update=update, drop=drop)
    say(*planned.lines(), file=file)
    config = with_frozen(config, to_start=True)
    trusted = config.run.trusted_owners
    say(*check_run_folders(config.folder, trusted), file=file)
    if others := others_on_the_way(scratch_place(config.extract.scratch), trusted):
        say(f"warning: {others}: a scratch folder elsewhere is safer (extract.scratch)", file=file)
    return config, planned.manifest


def extract_missing(config: Config, manifest: Manifest, limit: int = 0, file: IO[str] | None = None) -> bool:
    """Score what has no row, with progress.

    Clips that fail on this host, where others have taken part as well, get their last tries here at once:
    a local run has no other host.

    Parameters
    ----------
    config, manifest
        A planned run.
    limit
        At most so many clips, a reproducible sample of all sizes; 0: all.
    file
        As for `run`.

    Returns
    -------
    bool
        Whether there was anything.

    Raises
    ------
    IncompleteError
        It was stopped.
    VmafarmError
        See `run_local`; also what ended an element.
    """
    with working(""):
        gaps = read_states(config.folder, config, manifest).gaps
    total = len(manifest.names)
    failed = len(gaps.failed)
    done = total - len(gaps.missing) - failed
    if not gaps.missing:
        of_them = f", {failed:,} of them failed for good" if failed else ""
        say(f"nothing left to score: {counted(total, 'clip')}{of_them}", file=file)
        return False
    if done or failed:
        besides = f", {failed:,} failed for good" if failed else ""
        say(f"resuming: {done:,} of {counted(total, 'clip')} done{besides}", file=file)
    _score(config, manifest, gaps.missing, file, limit)
    undecided = read_states(config.folder, config, manifest).gaps.undecided
    if undecided and not limit:
        clips = counted(len(undecided), "clip")
        say(f"{clips} failed on one of several hosts; trying once more here, which decides", file=file)
        _score(config, manifest, undecided, file, share=LAST_LOOK)
    return True


def _score(
    config: Config, manifest: Manifest, names: Collection[str], file: IO[str] | None, limit: int = 0,
    share: str = EVERYTHING,
) -> None:  # fmt: skip
    """Have elements score these clips on this machine; see `extract_missing`."""
    started = time.monotonic()
    wanted = set(names)
    is_wanted = np.fromiter((name in wanted for name in manifest.names), bool, len(manifest.names))
    slices = sorted(set(manifest.slices[is_wanted].tolist()))
    try:
        compares = config.engine.plan == "full" and config.engine.audit_every > 0 and not limit
        total = min(len(wanted), limit or len(wanted))
        with watch_progress(config.folder, total, file, compares_plans=compares) as reporter:
            result = run_local(config, slices, reporter, limit, share, manifest.digest)
    except KeyboardInterrupt:
        raise _stopped(config, manifest) from None
    _say_extracted(result, time.monotonic() - started, file, config.run.name)
    if result.stopped and not result.message:
        raise _stopped(config, manifest)
    if result.exit_code:
        error = VmafarmError(result.message, result.hint)
        error.exit_code = result.exit_code
        raise error


def _say_extracted(result: ElementResult, seconds: float, file: IO[str] | None, run: str) -> None:
    lines = [f"scored {counted(result.done, 'clip')} in {format_seconds(seconds)}"]
    if result.failed:
        classes = ", ".join(f"{name} {count}" for name, count in sorted(result.failed.items()))
        lines += [f"failed: {classes}", f"  vmafarm failures --run {run} lists the clips, and why"]
    say(*lines, file=file)


def _stopped(config: Config, manifest: Manifest) -> IncompleteError:
    done = len(read_states(config.folder, config, manifest).done)
    return IncompleteError(
        f"stopped: {done:,} of {len(manifest.names):,} clips are done and kept",
        "run the same command again to resume",
    )
