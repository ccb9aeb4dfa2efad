"""One run in every state: all views of it say the same about what is done, missing and failed for good."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from support.command import call
from support.fake_slurm import FakeSlurm, write_log, write_record
from support.merge_helpers import Run, make_row, plan_run

from vmafarm import Run as PlannedRun
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import preview
from vmafarm.common.errors import IncompleteError, UsageError
from vmafarm.cost.measured import Measured
from vmafarm.disk.jsonl import json_line
from vmafarm.forecast import forecast
from vmafarm.merging.merge import merge
from vmafarm.run_folder.failures import FailureRecord
from vmafarm.run_folder.manifest import load_manifest, write_manifest
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest
from vmafarm.scoring.todo import find_todo
from vmafarm.shards.completeness import read_states

pytestmark = pytest.mark.usefixtures("undrawn")  # of a page the numbers are looked at
CLIPS = [f"clip_{number}.mp4" for number in range(8)]
SLICES = 3


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
            run.clip_log(own, 1, number, options.get("writer", "w"))


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
    for number in range(SLICES):
        own = [name for name in CLIPS[::2] if CLIPS.index(name) % SLICES == number]
        run.journal([make_row(name) for name in own], number, torn=b"0badc0de {")
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


def without_a_refused_shard(run: Run) -> Expected:
    """Partial, of every kind of file: shards, an unflushed journal with a torn end, copies, failures."""
    rows(run, CLIPS[:2])
    rows(run, CLIPS[1:2], writer="copy")
    run.journal([make_row(CLIPS[2])], 2, "killed", torn=b"0badc0de {")
    run.journal([make_row(CLIPS[0])], 0, "killed")
    run.take_part("h2")
    run.fail(CLIPS[0], tries=1)  # tried again, with success
    for host in ("h1", "h2"):
        run.fail(CLIPS[3], "no_video", host=host, tries=1)
    run.fail(CLIPS[4])
    run.fail(CLIPS[5], "timeout", tries=3)
    (run.folder.failures / "h3.jsonl").write_bytes(b"{damaged}\n")
    return Expected(set(CLIPS[:3]), set(CLIPS[4:]), {CLIPS[3]: "no_video"}, {CLIPS[4]})


def with_a_refused_shard(run: Run) -> Expected:
    expected = without_a_refused_shard(run)
    damaged = run.shard([make_row(CLIPS[6])], 0, "damaged")
    run.clip_log([CLIPS[6]], 1, 0, "damaged")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    return expected


def of_an_earlier_plan(run: Run) -> Expected:
    """Rows, entries and failures of clips as they were, or that are gone, count for nobody."""
    now = load_manifest(run.folder)
    run.folder.manifest.unlink()
    before = sorted([*CLIPS, "gone.mp4"])
    ones, slices = np.ones(len(before), np.int64), np.arange(1, len(before) + 1, dtype=np.int32) % SLICES
    digest = manifest_digest(before, ones * 1.0, ones)
    write_manifest(run.folder, Manifest(before, ones * 1.0, ones, slices, digest))
    later = dataclasses.replace(now, generation=2, earlier=(digest,), slices_before=SLICES)
    write_manifest(run.folder, later)
    earlier = dataclasses.replace(run.provenance, manifest=digest, plan="full", constant=())
    run.folder.provenance.write_text(dataclasses.replace(run.provenance, manifest=digest).as_json())
    rows(run, CLIPS[:3])
    rows(run, CLIPS[3:5], writer="earlier", provenance=earlier)
    run.shard([make_row(CLIPS[5], mos=1.0), make_row("gone.mp4", mos=1.0)], 0, "stale", provenance=earlier)
    run.log_clips({CLIPS[5]: 1.0, "gone.mp4": 1.0}, 0, "stale", audit="differs", short=True)
    run.journal([make_row(CLIPS[7], mos=2.0)], 2, "killed")
    run.fail(CLIPS[6])
    run.fail(CLIPS[7])  # in slice 0, of the clip as it was
    return Expected(set(CLIPS[:5]), {CLIPS[5], CLIPS[7]}, {CLIPS[6]: "decode_error"})


STATES: list[Callable[[Run], Expected]] = [
    nothing_yet, all_done, bad_on_the_only_host, bad_on_one_of_two_hosts, bad_on_two_hosts,
    bad_on_three_hosts_by_different_faults, bad_once_more_on_one_of_two_hosts, without_retries,
    with_three_retries_of_which_one_was_killed, a_limit_that_was_raised, journals_alone,
    two_writers_of_the_same_rows, another_generation_of_host_names, nothing_but_bad_clips,
    without_a_refused_shard, with_a_refused_shard, of_an_earlier_plan,
]  # fmt: skip


Says = dict[str, Any]
"""What a view says: names, or how many, by what about them."""


def say(
    done: Iterable[str] = (), missing: Iterable[str] = (), failed: Iterable[str] = (),
    waiting: Iterable[str] = (),
) -> Says:  # fmt: skip
    """All that a view says that knows the names."""
    left = {*missing, *failed}
    return {
        "done": set(done),
        "missing": set(missing),
        "failed": set(failed),
        "waiting": set(waiting),
        "slices": {CLIPS.index(name) % SLICES for name in missing},
        "left by slice": tuple(sum(CLIPS.index(name) % SLICES == s for name in left) for s in range(SLICES)),
    }


def options(run: Run, *more: str) -> list[str]:
    """Options of a verb for this run."""
    pairs = {"run.root": run.folder.root, "extract.scratch": run.folder.root.parent}
    pairs |= {"extract.retries": run.config.extract.retries, "merge.max_failed_share": 1.0}
    return ["--run", "demo", *more, *(w for key, value in pairs.items() for w in ("--set", f"{key}={value}"))]


def query(run: Run, text: str) -> list[dict[str, Any]]:
    return json.loads(call("sql", *options(run, "--json", text)).stdout)


def names(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    return {row["clip_name"] for row in rows}


def by_the_one_function(run: Run) -> Says:
    states = read_states(run.folder, run.config, load_manifest(run.folder))
    return say(states.done, states.gaps.missing, states.gaps.failed, states.gaps.waiting)


def what_an_element_would_do(run: Run) -> Says:
    todo = find_todo(run.folder, run.config, load_manifest(run.folder), tuple(range(SLICES)))
    return {"missing": {clip.name for clip in todo}, "slices": {clip.slice for clip in todo}}


def what_a_retry_would_submit(run: Run) -> Says:
    try:
        request = preview(run.config, Slurm(), load_manifest(run.folder), again=True)
    except UsageError:  # nothing is missing
        return {"slices": set(), "waiting": 0}
    return {"slices": set(request.submission.slices), "waiting": request.waiting}


def status_as_json(run: Run) -> Says:
    found = json.loads(call("status", *options(run, "--json")).stdout)
    slices = {number for number, state in enumerate(found["states"]) if state != "d"}
    return {name: found[name] for name in ("done", "missing", "waiting")} | {
        "failed": found["failed_for_good"], "slices": slices,
    }  # fmt: skip


def status_on_the_terminal(run: Run) -> Says:
    said = " ".join(call("status", *options(run)).stdout.split())
    done, missing, failed = re.search(
        rf"(\d+) of {len(CLIPS)} done.*?(\d+) missing, (\d+) failed for good", said
    ).groups()  # type: ignore[union-attr]
    return {"done": int(done), "missing": int(missing), "failed": int(failed)}


def logs_of_the_slices(run: Run) -> Says:
    write_record(run, "11", 0, range(SLICES), node="h1")
    write_log(run, "11_0", "err", "it began\n")
    said = (call("logs", str(number), *options(run)).stdout for number in range(SLICES))
    found = tuple(int(re.search(r"(\d+) without a row", text)[1]) for text in said)  # type: ignore[index]
    return {"left by slice": found}


def clips_left_in_the_estimate(run: Run) -> Says:
    measured = Measured({CLIPS[0]: 1.0}, element_share=1.0, cpu_share=1.0, at_once=1, threads=1)
    return {"missing": forecast(run.config, load_manifest(run.folder), measured).missing.clips}


def python_api(run: Run) -> Says:
    planned = PlannedRun(run.folder.root, "demo")
    planned._config = run.config  # of which the run on disk keeps the corpus and the engine alone
    status = planned.status()
    assert status["missing"] == len(planned.missing())
    found = say(planned.done(), planned.missing(), planned.failed(), ())
    return found | {"waiting": status["waiting"]}


def merge_and_its_record(run: Run) -> Says:
    with suppress(IncompleteError):
        options = run.config.merge.model_copy(update={"max_failed_share": 1.0})
        merge(run.folder, run.config.model_copy(update={"merge": options}))
    record = json.loads(run.folder.merge_record.read_text())
    counts = record["counts"]
    assert counts["failed_for_good"] == len(record["failed_for_good"])
    return {"done": counts["rows"], "missing": counts["missing"], "failed": set(record["failed_for_good"])}


def database(run: Run) -> Says:
    missing = "FROM manifest ANTI JOIN features USING (clip_name) ANTI JOIN failed USING (clip_name)"
    rows = query(
        run,
        f"SELECT 'missing' AS what, clip_name {missing} UNION ALL SELECT 'done', clip_name FROM features "
        "UNION ALL SELECT 'failed', clip_name FROM failed",
    )
    found = {
        what: names(row for row in rows if row["what"] == what) for what in ("done", "missing", "failed")
    }
    return say(**found) | {"waiting": None}


def log_entries_in_the_database(run: Run) -> Says:
    found = query(run, "SELECT clip_name FROM clips SEMI JOIN features USING (clip_name) GROUP BY ALL")
    return {"done": names(found)}


def checks(run: Run) -> Says:
    which = ("--check", "missing", "--check", "failed_for_good")
    found = json.loads(call("qa", *options(run, "--json", *which), status=None).stdout)
    counts = {one["name"]: one["count"] for one in found}
    return {"missing": counts["missing"], "failed": counts["failed_for_good"]}


def report(run: Run) -> Says:
    page = run.folder.root / "page.html"
    call("report", *options(run, "--output", str(page)))
    found = re.findall(r"<div><b>(\d+)</b>", page.read_text())[:4]
    clips, done, missing, failed = map(int, found)
    assert clips == len(CLIPS)
    return {"done": done, "missing": missing, "failed": failed}


def info_of_the_table(run: Run) -> Says:
    if not run.folder.table.exists():
        return {}
    found = json.loads(call("info", "--json", run.folder.table).stdout)
    incomplete = found["metadata"].get("incomplete", {"missing": 0, "failed_for_good": 0})
    left_out = found["metadata"].get("left_out", {})
    assert len(left_out) == sum(incomplete.values())
    by_slice = say(missing=left_out)["left by slice"]
    return {
        "done": found["rows"], "missing": incomplete["missing"], "failed": incomplete["failed_for_good"],
        "left by slice": by_slice,
    }  # fmt: skip


VIEWS: list[Callable[[Run], Says]] = [
    by_the_one_function, what_an_element_would_do, what_a_retry_would_submit, status_as_json,
    status_on_the_terminal, logs_of_the_slices, clips_left_in_the_estimate, python_api, merge_and_its_record,
    database, checks, info_of_the_table,
]  # fmt: skip
SLOW_VIEWS = [log_entries_in_the_database, report]


def disagreements(said: Mapping[str, Says]) -> list[str]:
    """In what each two views differ; where one of them has names and the other a number, in the number."""
    found = []
    for (one, its), (other, others) in combinations(said.items(), 2):
        for about in its.keys() & others.keys():
            pair = [its[about], others[about]]
            if None in pair:
                continue
            if any(isinstance(value, int) for value in pair):
                pair = [value if isinstance(value, int) else len(value) for value in pair]
            if pair[0] != pair[1]:
                found.append(f"{about}: {one} says {its[about]}, {other} says {others[about]}")
    return found


def look_at(run: Run, *more: Callable[[Run], Says]) -> dict[str, Says]:
    return {view.__name__: view(run) for view in (*VIEWS, *more)}


def planned(tmp_path: Path) -> Run:
    run = plan_run(tmp_path / "runs", CLIPS, slices=SLICES, scratch=tmp_path)
    corpus = run.config.corpus.model_copy(update={name: str(tmp_path / name) for name in ("clips", "scores")})
    run.config = run.config.model_copy(update={"corpus": corpus})
    run.freeze()
    return run


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_all_views_of_a_run_agree(
    state: Callable[[Run], Expected], tmp_path: Path, cluster: FakeSlurm
) -> None:
    run = planned(tmp_path)
    expected = state(run)
    said = {"expected": say(expected.done, expected.missing, expected.failed, expected.waiting)}
    said |= look_at(run, *(SLOW_VIEWS if state is with_a_refused_shard else []))
    assert disagreements(said) == []
    states = read_states(run.folder, run.config, load_manifest(run.folder))
    assert {name: clip.failure for name, clip in states.gaps.failed.items()} == expected.failed
    assert run.folder.table.exists() == bool(not expected.missing and expected.done)


def test_all_views_agree_on_a_table_that_was_published_although_clips_are_missing(
    tmp_path: Path, cluster: FakeSlurm
) -> None:
    run = planned(tmp_path)
    expected = without_a_refused_shard(run)
    merge(run.folder, run.config, allow_missing=True)
    said = {"expected": say(expected.done, expected.missing, expected.failed, expected.waiting)}
    said |= look_at(run, *SLOW_VIEWS)
    assert said["info_of_the_table"]["done"] == len(expected.done)
    assert disagreements(said) == []


def test_a_view_that_differs_is_seen(tmp_path: Path, cluster: FakeSlurm) -> None:
    run = planned(tmp_path)
    with_a_refused_shard(run)
    said = look_at(run)
    for view, says in said.items():
        for about, value in says.items():
            if about == "waiting" and value is None:
                continue
            if isinstance(value, tuple):
                other: Any = (value[0] + 1, *value[1:])
            else:
                other = value + 1 if isinstance(value, int) else value ^ {next(iter(value), "another")}
            found = disagreements(said | {view: says | {about: other}})
            assert found, (view, about)
            assert all(line.startswith(f"{about}: ") and view in line for line in found)


def test_what_a_run_says_of_itself_agrees_too(tmp_path: Path) -> None:
    from vmafarm.run import extract_missing

    run = plan_run(tmp_path / "runs", CLIPS, slices=3, scratch=tmp_path)
    rows(run, CLIPS[:7])
    run.fail(CLIPS[7])
    said = io.StringIO()
    assert not extract_missing(run.config, load_manifest(run.folder), file=said)
    assert said.getvalue() == "nothing left to score: 8 clips, 1 of them failed for good\n"
