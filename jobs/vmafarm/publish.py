"""Publishes a run: the merged table, its card, its checks and its report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vmafarm.common.errors import IncompleteError, UsageError, VmafarmError
from vmafarm.common.interrupts import heard, killing
from vmafarm.common.layout import labelled, unbroken
from vmafarm.common.say import say as say_aloud
from vmafarm.common.steps import showing, step, working
from vmafarm.config.sections import Config
from vmafarm.merging.merge import merge
from vmafarm.merging.result import summarise
from vmafarm.published.in_place import ATTEMPTS, InPlace, SupersededError
from vmafarm.published.merge_record import read_merge_record
from vmafarm.published.up_to_date import read_delivered, recorded_errors
from vmafarm.query.checks import Outcome, run_checks
from vmafarm.query.checks import summarise as summarise_checks
from vmafarm.query.database import open_run
from vmafarm.report.card import as_card
from vmafarm.report.info import read_info
from vmafarm.run_folder.merge_jobs import MergeJobLog, MergeOutcome
from vmafarm.scoring.deadline import ignore_early_notice
from vmafarm.shards.late_files import wait_for_late_files
from vmafarm.shards.remarks import RemarkReader, tell_remarks

Say = Callable[[str], None]


def deliver(config: Config, say: Say, *, allow_missing: bool = False) -> None:
    """Merge, write the card, run all checks and write the report.

    Parameters
    ----------
    config
        The configuration of a planned run.
    say
        Called with each line that says what was done.
    allow_missing
        Publish the table although clips are missing.

    Raises
    ------
    IncompleteError
        Nothing was published, or the checks found errors; or other merges kept publishing first.
    VmafarmError
        See `vmafarm.merging.merge.merge` and `examine`.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            outcomes = _deliver(config, say, allow_missing=allow_missing)
            break
        except SupersededError as error:
            record = read_delivered(config, allow_missing=allow_missing)
            if record is not None and not error.is_mixed:
                _tell(say, "table", unbroken(str(config.folder.table)))
                _tell(say, "note", "another merge has published it meanwhile; it is up to date")
                require_sound_record(record, config, allow_missing=allow_missing)
                return
            if attempt == ATTEMPTS:
                raise
            _tell(say, "note", "another merge has published its table meanwhile: merging again")
    require_sound(outcomes, _allowed(config, allow_missing))


def _deliver(config: Config, say: Say, *, allow_missing: bool) -> list[Outcome]:
    folder = config.folder
    place = InPlace(folder)
    for line in summarise(merge(folder, config, allow_missing=allow_missing, place=place)):
        say(line)
    for line in tell_remarks(RemarkReader(folder).read()):
        _tell(say, "note", line)
    place.replace_text(folder.card, as_card(read_info(folder.table)))
    _tell(say, "card", unbroken(str(folder.card)))
    outcomes: list[Outcome] = []
    if config.merge.checks:
        outcomes = _examine(config, lambda _: None, None, 20, folder.report, place)
        _tell(say, "report", unbroken(str(folder.report)))
        _tell(say, "checks", summarise_checks(outcomes))
    place.add_to_record(folder.merge_record, delivered=True)  # last: all that belongs to the table is there
    return outcomes


def _tell(say: Say, label: str, text: str) -> None:
    for line in labelled([(label, text)]):
        say(line)


def examine(
    config: Config,
    say: Say,
    names: Sequence[str] | None = None,
    *,
    limit: int | None = 20,
    page: Path | None = None,
) -> list[Outcome]:
    """Run checks on a run, finished or not.

    If the run folder can be written, the run's database is kept for other clients and, if all checks ran,
    their results are put into the record of the merge.

    Parameters
    ----------
    config
        The configuration of a planned run.
    say
        Called with where the rows come from, and what was left out.
    names, limit
        As for `vmafarm.query.checks.run_checks`.
    page
        Where to write the report on the run; None: no report, and after a refused merge the rows that it
        refused are checked, not an earlier table.

    Raises
    ------
    UsageError, UnavailableError
        See `vmafarm.query.database.open_run`; or the page cannot be written.
    SupersededError
        Other merges keep publishing tables.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _examine(config, say, names, limit, page, InPlace(config.folder))
        except SupersededError:
            if attempt == ATTEMPTS:
                raise
            say("another table was published meanwhile: checking that one")
    raise AssertionError("the last attempt returns or raises")


@working("")
def _examine(
    config: Config,
    say: Say,
    names: Sequence[str] | None,
    limit: int | None,
    page: Path | None,
    place: InPlace,
) -> list[Outcome]:
    with open_run(config, say, keep=place, refused=page is None) as connection:
        outcomes = run_checks(connection, names, limit=limit)
        if names is None:
            _record(config.folder.merge_record, place, outcomes)  # first: the page has it, too
        if page:
            step("drawing the report")
            from vmafarm.report.page import render  # matplotlib takes longer to import than all else of a run

            place.replace_text(page, render(config, connection, outcomes))
    return outcomes


def _record(path: Path, place: InPlace, outcomes: list[Outcome]) -> None:
    found = {
        outcome.check.name: {
            "severity": outcome.check.severity, "result": outcome.result, "count": outcome.count,
            "message": outcome.failure or f"expected {outcome.check.expected}",
        }
        for outcome in outcomes
    }  # fmt: skip
    place.add_to_record(path, qa=found)


def _allowed(config: Config, allow_missing: bool) -> list[str]:
    return [*config.merge.allow, *(["missing"] if allow_missing else [])]


def require_sound(outcomes: Sequence[Outcome], allowed: Sequence[str] = ()) -> None:
    """Raise IncompleteError if a check of severity ``error`` found rows or could not be run."""
    _refuse(
        {o.check.name: o.failure or f"expected {o.check.expected}" for o in outcomes if o.is_error}, allowed
    )


def require_sound_record(record: Mapping[str, Any], config: Config, *, allow_missing: bool = False) -> None:
    """As `require_sound`, from the record of a merge."""
    _refuse(recorded_errors(record), _allowed(config, allow_missing))


def _refuse(errors: Mapping[str, str], allowed: Sequence[str]) -> None:
    errors = {name: why for name, why in errors.items() if name not in allowed}
    if errors:
        lines = [f"  {name}: {why}" for name, why in errors.items()]
        raise IncompleteError(
            "\n".join(["checks found errors:", *lines]),
            f"vmafarm qa --check {next(iter(errors))} shows the rows",
        )


def merge_on_node(document: dict[str, Any]) -> None:
    """The merge as a job: publishes and checks if complete, and otherwise prints what is missing.

    It first waits for files that elements on other nodes have written and this node does not see yet.
    Whatever its end, its record says how it ended, see `vmafarm.run_folder.merge_jobs`.

    Raises
    ------
    SystemExit
        Nothing was published, the checks found errors, or it was stopped: the job has failed, for mails and
        for whatever depends on it.
    """
    ignore_early_notice()
    config = Config.model_validate(document)
    log = MergeJobLog(config.folder, config.slurm.cluster)
    try:
        with heard(), showing(), killing(lambda: log.end("stopped", [_STOPPED])):
            wait_for_late_files(config.folder, say_aloud)
            deliver(config, say_aloud)
    except VmafarmError as error:
        log.end(*_end_of(config, error))
        say_aloud(str(error))
        sys.exit(error.exit_code)
    except SystemExit:  # what an interrupt has become
        log.end("stopped", [_STOPPED])
        raise
    except Exception as error:  # a fault of ours, whose traceback is for the log
        log.end("failed", [f"{type(error).__name__}: {error}"])
        raise
    log.end("published")


_STOPPED = "it was stopped: vmafarm merge, or vmafarm retry"


def _end_of(config: Config, error: VmafarmError) -> tuple[MergeOutcome, list[str]]:
    """Outcome and reasons of a merge, by the record that it has written before it raised IncompleteError."""
    if isinstance(error, IncompleteError) and not isinstance(error, SupersededError):
        with suppress(UsageError):
            record = read_merge_record(config.folder.merge_record)
            errors = [f for f in record.get("findings", []) if f["severity"] == "error"]
            reasons = [f"{finding['name']}: {finding['message']}" for finding in errors]
            reasons += [f"{name}: {why}" for name, why in recorded_errors(record).items()]
            if reasons:
                return "unsound" if record.get("published") else "refused", reasons
    outcome: MergeOutcome = "refused" if isinstance(error, IncompleteError) else "failed"
    return outcome, [line for line in str(error).splitlines() if line.strip()][:_REASONS]


_REASONS = 20
