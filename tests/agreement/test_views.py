"""One run in every state: all views of it say the same about what is done, missing and failed for good."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console
from support.fake_slurm import FakeSlurm
from support.merge_helpers import Run, make_row, plan_run

from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.status import look
from vmafarm.cluster.status_table import table
from vmafarm.cluster.submit import preview
from vmafarm.common.errors import IncompleteError, UsageError
from vmafarm.disk.jsonl import json_line
from vmafarm.forecast import find_todo as todo_of_the_forecast
from vmafarm.merging.merge import merge
from vmafarm.query.checks import run_checks
from vmafarm.query.database import open_run
from vmafarm.run_folder.failures import FailureRecord
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.scoring.todo import find_todo
from vmafarm.shards.completeness import read_states
from vmafarm.sql import templates as sql

CLIPS = [f"clip_{number}.mp4" for number in range(8)]


class Expected(NamedTuple):
    """What every view should say."""

    done: set[str]
    missing: set[str]
    failed: dict[str, str]
    waiting: frozenset[str] | set[str] = frozenset()


def with_retries(run: Run, retries: int) -> None:
    extract = run.config.extract.model_copy(update={"retries": retries})
    run.config = run.config.model_copy(update={"extract": extract})


def rows(run: Run, names: list[str], **options) -> None:
    manifest = load_manifest(run.folder)
    for number in range(manifest.slice_count):
        own = [manifest.names[at] for at in manifest.positions(number) if manifest.names[at] in names]
        if own:
            run.shard([make_row(name) for name in own], number, **options)


def nothing_yet(run: Run) -> Expected:
    return Expected(set(), set(CLIPS), {})


def all_done(run: Run) -> Expected:
    rows(run, CLIPS)
    return Expected(set(CLIPS), set(), {})


def bad_on_the_only_host(run: Run) -> Expected:
    rows(run, CLIPS[:6])
    run.take_part("h1")
    run.fail(CLIPS[6], "no_video")
    return Expected(set(CLIPS[:6]), {CLIPS[7]}, {CLIPS[6]: "no_video"})


def bad_on_one_of_two_hosts(run: Run) -> Expected:
    rows(run, CLIPS[:6])
    run.take_part("h2")
    run.fail(CLIPS[6])
    run.fail(CLIPS[7], "engine_error")
    return Expected(set(CLIPS[:6]), set(CLIPS[6:]), {}, set(CLIPS[6:]))


def bad_on_two_hosts(run: Run) -> Expected:
    rows(run, CLIPS[:6])
    for host in ("h1", "h2"):
        run.fail(CLIPS[6], host=host, tries=1)
        run.fail(CLIPS[7], "timeout", host=host)
    return Expected(set(CLIPS[:6]), {CLIPS[7]}, {CLIPS[6]: "decode_error"})


def bad_on_three_hosts_by_different_faults(run: Run) -> Expected:
    rows(run, CLIPS[:7])
    for host, failure in (("h1", "no_frames"), ("h2", "decode_error"), ("h3", "no_frames")):
        run.fail(CLIPS[7], failure, host=host)
    return Expected(set(CLIPS[:7]), set(), {CLIPS[7]: "no_frames"})


def bad_once_more_on_one_of_two_hosts(run: Run) -> Expected:
    rows(run, CLIPS[:7])
    run.take_part("h2")
    run.fail(CLIPS[7], tries=3)
    return Expected(set(CLIPS[:7]), set(), {CLIPS[7]: "decode_error"})


def without_retries(run: Run) -> Expected:
    with_retries(run, 0)
    rows(run, CLIPS[:6])
    run.fail(CLIPS[6], tries=1)
    return Expected(set(CLIPS[:6]), {CLIPS[7]}, {CLIPS[6]: "decode_error"})


def with_three_retries_of_which_one_was_killed(run: Run) -> Expected:
    with_retries(run, 3)
    rows(run, CLIPS[:6])
    run.fail(CLIPS[6], tries=4)
    run.fail(CLIPS[7], tries=3)
    return Expected(set(CLIPS[:6]), {CLIPS[7]}, {CLIPS[6]: "decode_error"})


def a_limit_that_was_raised(run: Run) -> Expected:
    rows(run, CLIPS[:6])
    for name, was in ((CLIPS[6], 100), (CLIPS[7], run.config.extract.max_frames)):
        record = FailureRecord(
            name, "too_large", "frames", [], 1, 0, "h1", "h1", "2025-03-01T00:00:00+00:00", "max_frames", was
        )
        run.folder.failures.mkdir(exist_ok=True)
        with (run.folder.failures / "h1.jsonl").open("ab") as file:
            file.write(json_line(dataclasses.asdict(record)) * 2)
    return Expected(set(CLIPS[:6]), {CLIPS[6]}, {CLIPS[7]: "too_large"})


def journals_alone(run: Run) -> Expected:
    run.journal([make_row(name) for name in CLIPS[::2]], torn=b"0badc0de {")
    return Expected(set(CLIPS[::2]), set(CLIPS[1::2]), {})


def two_writers_of_the_same_rows(run: Run) -> Expected:
    rows(run, CLIPS[:5])
    rows(run, CLIPS[3:7], writer="v")
    run.fail(CLIPS[0])  # before another writer had its row
    run.fail(CLIPS[7], host="h1")
    run.fail(CLIPS[7], host="h2")
    return Expected(set(CLIPS[:7]), set(), {CLIPS[7]: "decode_error"})


def another_generation_of_host_names(run: Run) -> Expected:
    rows(run, CLIPS[:6])
    run.take_part("node1.cluster")
    run.fail(CLIPS[6], host="node1")
    run.fail(CLIPS[7], host="node1")
    run.fail(CLIPS[7], host="node1.cluster", tries=1)
    return Expected(set(CLIPS[:6]), {CLIPS[6]}, {CLIPS[7]: "decode_error"}, {CLIPS[6]})


def nothing_but_bad_clips(run: Run) -> Expected:
    for name in CLIPS:
        run.fail(name)
    return Expected(set(), set(), dict.fromkeys(CLIPS, "decode_error"))


STATES: list[Callable[[Run], Expected]] = [
    nothing_yet, all_done, bad_on_the_only_host, bad_on_one_of_two_hosts, bad_on_two_hosts,
    bad_on_three_hosts_by_different_faults, bad_once_more_on_one_of_two_hosts, without_retries,
    with_three_retries_of_which_one_was_killed, a_limit_that_was_raised, journals_alone,
    two_writers_of_the_same_rows, another_generation_of_host_names, nothing_but_bad_clips,
]  # fmt: skip


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_all_views_of_a_run_agree(
    state: Callable[[Run], Expected], tmp_path: Path, cluster: FakeSlurm
) -> None:
    run = plan_run(tmp_path / "runs", CLIPS, slices=3, scratch=tmp_path)
    expected = state(run)
    config, folder, manifest = run.config, run.folder, load_manifest(run.folder)
    every = tuple(range(manifest.slice_count))

    states = read_states(folder, config, manifest)
    assert set(states.done) == expected.done
    assert set(states.gaps.missing) == expected.missing
    assert {name: clip.failure for name, clip in states.gaps.failed.items()} == expected.failed
    assert states.gaps.waiting.keys() == expected.waiting

    # What elements, and the estimate, take for work that is left.
    assert {clip.name for clip in find_todo(folder, config, manifest, every)} == expected.missing
    assert todo_of_the_forecast is find_todo

    # What a retry submits: the waiting clips apart, the others in elements.
    if expected.missing:
        request = preview(config, Slurm(), manifest, again=True)
        slices = {int(manifest.slices[manifest.names.index(name)]) for name in expected.missing}
        assert set(request.submission.slices) == slices
        assert request.waiting == len(expected.waiting)
    else:
        with pytest.raises(UsageError, match="nothing is missing"):
            preview(config, Slurm(), manifest, again=True)

    # Status, on the terminal and as JSON.
    status = look(config, None)
    counts = len(expected.done), len(expected.missing), len(expected.failed), len(expected.waiting)
    assert (status.done, status.missing, status.failed_for_good, status.waiting) == counts
    shown = " ".join(" ".join(table(status)).split())
    assert f"{counts[0]} of {len(CLIPS)} done" in shown
    assert f"{counts[1]} missing, {counts[2]} failed for good" in shown

    # The merge, and its record.
    try:
        merge(
            folder,
            config.model_copy(update={"merge": config.merge.model_copy(update={"max_failed_share": 1.0})}),
        )
        assert not expected.missing
    except IncompleteError:
        assert expected.missing or not expected.done
    record = json.loads(folder.merge_record.read_text())
    assert (record["counts"]["missing"], record["counts"]["failed_for_good"]) == counts[1:3]
    assert {name: clip["failure"] for name, clip in record["failed_for_good"].items()} == expected.failed

    # The database: queries, checks, report.
    with open_run(config, lambda _: None) as connection:
        failed = connection.execute("SELECT clip_name, failure FROM failed").fetchall()
        missing, for_good = run_checks(connection, ["missing", "failed_for_good"], limit=None)
        (report,) = connection.execute(sql.render("report/counts")).fetchall()
    assert dict(failed) == expected.failed
    assert {row[0] for row in missing.rows} == expected.missing
    assert {row[0] for row in for_good.rows} == expected.failed.keys()
    assert report == (len(CLIPS), counts[0], counts[2], counts[1])


def test_what_a_run_says_of_itself_agrees_too(tmp_path: Path) -> None:
    from vmafarm.run import extract_missing

    run = plan_run(tmp_path / "runs", CLIPS, slices=3, scratch=tmp_path)
    rows(run, CLIPS[:7])
    run.fail(CLIPS[7])
    said = io.StringIO()
    assert not extract_missing(run.config, load_manifest(run.folder), Console(file=said, width=80))
    assert said.getvalue() == "nothing left to score: 8 clips, 1 of them failed for good\n"
