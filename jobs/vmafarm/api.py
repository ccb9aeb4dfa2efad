"""The verbs for notebooks and other programs; `vmafarm` exports them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from vmafarm.config.load import load
from vmafarm.config.sections import Config

if TYPE_CHECKING:
    from vmafarm.cluster.request import Submitted
    from vmafarm.corpus.plan_result import Plan
    from vmafarm.cost.estimate import Estimate


def load_config(path: str | Path | None = None, *settings: str) -> Config:
    """Read a configuration.

    Parameters
    ----------
    path
        TOML file, in the format of ``vmafarm config --template``; None: only defaults. ``vmafarm.toml`` in
        the working folder is read only if it is named.
    *settings
        ``section.key=value``, as for ``--set``.

    Returns
    -------
    Config
        Validated and immutable.

    Raises
    ------
    UsageError
        The file cannot be read, or a key or value is not allowed.
    """
    config, _ = load(Path(path) if path is not None else None, settings)
    return config


def plan(
    config: Config, *, dry_run: bool = False, update: bool = False,
    drop: bool = False,
) -> Plan:  # fmt: skip
    """Join scores and clips, and cut them into slices, as ``vmafarm plan`` does.

    Parameters
    ----------
    config
        The configuration, with the corpus.
    dry_run
        Write nothing.
    update, drop
        Take clips that were added or changed, or are gone, since the last plan; with `drop` even if more
        than a tenth is gone.

    Returns
    -------
    Plan
        What was found and planned.

    Raises
    ------
    VmafarmError
        The corpus cannot be joined, or its clips have changed since the last plan.
    """
    from vmafarm.corpus.named_run import with_new_name
    from vmafarm.corpus.plan import plan as make_plan

    return make_plan(with_new_name(config), dry_run=dry_run, update=update, drop=drop)


def score(config: Config, *, quiet: bool = False) -> int:
    """Plan a run unless it is planned, and score all clips without a row on this machine.

    Nothing is published: see `merge`.

    Parameters
    ----------
    config
        The configuration, with the corpus.
    quiet
        Print no progress.

    Returns
    -------
    int
        Clips that now have a row.

    Raises
    ------
    VmafarmError
        It was stopped, or cannot continue; finished rows are kept.
    """
    from vmafarm.corpus.named_run import with_new_name
    from vmafarm.run import begun, extract_missing
    from vmafarm.shards.completeness import read_states

    file = io.StringIO() if quiet else None
    with begun(with_new_name(config), file) as (config, manifest):
        extract_missing(config, manifest, file=file)
        return len(read_states(config.folder, config, manifest).done)


def merge(
    config: Config, *, allow_missing: bool = False, max_failed_share: float | None = None, quiet: bool = False
) -> Path:
    """Publish the final table, with its card, checks and report, as ``vmafarm merge`` does.

    Parameters
    ----------
    config
        The configuration of a planned run.
    allow_missing
        Publish even if clips are missing.
    max_failed_share
        Share of the clips that may have failed for good, 0..1; None: as configured.
    quiet
        Print no summary.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    IncompleteError
        Nothing was published; the message has the reasons. Or it was published, but checks found errors.
    """
    from vmafarm.common.say import say
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.corpus.named_run import with_planned
    from vmafarm.publish import deliver

    if max_failed_share is not None:
        section = config.merge.model_copy(update={"max_failed_share": max_failed_share})
        config = config.model_copy(update={"merge": section})
    config = with_frozen(with_planned(config, lambda line: None, alone=True))
    deliver(config, (lambda line: None) if quiet else say, allow_missing=allow_missing)
    return config.folder.table


def submit(config: Config, *, again: bool = False, canary: int = 0, quiet: bool = False) -> Submitted:
    """Queue the missing clips of a planned run on SLURM, as ``vmafarm submit`` does.

    Parameters
    ----------
    config
        The configuration of a planned run.
    again
        Do as ``vmafarm retry`` does: skip slices whose elements are still pending or running.
    canary
        First score this many clips in a small job, and wait for it.
    quiet
        Print no warnings and no progress.

    Returns
    -------
    Submitted
        The jobs; ``lines()`` describes them.

    Raises
    ------
    VmafarmError
        Nothing was queued, or the message names the jobs that were.
    """
    from vmafarm.cluster.slurm import Slurm
    from vmafarm.cluster.submit import submit as queue
    from vmafarm.common.say import say
    from vmafarm.corpus.frozen_config import with_frozen
    from vmafarm.corpus.named_run import with_planned
    from vmafarm.doctor.preflight import preflight

    tell = (lambda line: None) if quiet else say
    config = with_frozen(with_planned(config, tell, alone=True), to_start=True)
    return queue(
        config, Slurm(cluster=config.slurm.cluster), again=again, canary=canary, say=tell,
        preflight=lambda: preflight(config, tell),
    )  # fmt: skip


def estimate(config: Config, *, sample: int = 20, quiet: bool = False) -> Estimate:
    """Score a sample of clips on this machine, and estimate the cost of all; the rows are kept.

    Parameters
    ----------
    config
        The configuration, with the corpus.
    sample
        Clips to measure, across all file sizes.
    quiet
        Print no progress.

    Returns
    -------
    Estimate
        ``lines()`` describes it, ``as_dict()`` has the figures.

    Raises
    ------
    VmafarmError
        It was stopped, or nothing could be measured.
    """
    from vmafarm.corpus.named_run import with_new_name
    from vmafarm.forecast import estimate_run

    return estimate_run(with_new_name(config), sample, io.StringIO() if quiet else None)
