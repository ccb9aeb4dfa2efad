"""What a run delivers at its end: the table, and what there is to know of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs import durable
from jobs.card import as_card
from jobs.config import Config
from jobs.database import open_run
from jobs.errors import IncompleteError, show
from jobs.info import read_info
from jobs.merge import merge, summarise
from jobs.qa import Outcome, run_checks
from jobs.qa import summarise as summarise_checks

Say = Callable[[str], None]


def deliver(config: Config, say: Say, *, allow_missing: bool = False) -> None:
    """Merge, check what was published, and write its page and card.

    Parameters
    ----------
    config
        The configuration of a planned run.
    say
        Told what was done, a line at a time.
    allow_missing
        Publish the table although clips are missing.

    Raises
    ------
    IncompleteError
        Nothing was published, or the checks found errors.
    VmafarmError
        See `jobs.merge.merge` and `check`.
    """
    for line in summarise(merge(config.folder, config, allow_missing=allow_missing)):
        say(line)
    folder = config.folder
    durable.replace_text(folder.card, as_card(read_info(folder.table)))
    say(f"{'card':<17}{show(str(folder.card))}")
    if not config.merge.checks:
        return
    from jobs.report import write_report  # matplotlib takes longer to import than all else of a run

    with open_run(config, lambda _: None, keep=True) as connection:
        outcomes = run_checks(connection)
        _record(config, outcomes)
        write_report(config, connection, outcomes)
    say(f"{'page':<17}{show(str(folder.page))}")
    say(f"{'checks':<17}{summarise_checks(outcomes)}")
    require_sound(outcomes, allow_missing=allow_missing)


def check(
    config: Config, say: Say, names: Sequence[str] | None = None, *, limit: int | None = 20
) -> list[Outcome]:
    """Run checks on a run, and keep its database for other clients.

    Parameters
    ----------
    config
        The configuration of a planned run.
    say
        Told where the rows come from, and what was left out.
    names, limit
        As for `jobs.qa.run_checks`. The results of all checks are put into the merge's report, too.
    """
    with open_run(config, say, keep=True) as connection:
        outcomes = run_checks(connection, names, limit=limit)
    if names is None:
        _record(config, outcomes)
    return outcomes


def report(config: Config, say: Say, path: Path | None = None) -> Path:
    """Write the page on a run, finished or not.

    Parameters
    ----------
    config
        The configuration of a planned run.
    say
        Told where the rows come from, and what was left out.
    path
        Where to; None: beside the table.
    """
    from jobs.report import write_report

    with open_run(config, say) as connection:
        return write_report(config, connection, run_checks(connection), path)


def _record(config: Config, outcomes: list[Outcome]) -> None:
    path = config.folder.merge_report
    try:
        report = json.loads(path.read_text())
    except (OSError, ValueError):
        return  # no merge yet, or a report that the next merge replaces
    report["qa"] = {
        outcome.check.name: {
            "severity": outcome.check.severity, "result": outcome.result, "count": outcome.count
        }
        for outcome in outcomes
    }  # fmt: skip
    durable.replace_text(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def require_sound(outcomes: Sequence[Outcome], *, allow_missing: bool = False) -> None:
    """Raise IncompleteError where a check of severity ``error`` has found rows, or could not be run."""
    allowed = ("missing",) if allow_missing else ()
    errors = [outcome for outcome in outcomes if outcome.is_error and outcome.check.name not in allowed]
    if errors:
        lines = [f"  {o.check.name}: {o.failure or f'expected {o.check.expected}'}" for o in errors]
        raise IncompleteError(
            "\n".join(["checks found errors:", *lines]),
            f"vmafarm qa --check {errors[0].check.name} shows the rows",
        )
