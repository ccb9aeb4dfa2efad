"""The main job on this machine: plan, extract, merge, check."""

from __future__ import annotations

import time
from collections.abc import Collection
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from vmafarm.common.errors import IncompleteError, UsageError, VmafarmError, show
from vmafarm.common.say import say
from vmafarm.common.text import counted, format_seconds
from vmafarm.config.load import Config
from vmafarm.corpus.demo import make_demo
from vmafarm.corpus.frozen_config import LIMIT, read_frozen, with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.engines import find_ffmpeg
from vmafarm.process.scratch import scratch_place
from vmafarm.publish import deliver, require_sound_record
from vmafarm.published.up_to_date import read_delivered
from vmafarm.run_folder.element_records import ElementResult
from vmafarm.run_folder.manifest import Manifest
from vmafarm.run_folder.permissions import check_run_folders, others_on_the_way
from vmafarm.run_folder.submissions import EVERYTHING, LAST_LOOK
from vmafarm.scoring.local_executor import run_local
from vmafarm.scoring.progress import watch_progress
from vmafarm.shards.completeness import read_states

_DEMO, _DEMO_FOLDER = "demo", Path("demo-corpus")


def run(config: Config, console: Console, *, limit: int | None = None, allow_missing: bool = False) -> None:
    """Plan, score what has no row yet, merge and check.

    Parameters
    ----------
    config
        The configuration, with the corpus.
    console
        Where to tell what is done.
    limit
        A reproducible sample of so many clips.
    allow_missing
        Publish the table although clips are missing.

    Raises
    ------
    VmafarmError
        See `plan`, `run_local` and `merge`.
    """
    config, manifest = begin(config, console, limit)
    extracted = extract_missing(config, manifest, console)
    if not extracted and (record := read_delivered(config, allow_missing=allow_missing)):
        require_sound_record(record, config, allow_missing=allow_missing)
        say(
            f"nothing to do: the table is there and up to date: {show(str(config.folder.table))}",
            file=console.file,
        )
        return
    deliver(config, partial(say, file=console.file), allow_missing=allow_missing)


def begin(config: Config, console: Console, limit: int | None) -> tuple[Config, Manifest]:
    """Plan a run if it is not yet, and tell what was found.

    Parameters
    ----------
    config, console, limit
        As for `run`.

    Returns
    -------
    config : Config
        With what the plan has frozen.
    manifest : Manifest

    Raises
    ------
    VmafarmError
        See `plan` and `check_run_folders`.
    """
    planned = plan(config, limit=limit)
    say(*planned.lines(), file=console.file)
    config = with_frozen(config, to_start=True)
    trusted = config.run.trusted_owners
    say(*check_run_folders(config.folder, trusted), file=console.file)
    if others := others_on_the_way(scratch_place(config.extract.scratch), trusted):
        say(f"warning: {others}: a scratch folder elsewhere is safer (extract.scratch)", file=console.file)
    return config, planned.manifest


def with_corpus(
    config: Config, console: Console, limit: int | None, *, named: bool
) -> tuple[Config, int | None]:
    """The configuration with a corpus: the one it has, that of the run if it is planned, or the demo corpus.

    Parameters
    ----------
    config, console, limit
        As for `run`.
    named
        The user has named the run. The demo corpus is a run of its own, called demo.

    Returns
    -------
    config : Config
    limit : int or None
        Also that of the plan, where the corpus is the plan's.

    Raises
    ------
    UsageError
        The named run is not planned, and there is no corpus to plan it with.
    """
    if config.corpus.clips or config.corpus.scores:
        return config, limit
    name = config.run.name
    if config.folder.manifest.exists():
        corpus = with_frozen(config).corpus
        say(f'no clips given: going on with the run "{name}" of {show(corpus.clips)}', file=console.file)
        limit = limit or read_frozen(config.folder)[LIMIT] or None
        return config.model_copy(update={"corpus": corpus}), limit
    if named and name != _DEMO:
        raise UsageError(
            f'the run "{name}" is not planned, and no clips and scores are given',
            "give them: --clips DIR --scores FILE (with make: CLIPS=DIR SCORES=FILE)",
        )
    demo = make_demo(_DEMO_FOLDER, find_ffmpeg(config.engine.ffmpeg))
    verb = "made" if demo.new else "using"
    say(f"no clips given (CLIPS=, SCORES=): {verb} the demo corpus {_DEMO_FOLDER}", file=console.file)
    run = config.run.model_copy(update={"name": _DEMO})
    corpus = config.corpus.model_copy(update={"clips": str(demo.clips), "scores": str(demo.scores)})
    return config.model_copy(update={"run": run, "corpus": corpus}), limit


def extract_missing(config: Config, manifest: Manifest, console: Console, limit: int = 0) -> bool:
    """Score what has no row, with progress on the console.

    Clips that fail on this host, where others have taken part as well, get their last tries here at once:
    nobody brings a local run another host.

    Parameters
    ----------
    config, manifest
        A planned run.
    console
        Where to tell what is done.
    limit
        At most so many clips, a reproducible sample of all sizes; 0: all.

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
    gaps = read_states(config.folder, config, manifest).gaps
    total = len(manifest.names)
    failed = len(gaps.failed)
    done = total - len(gaps.missing) - failed
    if not gaps.missing:
        of_them = f", {failed:,} of them failed for good" if failed else ""
        say(f"nothing left to score: {counted(total, 'clip')}{of_them}", file=console.file)
        return False
    if done or failed:
        besides = f", {failed:,} failed for good" if failed else ""
        say(f"resuming: {done:,} of {counted(total, 'clip')} are done{besides}", file=console.file)
    _score(config, manifest, gaps.missing, console, limit)
    undecided = read_states(config.folder, config, manifest).gaps.undecided
    if undecided and not limit:
        clips = counted(len(undecided), "clip")
        say(f"{clips} failed on one of several hosts: tried once more here, which decides", file=console.file)
        _score(config, manifest, undecided, console, share=LAST_LOOK)
    return True


def _score(
    config: Config, manifest: Manifest, names: Collection[str], console: Console, limit: int = 0,
    share: str = EVERYTHING,
) -> None:  # fmt: skip
    """Have elements score these clips on this machine; see `extract_missing`."""
    started = time.monotonic()
    wanted = set(names)
    is_wanted = np.fromiter((name in wanted for name in manifest.names), bool, len(manifest.names))
    slices = sorted(set(manifest.slices[is_wanted].tolist()))
    try:
        with watch_progress(config.folder, min(len(wanted), limit or len(wanted)), console) as watcher:
            result = run_local(config, slices, watcher, limit, share, manifest.digest)
    except KeyboardInterrupt:
        raise _stopped(config, manifest) from None
    _say_extracted(result, time.monotonic() - started, console, config.folder.failures)
    if result.stopped and not result.message:
        raise _stopped(config, manifest)
    if result.exit_code:
        error = VmafarmError(result.message, result.hint)
        error.exit_code = result.exit_code
        raise error


def _say_extracted(result: ElementResult, seconds: float, console: Console, failures: Path) -> None:
    lines = [f"scored {counted(result.done, 'clip')} in {format_seconds(seconds)}"]
    if result.failed:
        classes = ", ".join(f"{name} {count}" for name, count in sorted(result.failed.items()))
        lines += [f"failed: {classes}", f"  details in {show(str(failures))}"]
    say(*lines, file=console.file)


def _stopped(config: Config, manifest: Manifest) -> IncompleteError:
    done = len(read_states(config.folder, config, manifest).done)
    return IncompleteError(
        f"stopped: {done:,} of {len(manifest.names):,} clips are done and kept",
        "run the same command again to resume",
    )
