"""What a verb works on if no clips are given: a run that is planned, or the demo."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import IO

from vmafarm.common.errors import UsageError, show
from vmafarm.common.say import say, say_aside
from vmafarm.config.sections import Config
from vmafarm.corpus.demo import make_demo
from vmafarm.corpus.frozen_config import with_frozen, with_plan
from vmafarm.corpus.named_run import require_known, with_name, with_new_name, with_planned
from vmafarm.engines.ffmpeg import find_ffmpeg
from vmafarm.publish import require_sound_record
from vmafarm.published.up_to_date import read_delivered
from vmafarm.report.runs import read_runs
from vmafarm.run_folder.known_runs import is_planned, known_runs

_DEMO, _DEMO_FOLDER = "demo", Path("demo-corpus")


def to_run(config: Config, *, allow_missing: bool = False, file: IO[str] | None = None) -> Config | None:
    """What ``vmafarm run`` is to do: the run that is meant, with its corpus.

    That is the run of the clips that are given, the one that is named, the newest that is not finished, or,
    where no run is planned, the demo.

    Parameters
    ----------
    config, allow_missing, file
        As for `vmafarm.run.run`.

    Returns
    -------
    Config or None
        None: nothing is to do, and that was said.

    Raises
    ------
    UsageError
        The named run is not planned, and there is no corpus to plan it with; or none can go on here.
    IncompleteError
        Nothing is to do, but the checks found errors in the table.
    """
    found = known_runs(Path(config.run.root))
    if config.run.name or _has_corpus(config) or not found:
        return with_corpus(config, file=file)
    root, runs = show(config.run.root), read_runs(config, found)
    unfinished = [run for run in runs if not run.finished and not run.problem]
    # Who has submitted a run may be on a login node, where nobody should score clips.
    elsewhere = [run.name for run in unfinished if with_name(config, run.name).folder.submissions.exists()]
    names = [run.name for run in unfinished if run.name not in elsewhere]
    if names:
        if len(names) > 1:
            listed = ", ".join(names)
            say(f"runs in {root} that are not finished: {listed}; going on with the newest", file=file)
        return with_corpus(with_name(config, names[0]), file=file)
    if elsewhere:
        raise UsageError(
            f"no run in {root} was begun on this machine and is not finished; submitted to SLURM: "
            + ", ".join(elsewhere),
            f"vmafarm status --run {elsewhere[0]}; to go on with it on this machine: "
            f"vmafarm run --run {elsewhere[0]}",
        )
    if damaged := [run for run in runs if run.problem]:
        raise UsageError(
            f'the run "{damaged[0].name}" in {root} cannot be read: {damaged[0].problem}',
            "vmafarm runs lists all; --run NAME takes another one",
        )
    newest = with_frozen(with_name(config, runs[0].name))
    record = read_delivered(newest, allow_missing=allow_missing)
    if record is None:  # something has changed since
        return with_corpus(with_name(config, newest.run.name), file=file)
    require_sound_record(record, newest, allow_missing=allow_missing)
    if len(runs) > 1:
        say(f"all {len(runs):,} runs in {root} are finished (vmafarm runs)", file=file)
    say(
        f"nothing to do: the table is there and up to date: {show(str(newest.folder.table))}",
        f"to see whether its clips or scores have changed since: vmafarm run --run {newest.run.name}",
        "a new run: --clips DIR --scores FILE (with make: CLIPS=DIR SCORES=FILE)",
        file=file,
    )
    return None


def with_corpus(config: Config, *, file: IO[str] | None = None) -> Config:
    """The configuration with a corpus: the one it has, that of the run if it is planned, or the demo corpus.

    Parameters
    ----------
    config, file
        As for `vmafarm.run.run`. If no run is named, the only or the newest one is taken. The demo corpus is
        a run of its own, called demo, and is used where there is no run.

    Raises
    ------
    UsageError
        The named run is not planned, and there is no corpus to plan it with.
    """
    if _has_corpus(config):
        return with_new_name(config)
    if not config.run.name:
        if not known_runs(Path(config.run.root)):
            return _demo(config, file)
        config = with_planned(config, partial(say, file=file))
    if is_planned(config.folder):
        return _of_plan(config, file)
    if config.run.name == _DEMO:
        return _demo(config, file)
    require_known(config)
    return _of_plan(config)  # which says why it cannot be read


def to_submit(config: Config) -> Config:
    """What ``vmafarm submit`` is to do: the run of the clips that are given, else the one that is planned.

    Parameters
    ----------
    config
        As for `vmafarm.corpus.plan.plan`.

    Raises
    ------
    UsageError
        No clips are given, and no run is named and planned, nor is there just one.
    """
    if _has_corpus(config):
        return with_new_name(config)
    return _of_plan(with_planned(config, say_aside, alone=True))


def to_examine(config: Config) -> Config:
    """What ``vmafarm doctor`` examines: the run that is named, that of the clips, or the demo.

    The folder of runs is not looked at: doctor finds out whether that can be read, and in time.
    """
    if config.run.name or not config.corpus.clips:
        return with_name(config, config.run.name or _DEMO)
    return with_new_name(config)


def _of_plan(config: Config, file: IO[str] | None = None) -> Config:
    """The configuration of a planned run, with all of its plan that is not set anew."""
    found = with_plan(config)
    say(f'no clips given: resuming the run "{config.run.name}" of {show(found.corpus.clips)}', file=file)
    return found


def _has_corpus(config: Config) -> bool:
    return bool(config.corpus.clips or config.corpus.scores)


def _demo(config: Config, file: IO[str] | None) -> Config:
    demo = make_demo(_DEMO_FOLDER, find_ffmpeg(config.engine.ffmpeg))
    verb = "made" if demo.new else "using"
    say(f"no clips given (CLIPS=, SCORES=): {verb} the demo corpus {_DEMO_FOLDER}", file=file)
    corpus = config.corpus.model_copy(update={"clips": str(demo.clips), "scores": str(demo.scores)})
    return with_name(config, _DEMO).model_copy(update={"corpus": corpus})
