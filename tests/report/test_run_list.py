"""`vmafarm runs`: what it says of runs in each state, and that it reads no shard of a finished one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from support.command import call
from support.merge_helpers import Run, make_row, plan_run

from vmafarm.config.load import load
from vmafarm.publish import deliver
from vmafarm.report.runs import RunSummary, lines, read_runs
from vmafarm.run_folder.known_runs import known_runs
from vmafarm.run_folder.manifest import load_manifest, write_manifest
from vmafarm.run_folder.paths import RunFolder

pytestmark = pytest.mark.usefixtures("undrawn")

CLIPS = [f"{letter}.mp4" for letter in "abcd"]


def planned(folder: Path, name: str = "demo", clips: list[str] = CLIPS) -> Run:
    """A run of four clips in two slices, as verbs know it by its name."""
    run = plan_run(folder / "runs", clips, slices=2)
    run.freeze()
    if name == "demo":
        return run
    run.folder.path.rename(folder / "runs" / name)
    section = run.config.run.model_copy(update={"name": name})
    return Run(
        RunFolder(folder / "runs", name), run.config.model_copy(update={"run": section}), run.provenance
    )


def score(run: Run, *numbers: int) -> None:
    for number in numbers:
        mine = CLIPS[number::2]
        run.shard([make_row(name) for name in mine], number)
        run.clip_log(mine, 1, number)


def publish(run: Run, **options: bool) -> None:
    section = run.config.merge.model_copy(update={"checks": False, "max_failed_share": 1.0})
    deliver(run.config.model_copy(update={"merge": section}), lambda line: None, **options)


def summary(folder: Path, *settings: str) -> RunSummary:
    config, _ = load(None, [f"run.root={folder / 'runs'}", "merge.checks=false", *settings])
    (found,) = read_runs(config)
    return found


def figures(found: RunSummary) -> tuple[int | None, int | None, int | None, str, bool]:
    return found.clips, found.done, found.failed_for_good, found.table, found.finished


def test_a_run_from_its_plan_to_its_table(tmp_path: Path) -> None:
    run = planned(tmp_path)
    assert figures(summary(tmp_path)) == (4, 0, 0, "none", False)
    score(run, 0)
    assert figures(summary(tmp_path)) == (4, 2, 0, "none", False)
    publish(run, allow_missing=True)
    assert figures(summary(tmp_path)) == (4, 2, 0, "published", False)
    score(run, 1)
    assert figures(summary(tmp_path)) == (4, 4, 0, "out_of_date", False)
    publish(run)
    assert figures(summary(tmp_path)) == (4, 4, 0, "published", True)


def test_a_clip_that_failed_for_good_is_not_missing(tmp_path: Path) -> None:
    run = planned(tmp_path)
    score(run, 0)
    for name in CLIPS[1::2]:
        run.fail(name)
    assert figures(summary(tmp_path)) == (4, 2, 2, "none", False)
    publish(run)
    assert figures(summary(tmp_path)) == (4, 2, 2, "published", True)


def test_of_a_finished_run_no_shard_is_opened(tmp_path: Path) -> None:
    run = planned(tmp_path)
    score(run, 0, 1)
    publish(run)
    for path in run.folder.shards.glob("*/*"):
        path.write_bytes(b"not read")
    assert figures(summary(tmp_path)) == (4, 4, 0, "published", True)
    run.folder.merge_record.unlink()
    assert figures(summary(tmp_path)) == (4, 0, 0, "out_of_date", False)


@pytest.mark.parametrize(
    ("change", "table", "finished"),
    [
        (lambda record: record | {"delivered": False}, "published", False),
        (lambda record: record | {"published": False}, "out_of_date", False),
        (lambda record: record | {"metadata": record["metadata"] | {"manifest": "x"}}, "out_of_date", False),
        (lambda record: record | {"metadata": "none"}, "out_of_date", False),
        (lambda record: record | {"counts": {}}, "out_of_date", False),
        (lambda record: [], "out_of_date", False),
        (
            lambda record: record | {"qa": {"mos": {"severity": "error", "result": "found"}}},
            "published", False,
        ),
    ],
    ids=["killed", "refused", "of another plan", "no metadata", "no counts", "damaged", "errors of checks"],
)  # fmt: skip
def test_a_record_is_believed_for_what_it_says_of_this_plan(
    tmp_path: Path, change: Callable[[dict], object], table: str, finished: bool
) -> None:
    run = planned(tmp_path)
    score(run, 0, 1)
    publish(run)
    record = json.loads(run.folder.merge_record.read_text())
    run.folder.merge_record.write_text(json.dumps(change(record)))
    assert figures(summary(tmp_path)) == (4, 4, 0, table, finished)


def test_a_run_that_cannot_be_read_is_listed_with_the_reason_and_the_others_too(tmp_path: Path) -> None:
    score(planned(tmp_path, "good"), 0)
    planned(tmp_path, "cut").folder.manifest.write_bytes(b"PAR1")
    said = call("runs", cwd=tmp_path)
    rows = {line.split()[0]: line for line in said.stdout.splitlines()}
    assert re.fullmatch(r"good +4 +2 +0 none +\S+ ago", rows["good"])
    assert re.fullmatch(r"cut +\? +\? +\? unknown +\S+ ago", rows["cut"])
    assert "    runs/cut/manifest.parquet: not a manifest, or cut" in said.stdout
    document = json.loads(call("runs", "--json", cwd=tmp_path).stdout)
    problems = {run["run"]: bool(run["problem"]) for run in document["runs"]}
    assert problems == {"good": False, "cut": True}


def test_an_empty_folder_of_runs_is_no_error(tmp_path: Path) -> None:
    assert call("runs", cwd=tmp_path).stdout == "there is no run in runs\n"
    document = json.loads(call("runs", "--json", "--set", "run.root=there", cwd=tmp_path).stdout)
    assert document == {"version": 1, "root": "there", "runs": []}
    assert list(tmp_path.iterdir()) == []


def test_the_table_fits_60_columns_whatever_the_names_and_numbers(tmp_path: Path) -> None:
    run = planned(tmp_path)
    at = known_runs(run.folder.root)[0].active_at
    runs = [
        RunSummary("k150ka", at, 152_265, 140_300, 1_234, "out_of_date"),
        RunSummary("x" * 64, at, 1, 0, 0, "none"),
        RunSummary("odd", at, problem="runs/odd/manifest.parquet: no permission to read " + "y" * 90),
    ]
    shown = lines(runs, at + timedelta(days=300, hours=5), 60)
    assert shown[:2] == [
        "run           clips     done failed table       active",
        "k150ka      152,265  140,300  1,234 out of date 300d 5h ago",
    ]
    assert max(len(line) for line in shown if line != "x" * 64) <= 60
    assert shown[2:4] == ["x" * 64, "                  1        0      0 none        300d 5h ago"]
    assert lines(runs[:1], at - timedelta(days=1), 60)[1].endswith("0s ago"), "a clock that goes wrong"


def test_looking_needs_no_right_to_write(tmp_path: Path, as_ordinary_user: None) -> None:
    score(planned(tmp_path), 0)
    for path in (tmp_path / "runs/demo", tmp_path / "runs"):
        path.chmod(0o555)
    try:
        assert figures(summary(tmp_path)) == (4, 2, 0, "none", False)
        with pytest.raises(PermissionError):
            (tmp_path / "runs/new").touch()
    finally:
        for path in (tmp_path / "runs", tmp_path / "runs/demo"):
            path.chmod(0o755)


def test_a_table_of_an_earlier_plan_with_the_same_digest_is_out_of_date(tmp_path: Path) -> None:
    """A file was exchanged for one of the same size, which only the slices of the plan show."""
    run = planned(tmp_path)
    score(run, 0, 1)
    publish(run)
    now = load_manifest(run.folder)
    slices = np.where(np.array(now.names) == "a.mp4", 2, now.slices).astype(np.int32)
    later = replace(now, generation=2, earlier=(now.digest,), slices_before=2, slices=slices)
    write_manifest(run.folder, later)
    assert figures(summary(tmp_path)) == (4, 3, 0, "out_of_date", False)
    run.shard([make_row("a.mp4")], 2)
    run.clip_log(["a.mp4"], 1, 2)
    assert figures(summary(tmp_path)) == (4, 4, 0, "out_of_date", False)
    publish(run)
    assert figures(summary(tmp_path)) == (4, 4, 0, "published", True)
