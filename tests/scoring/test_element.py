"""An element: slices to shards, whatever fails on the way."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from standin.vmaf import read_calls, write_standin
from support.command import write_scores

from vmafarm.common.errors import IncompleteError, UnavailableError
from vmafarm.config.load import Config, load
from vmafarm.config.workers import worker_count
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.disk import durable
from vmafarm.doctor.preflight import examine_node
from vmafarm.merging.merge import merge
from vmafarm.process.node import writer_name
from vmafarm.run_folder.broken_nodes import read_broken
from vmafarm.run_folder.element_records import ElementResult, read_elements
from vmafarm.run_folder.failures import read_failures
from vmafarm.run_folder.manifest import load_manifest, manifest_digest, write_manifest
from vmafarm.run_folder.submissions import ELSEWHERE, LAST_LOOK, ORDINARY
from vmafarm.scoring.deadline import STARTED
from vmafarm.scoring.element import run_element
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.scoring.todo import find_todo
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA
from vmafarm.shards.completeness import read_states
from vmafarm.shards.writer import read_done


@pytest.fixture
def prepare(tmp_path: Path, clips: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Plan a run of copies of one clip, and of others by name; returns its configuration."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch").mkdir()

    def make(*settings: str, count: int = 4, others: tuple[str, ...] = ()) -> Config:
        folder = tmp_path / "clips"
        folder.mkdir()
        names = [f"c{i}.mp4" for i in range(count)]
        for name in names:
            shutil.copy(clips("plain.mp4"), folder / name)
        for name in others:
            shutil.copy(clips(name), folder / name)
        write_scores(tmp_path / "scores.csv", [*names, *others])
        given = ["engine.plan=identity", "engine.audit_every=0", "engine.kind=ffmpeg"]
        given += ["run.name=r", "corpus.clips=clips"]
        given += ["corpus.scores=scores.csv", f"extract.scratch={tmp_path / 'scratch'}", *settings]
        config, _ = load(None, given)
        plan(config)
        return with_frozen(config)

    return make


def _run(config: Config, **more: Any) -> ElementResult:
    slices = tuple(range(load_manifest(config.folder).slice_count))
    spec = ElementSpec(config.model_dump(), slices, **more)
    return run_element(spec, examine_node if spec.canary else None)


def _rows(config: Config) -> list[str]:
    return sorted(
        name
        for path in config.folder.shards.glob("*/*.parquet")
        for name in pq.ParquetFile(path).read(columns=["clip_name"])["clip_name"].to_pylist()
    )


def test_element_writes_one_shard_a_slice_with_clip_log_and_done(prepare: Any, tmp_path: Path) -> None:
    config = prepare("slices.count=2", "extract.flush_every=1")
    assert _run(config) == ElementResult(done=4)
    assert _rows(config) == ["c0.mp4", "c1.mp4", "c2.mp4", "c3.mp4"]
    for number in (0, 1):
        files = {path.suffix for path in config.folder.shard_folder(number).iterdir()}
        assert files == {".parquet", ".done"}
        (log,) = config.folder.clip_log_folder(number).glob("*.parquet")
        table = pq.ParquetFile(log).read()
        assert table.schema.equals(CLIP_LOG_SCHEMA)
        for entry in table.to_pylist():
            assert (entry["frames"], entry["fps"], entry["pixel_format"]) == (25, 25.0, "yuv420p")
            assert (entry["bit_depth"], entry["attempts"], entry["notes"], entry["slice"]) == (
                8,
                1,
                "",
                number,
            )
            assert entry["seconds_scoring"] > 0
    assert not list((tmp_path / "scratch").iterdir())


def test_a_manifest_that_was_exchanged_since_is_not_worked_on(prepare: Any) -> None:
    config = prepare()
    planned = load_manifest(config.folder)
    names = ["other.mp4", *planned.names[1:]]
    digest = manifest_digest(names, planned.mos, planned.bytes)
    config.folder.manifest.unlink()
    write_manifest(config.folder, replace(planned, names=names, digest=digest))
    result = _run(config, manifest=planned.digest)
    assert (result.exit_code, result.done) == (2, 0)
    assert "is not the manifest that this work was submitted with" in result.message
    assert _rows(config) == []
    assert not config.folder.elements.exists()


def test_second_element_has_nothing_to_do_and_touches_nothing(prepare: Any) -> None:
    config = prepare()
    _run(config)
    before = sorted(path for path in config.folder.path.rglob("*") if path.is_file())
    assert _run(config) == ElementResult()
    assert sorted(path for path in config.folder.path.rglob("*") if path.is_file()) == before


def test_two_elements_on_the_same_slice_both_end_with_whole_shards(prepare: Any) -> None:
    config = prepare("extract.workers=1")
    results: list[ElementResult] = []
    # Signals are the main thread's; the second element is a thread that has none to set.
    import vmafarm.scoring.element as element

    other = threading.Thread(target=lambda: results.append(_quiet(element, config)))
    other.start()
    results.append(_quiet(element, config))
    other.join()
    assert [result.exit_code for result in results] == [0, 0]
    assert set(_rows(config)) == {"c0.mp4", "c1.mp4", "c2.mp4", "c3.mp4"}
    assert len(_rows(config)) == sum(result.done for result in results)


def _quiet(element: Any, config: Config) -> ElementResult:
    stop = element.Stop()
    work = element._Element(ElementSpec(config.model_dump(), (0,)), stop)
    work.run()
    result: ElementResult = work.end()
    return result


def test_failures_are_recorded_with_their_tries_and_the_rest_goes_on(prepare: Any) -> None:
    config = prepare("extract.retries=2", others=("empty.mp4", "cut.mp4"))
    result = _run(config)
    assert result == ElementResult(done=4, failed={"decode_error": 1, "incomplete_decode": 1})
    records = read_failures(config.folder.failures)
    tries = sorted((record.clip_name, record.failure, record.attempt) for record in records)
    assert tries == [
        *(("cut.mp4", "incomplete_decode", i) for i in (1, 2, 3)),
        *(("empty.mp4", "decode_error", i) for i in (1, 2, 3)),
    ]
    assert all(record.host and record.writer and record.at for record in records)
    assert any("partial file" in line for r in records if r.clip_name == "cut.mp4" for line in r.stderr)


def test_clips_that_failed_for_good_are_not_tried_again(prepare: Any) -> None:
    config = prepare("extract.retries=0", others=("empty.mp4",))
    _run(config)
    manifest = load_manifest(config.folder)
    assert find_todo(config.folder, config, manifest, (0,)) == []
    assert _run(config) == ElementResult()


def test_clips_that_failed_before_come_last(prepare: Any) -> None:
    config = prepare("extract.retries=0", "extract.workers=1", "extract.timeout=0.001")
    assert _run(config).failed == {"timeout": 4}
    for path in config.folder.failures.iterdir():
        path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n")
    (failed,) = read_failures(config.folder.failures)
    todo = find_todo(config.folder, config, load_manifest(config.folder), (0,))
    assert [clip.name for clip in todo][-1] == failed.clip_name
    assert len(todo) == 4


def _full_disk() -> Callable[[int, Any], int]:
    """A write that finds no space for journals after the first few records."""
    real = os.write
    written = []

    def write(descriptor: int, data: Any) -> int:
        if len(written) > 3 and Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".journal":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(data)
        return real(descriptor, data)

    return write


def test_full_disk_ends_the_element_and_the_next_one_goes_on(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare("extract.workers=1")
    with monkeypatch.context() as full:
        full.setattr(durable.os, "write", _full_disk())
        result = _run(config)
    assert result.exit_code == 3
    assert "no space left" in result.message
    assert "kept" in result.hint
    kept = read_done(config.folder, [0])
    assert 0 < len(kept) < 4
    assert _run(config).done == 4 - len(kept)
    assert read_done(config.folder, [0]) == {"c0.mp4", "c1.mp4", "c2.mp4", "c3.mp4"}


def test_broken_engine_ends_the_element_and_charges_no_clip(prepare: Any, tmp_path: Path) -> None:
    program = write_standin(tmp_path / "bin", misbehave="exit_255", after=3)
    config = prepare("engine.kind=vmaf", f"engine.vmaf={program}", "extract.workers=1")
    result = _run(config)
    assert result.exit_code == 3
    assert "cannot score a two-frame clip" in result.message
    assert read_failures(config.folder.failures) == []


def test_several_engine_failures_in_a_row_end_the_element(prepare: Any, tmp_path: Path) -> None:
    program = write_standin(tmp_path / "bin", misbehave="log_cut", spares_probe=True)
    config = prepare(
        "engine.kind=vmaf", f"engine.vmaf={program}", "extract.retries=0", "extract.max_engine_failures=3"
    )
    result = _run(config)
    assert result.exit_code == 3
    assert "3 engine failures in a row" in result.message
    assert {record.failure for record in read_failures(config.folder.failures)} == {"bad_log"}


def test_exit_statuses_of_engines_are_known_although_the_element_was_started_to_ignore_ends_of_children(
    prepare: Any, tmp_path: Path
) -> None:
    program = write_standin(tmp_path / "bin", misbehave="exit_255", spares_probe=True)
    config = prepare("engine.kind=vmaf", f"engine.vmaf={program}", "extract.retries=0", count=1)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert _run(config).failed == {"engine_error": 1}
    finally:
        signal.signal(signal.SIGCHLD, before)
    (record,) = read_failures(config.folder.failures)
    assert "exit status 255" in record.message


def test_a_wrong_constant_ends_the_element_before_the_clips_behind_it(prepare: Any, tmp_path: Path) -> None:
    program = write_standin(tmp_path / "bin", misbehave="wrong_constant", spares_probe=True)
    config = prepare(
        "engine.kind=vmaf", f"engine.vmaf={program}", "engine.audit_every=1", "extract.workers=1", count=6
    )
    result = _run(config)
    assert (result.exit_code, result.done) == (1, 0)
    assert result.message.startswith("a value that the plan identity fills in is another one: c")
    assert result.failed == {"wrong_constant": 1}


def test_engine_that_scores_the_built_in_clip_is_well_and_the_good_clips_behind_the_bad_ones_are_done(
    prepare: Any, tmp_path: Path
) -> None:
    program = write_standin(tmp_path / "bin", misbehave="log_cut", spares_probe=True, times=6)
    config = prepare("engine.kind=vmaf", f"engine.vmaf={program}", "extract.retries=0", count=8)
    result = _run(config)
    assert (result.done, dict(result.failed), result.exit_code) == (2, {"bad_log": 6}, 0)
    gaps = read_states(config.folder, config, load_manifest(config.folder)).gaps
    assert len(gaps.missing) == len(gaps.waiting) == 6
    assert not read_broken(config.folder)


def test_a_look_at_nothing_but_suspects_ends_no_element(
    prepare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_standin(tmp_path / "bin", misbehave="log_cut", spares_probe=True)
    config = prepare(
        "engine.kind=vmaf", f"engine.vmaf={program}", "extract.retries=0", "extract.max_engine_failures=3",
        "extract.workers=1",
    )  # fmt: skip
    monkeypatch.setenv("SLURMD_NODENAME", "node1")
    assert dict(_run(config).failed) == {"bad_log": 3}
    monkeypatch.setenv("SLURMD_NODENAME", "node2")
    result = _run(config, share=ELSEWHERE)
    assert (dict(result.failed), result.exit_code) == ({"bad_log": 3}, 0)


def test_an_element_takes_the_share_of_clips_that_it_is_given(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare(count=1, others=("random.mp4",))
    monkeypatch.setenv("SLURMD_NODENAME", "node1")
    assert dict(_run(config).failed) == {"decode_error": 1}
    assert _run(config, share=ORDINARY) == ElementResult()
    assert _run(config, share=ELSEWHERE) == ElementResult()
    assert _run(config, share=LAST_LOOK) == ElementResult()  # failed for good, on the only host
    monkeypatch.setenv("SLURMD_NODENAME", "node2")
    assert _run(config, share=ORDINARY) == ElementResult()
    assert dict(_run(config, share=ELSEWHERE).failed) == {"decode_error": 1}
    records = read_failures(config.folder.failures)
    assert [record.host for record in records] == ["node1", "node1", "node2", "node2"]
    assert _run(config, share=LAST_LOOK) == ElementResult()


def test_the_last_look_leaves_no_clip_to_another_one(prepare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = prepare(count=1, others=("random.mp4",))
    assert _run(config, share=LAST_LOOK) == ElementResult()  # nothing has failed yet
    bad = config.corpus.clips + "/random.mp4"
    os.rename(bad, bad + ".away")
    monkeypatch.setenv("SLURMD_NODENAME", "node2")
    assert _run(config).done == 1
    os.rename(bad + ".away", bad)
    for path in config.folder.failures.iterdir():
        path.unlink()
    monkeypatch.setenv("SLURMD_NODENAME", "node1")
    assert dict(_run(config).failed) == {"decode_error": 1}
    gaps = read_states(config.folder, config, load_manifest(config.folder)).gaps
    assert gaps.waiting == {"random.mp4": "node1"}
    assert dict(_run(config, share=LAST_LOOK).failed) == {"decode_error": 1}
    assert [record.attempt for record in read_failures(config.folder.failures)] == [1, 2, 1, 2, 3]
    gaps = read_states(config.folder, config, load_manifest(config.folder)).gaps
    assert gaps.failed.keys() == {"random.mp4"}


def test_next_clip_is_decoded_while_one_is_scored_and_scratch_stays_bounded(
    prepare: Any, tmp_path: Path
) -> None:
    program = write_standin(tmp_path / "bin", misbehave="slow", seconds=0.5, spares_probe=True)
    config = prepare("engine.kind=vmaf", f"engine.vmaf={program}", "extract.workers=1", count=4)
    seen = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            seen.append(len(list((tmp_path / "scratch").glob("*/*.y4m"))))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        assert _run(config).done == 4
    finally:
        ended.set()
        watcher.join()
    clips_at_once = max(seen) - 1  # the probe's own clip stays
    assert clips_at_once == 2
    scored = [call for call in read_calls(program) if "clip-" in " ".join(call["arguments"])]
    assert len(scored) == 4


def test_wrong_engine_is_refused_before_any_work(prepare: Any, tmp_path: Path) -> None:
    config = prepare("engine.kind=auto", "engine.vmaf=not-there")
    program = write_standin(tmp_path / "bin")
    assert _run(config, environment={"PATH": os.environ["PATH"]}).done == 4
    shutil.rmtree(config.folder.shards)
    other = config.model_copy(
        update={"engine": config.engine.model_copy(update={"kind": "vmaf", "vmaf": str(program)})}
    )
    result = _run(other)
    assert result.exit_code == 2
    assert "engine: found 'vmaf', expected 'ffmpeg'" in result.message
    assert not config.folder.shards.exists()


def test_a_lost_provenance_becomes_that_of_the_rows_and_not_of_another_engine(prepare: Any) -> None:
    config = prepare()
    _run(config, limit=1)
    before = config.folder.provenance.read_bytes()
    config.folder.provenance.unlink()
    other = config.engine.model_copy(update={"plan": "full"})
    result = _run(config.model_copy(update={"engine": other}))
    assert "this run was begun with another engine" in result.message
    assert config.folder.provenance.read_bytes() == before
    assert _run(config).done == 3


def test_environment_reaches_the_engine(
    prepare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    program = write_standin(tmp_path / "bin")
    config = prepare("engine.kind=vmaf", "engine.backend=cuda", f"engine.vmaf={program}", count=1)
    assert _run(config, environment={"CUDA_VISIBLE_DEVICES": "3"}).done == 1
    assert {call["cuda_visible_devices"] for call in read_calls(program)} == {"3"}


def test_element_ends_when_its_launcher_is_gone(prepare: Any, tmp_path: Path) -> None:
    program = write_standin(tmp_path / "bin", misbehave="hangs", spares_probe=True)
    config = prepare("engine.kind=vmaf", f"engine.vmaf={program}")
    dead = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(dead, 0)
    started = time.monotonic()
    result = _run(config, launcher=dead)
    assert (result.stopped, result.exit_code, result.done) == (True, 1, 0)
    assert time.monotonic() - started < 30
    assert read_failures(config.folder.failures) == []


def test_workers_are_the_processors_divided_by_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    assert [worker_count("auto", threads) for threads in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert worker_count(5, 1) == 5


def test_writer_names_are_unique_and_safe_in_file_names() -> None:
    names = {writer_name("1234_5/x y", "node 1") for _ in range(100)}
    assert len(names) == 100
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-.") for name in names)


def test_manifest_of_the_element_is_the_plan(prepare: Any) -> None:
    config = prepare("slices.count=2")
    manifest = load_manifest(config.folder)
    todo = find_todo(config.folder, config, manifest, (1, 0))
    assert [clip.slice for clip in todo] == [1, 1, 0, 0]
    assert all(clip.path.is_file() for clip in todo)
    assert np.isfinite([clip.mos for clip in todo]).all()


def _on_node(monkeypatch: pytest.MonkeyPatch, name: str = "node7") -> None:
    for key, value in (("SLURM_JOB_ID", "99"), ("SLURM_ARRAY_JOB_ID", "90"), ("SLURM_ARRAY_TASK_ID", "4")):
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("SLURMD_NODENAME", name)


def test_an_element_says_on_disk_when_it_began_and_how_it_ended(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare(others=("empty.mp4",))
    _on_node(monkeypatch)
    _run(config)
    (record,) = read_elements(config.folder)
    assert (record.job, record.index, record.node, record.clips) == ("90", 4, "node7", 5)
    assert (record.done, record.failed, record.exit_code) == (4, {"decode_error": 1}, 0)
    assert 0 < record.seconds < 60
    _run(config)
    assert len(read_elements(config.folder)) == 1  # nothing was left


def test_where_nothing_is_left_an_element_ends_at_once_and_leaves_no_file(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare()
    _run(config)
    before = sorted(config.folder.path.rglob("*"))
    monkeypatch.setattr("vmafarm.scoring.element.make_engine", lambda _: pytest.fail("an engine was made"))
    assert _run(config) == ElementResult()
    assert sorted(config.folder.path.rglob("*")) == before


def test_a_canary_takes_a_sample(prepare: Any) -> None:
    config = prepare(count=6)
    assert _run(config, limit=2).done == 2
    assert _run(config, limit=2).done == 2
    assert _run(config).done == 2


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("gone", "the clips cannot be seen on this node: .* is not there"),
        ("empty", "the clips cannot be seen on this node: .* holds none of them"),
        ("scratch", "the scratch folder .* is not there"),
        ("engine", "the program 'no-such-program' .engine.vmaf. is not there"),
    ],
)
def test_a_node_that_cannot_do_the_work_is_on_record_and_no_clip_is_charged(
    prepare: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str, message: str
) -> None:
    config = prepare()
    _on_node(monkeypatch)
    if how in ("gone", "empty"):
        (tmp_path / "clips").rename(tmp_path / "elsewhere")
    if how == "empty":
        (tmp_path / "clips").mkdir()
    if how == "scratch":
        extract = config.extract.model_copy(update={"scratch": str(tmp_path / "missing")})
        config = config.model_copy(update={"extract": extract})
    if how == "engine":
        engine = config.engine.model_copy(update={"kind": "vmaf", "vmaf": "no-such-program"})
        config = config.model_copy(update={"engine": engine})
    result = _run(config)
    assert result.exit_code == 3
    assert re.search(message, result.message)
    (broken,) = read_broken(config.folder)
    assert (broken.node, broken.message) == ("node7", result.message)
    assert read_failures(config.folder.failures) == []
    (record,) = read_elements(config.folder)
    assert (record.exit_code, record.message) == (3, result.message)


def test_a_run_folder_that_is_full_is_not_the_nodes_fault(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare()
    _on_node(monkeypatch)
    monkeypatch.setattr(durable.os, "write", _full_disk())
    result = _run(config)
    assert result.exit_code == 3
    assert "no space left" in result.message
    assert read_broken(config.folder) == []


def test_on_this_machine_no_node_is_marked(prepare: Any, tmp_path: Path) -> None:
    config = prepare()
    (tmp_path / "clips").rename(tmp_path / "elsewhere")
    assert _run(config).exit_code == 3
    assert read_broken(config.folder) == []


def test_an_element_takes_no_clip_that_would_not_end_in_time(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare()
    monkeypatch.setenv(STARTED, str(time.time() - 3600))  # the image took its time
    result = _run(config, minutes=30)
    assert (result.done, result.exit_code) == (0, 1)
    assert result.message == "too little time was left for another clip"
    assert _run(config, minutes=90).done == 4


def test_a_canary_tries_everything_on_its_node_before_the_first_clip(
    prepare: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = prepare()
    _on_node(monkeypatch)
    assert _run(config, limit=2, canary=True).done == 2
    said = capfd.readouterr().out
    for name in ("engine", "scratch", "clips"):
        assert re.search(rf"^ok +{name}", said, re.MULTILINE), said
    engine = config.engine.model_copy(update={"kind": "vmaf", "vmaf": "no-such-program"})
    result = _run(config.model_copy(update={"engine": engine}), limit=2, canary=True)
    assert (result.done, result.exit_code) == (0, 3)
    assert "doctor: engine: the program 'no-such-program' (engine.vmaf) is not there" in result.message
    assert [broken.node for broken in read_broken(config.folder)] == ["node7"]


def test_clip_that_was_too_large_is_done_once_the_limit_is_raised(prepare: Any) -> None:
    config = prepare("extract.max_frames=20", "extract.retries=0", count=2, others=("two_frames.mp4",))
    assert dict(_run(config).failed) == {"too_large": 2}
    (record, _) = read_failures(config.folder.failures)
    assert (record.limit, record.limit_was) == ("max_frames", 20)
    manifest = load_manifest(config.folder)
    assert find_todo(config.folder, config, manifest, (0,)) == []
    with pytest.raises(IncompleteError, match="too_large 2"):
        merge(config.folder, config)
    raised = config.model_copy(update={"extract": config.extract.model_copy(update={"max_frames": 25})})
    assert len(find_todo(config.folder, raised, manifest, (0,))) == 2
    assert _run(raised) == ElementResult(done=2)
    assert merge(raised.folder, raised).counts["rows"] == 3


def test_clip_that_vanished_or_changed_since_the_plan_is_missing_and_back_with_its_file(
    prepare: Any, tmp_path: Path
) -> None:
    config = prepare("extract.retries=0", count=4)
    gone, longer, shorter = (tmp_path / "clips" / f"c{i}.mp4" for i in range(3))
    whole = gone.read_bytes()
    gone.unlink()
    longer.write_bytes(whole + b"x")
    shorter.write_bytes(whole[:-1])
    result = _run(config)
    assert (result.done, dict(result.failed)) == (1, {"unreadable": 1, "changed": 2})
    said = {record.clip_name: record.message for record in read_failures(config.folder.failures)}
    size = f"{len(whole):,} bytes, found with"
    assert said["c0.mp4"] == "cannot be read: No such file or directory"
    assert said["c1.mp4"].startswith(f"planned with {size} {len(whole) + 1:,}: ")
    assert said["c2.mp4"].startswith(f"planned with {size} {len(whole) - 1:,}: ")
    for path in (gone, longer, shorter):
        path.write_bytes(whole)
    assert _run(config) == ElementResult(done=3)
    assert _rows(config) == ["c0.mp4", "c1.mp4", "c2.mp4", "c3.mp4"]


def test_an_end_that_cannot_be_written_down_is_told(prepare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = prepare(count=2)

    def refuse(*_: Any) -> None:
        raise UnavailableError("cannot write: Read-only file system", "make it writable")

    monkeypatch.setattr("vmafarm.run_folder.element_records.ElementLog.end", refuse)
    result = _run(config)
    assert (result.done, result.exit_code, result.message) == (2, 3, "cannot write: Read-only file system")
    assert _rows(config) == ["c0.mp4", "c1.mp4"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/lost"), "/lost: Disk quota exceeded"),
        (MemoryError(), "no memory is left"),
    ],
)
def test_an_error_of_the_system_that_nobody_explained_is_the_elements_result(
    prepare: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException, message: str
) -> None:
    config = prepare(count=1)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("vmafarm.scoring.element.make_engine", fail)
    result = _run(config)
    assert (result.exit_code, result.message, result.failed) == (3, message, {})
    assert result.hint
    (record,) = read_elements(config.folder)
    assert record.message == message


def test_a_scratch_folder_that_is_removed_while_clips_are_scored_charges_none(
    prepare: Any, tmp_path: Path, ffmpeg: Path
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *probe* | -nostdin) exec {ffmpeg} "$@" ;; esac\nrm -rf "$PWD"\nexit 1\n'
    )
    program.chmod(0o755)
    config = prepare(f"engine.ffmpeg={program}", count=2)
    result = _run(config)
    assert result.exit_code == 3
    assert re.fullmatch(rf"the scratch folder {tmp_path}/scratch/vmafarm-\S+ was removed .*", result.message)
    assert "extract.scratch" in result.hint
    assert not result.failed
    assert read_failures(config.folder.failures) == []
