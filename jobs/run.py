"""The main job on this machine: plan, extract, merge, check."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from rich.console import Console

from jobs.config import Config
from jobs.deliver import deliver
from jobs.demo import make_demo
from jobs.element import ElementResult, find_todo
from jobs.engines import find_ffmpeg
from jobs.errors import IncompleteError, VmafarmError
from jobs.frozen import with_frozen
from jobs.launch import run_local
from jobs.manifest import Manifest
from jobs.plan import plan
from jobs.progress import watch_progress
from jobs.trust import check_run_folders
from jobs.words import format_seconds

_DEMO_FOLDER = Path("demo-corpus")


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
    if not extracted and _is_merged(config):
        say(console, [f"nothing to do: the table is there and up to date: {config.folder.table}"])
        return
    deliver(config, lambda line: say(console, [line]), allow_missing=allow_missing)


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
    say(console, planned.lines())
    config = with_frozen(config)
    say(console, check_run_folders(config.folder))
    return config, planned.manifest


def with_demo(config: Config, console: Console) -> Config:
    """Where neither clips nor scores are given: make the demo corpus, and configure it as a run."""
    if config.corpus.clips or config.corpus.scores:
        return config
    demo = make_demo(_DEMO_FOLDER, find_ffmpeg(config.engine.ffmpeg))
    verb = "made" if demo.new else "using"
    say(console, [f"no clips given (CLIPS=, SCORES=): {verb} the demo corpus {_DEMO_FOLDER}"])
    return config.model_copy(
        update={
            "run": config.run.model_copy(update={"name": "demo"}),
            "corpus": config.corpus.model_copy(update={"clips": str(demo.clips), "scores": str(demo.scores)}),
        }
    )


def extract_missing(config: Config, manifest: Manifest, console: Console, limit: int = 0) -> bool:
    """Score what has no row, with progress on the console.

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
    slices = tuple(int(i) for i in np.unique(manifest.slices))
    todo = find_todo(config.folder, config, manifest, slices)
    total = len(manifest.names)
    if not todo:
        say(console, [f"scored already: all of {total:,} clips but those set aside"])
        return False
    if len(todo) < total:
        say(console, [f"going on: {total - len(todo):,} of {total:,} clips are done"])
    started = time.monotonic()
    wanted = sorted({clip.slice for clip in todo})
    try:
        count = min(len(todo), limit or len(todo))
        with watch_progress(config.folder, count, console) as watcher:
            result = run_local(config, wanted, watcher, limit)
    except KeyboardInterrupt:
        left = len(find_todo(config.folder, config, manifest, slices))
        raise _stopped(total - left, total) from None
    _say_extracted(result, time.monotonic() - started, console, config.folder.failures)
    if result.stopped and not result.message:
        left = len(find_todo(config.folder, config, manifest, slices))
        raise _stopped(total - left, total)
    if result.exit_code:
        error = VmafarmError(result.message, result.hint)
        error.exit_code = result.exit_code
        raise error
    return True


def _say_extracted(result: ElementResult, seconds: float, console: Console, failures: Path) -> None:
    lines = [f"scored {result.done:,} clips in {format_seconds(seconds)}"]
    if result.failed:
        classes = ", ".join(f"{name} {count}" for name, count in sorted(result.failed.items()))
        lines += [f"failed: {classes}", f"  what happened stands in {failures}"]
    say(console, lines)


def _stopped(done: int, total: int) -> IncompleteError:
    return IncompleteError(
        f"stopped: {done:,} of {total:,} clips are done and kept", "run the same command again to go on"
    )


def _is_merged(config: Config) -> bool:
    """Whether the table is younger than all that it is made of, and what belongs to it is there."""
    folder = config.folder
    beside = [folder.merge_record, folder.card, *([folder.report] if config.merge.checks else [])]
    try:
        merged_at = folder.table.stat().st_mtime_ns
        # One that was killed on the way has left those of an earlier merge, or none. When the card was
        # begun, the names of table and record, in the same folder, were durable.
        if any(path.stat().st_mtime_ns < merged_at for path in beside):
            return False
    except FileNotFoundError:
        return False
    parts = [folder.manifest, *folder.shards.glob("*/*"), *folder.failures.glob("*")]
    return all(part.stat().st_mtime_ns < merged_at for part in parts)


def say(console: Console, lines: list[str]) -> None:
    """Print lines as they are."""
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
