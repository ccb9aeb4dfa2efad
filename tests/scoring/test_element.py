"""An element: slices to shards, whatever fails on the way."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from standin.vmaf import read_calls, write_standin
from support.elements import on_node, rows_of, run_slices

from vmafarm.config.sections import Config
from vmafarm.config.workers import worker_count
from vmafarm.process.node import writer_name
from vmafarm.run_folder.broken_nodes import read_broken
from vmafarm.run_folder.element_records import ElementResult, read_elements
from vmafarm.run_folder.failures import read_failures
from vmafarm.run_folder.manifest import load_manifest, write_manifest
from vmafarm.run_folder.planned_clips import manifest_digest
from vmafarm.run_folder.submissions import ELSEWHERE, LAST_LOOK, ORDINARY
from vmafarm.scoring.deadline import STARTED
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.scoring.todo import find_todo
from vmafarm.shards.clip_log import CLIP_LOG_SCHEMA
from vmafarm.shards.completeness import read_states


def test_element_writes_one_shard_a_slice_with_clip_log_and_done(prepare: Any, tmp_path: Path) -> None:
    config = prepare("slices.count=2", "extract.flush_every=1")
    assert run_slices(config) == ElementResult(done=4)
    assert rows_of(config) == ["c0.mp4", "c1.mp4", "c2.mp4", "c3.mp4"]
    for number in (0, 1):
        files = {path.suffix for path in config.folder.shard_folder(number).iterdir()}
        assert files == {".parquet", ".done"}
        (log,) = config.folder.clip_logs.glob(f"slice-{number:05d}.*.parquet")
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
            content = (Path(config.corpus.clips) / entry["clip_name"]).read_bytes()
            assert entry["sha256"] == hashlib.sha256(content).hexdigest()
            assert entry["bytes"] == len(content)
    assert not list((tmp_path / "scratch").iterdir())


def test_a_manifest_that_was_exchanged_since_is_not_worked_on(prepare: Any) -> None:
    config = prepare()
    planned = load_manifest(config.folder)
    names = ["other.mp4", *planned.names[1:]]
    digest = manifest_digest(names, planned.mos, planned.bytes)
    config.folder.manifest.unlink()
    write_manifest(config.folder, replace(planned, names=names, digest=digest))
    result = run_slices(config, manifest=planned.digest)
    assert (result.exit_code, result.done) == (2, 0)
    assert "is not the manifest of this submission" in result.message
    assert rows_of(config) == []
    assert not config.folder.elements.exists()


def test_second_element_has_nothing_to_do_and_touches_nothing(prepare: Any) -> None:
    config = prepare()
    run_slices(config)
    before = sorted(path for path in config.folder.path.rglob("*") if path.is_file())
    assert run_slices(config) == ElementResult()
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
    assert set(rows_of(config)) == {"c0.mp4", "c1.mp4", "c2.mp4", "c3.mp4"}
    assert len(rows_of(config)) == sum(result.done for result in results)


def _quiet(element: Any, config: Config) -> ElementResult:
    stop = element.Stop()
    work = element._Element(ElementSpec(config.model_dump(), (0,)), stop)
    work.run()
    result: ElementResult = work.end()
    return result


def test_an_element_takes_the_share_of_clips_that_it_is_given(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare(count=1, others=("random.mp4",))
    monkeypatch.setenv("SLURMD_NODENAME", "node1")
    assert dict(run_slices(config).failed) == {"decode_error": 1}
    assert run_slices(config, share=ORDINARY) == ElementResult()
    assert run_slices(config, share=ELSEWHERE) == ElementResult()
    assert run_slices(config, share=LAST_LOOK) == ElementResult()  # failed for good, on the only host
    monkeypatch.setenv("SLURMD_NODENAME", "node2")
    assert run_slices(config, share=ORDINARY) == ElementResult()
    assert dict(run_slices(config, share=ELSEWHERE).failed) == {"decode_error": 1}
    records = read_failures(config.folder.failures)
    assert [record.host for record in records] == ["node1", "node1", "node2", "node2"]
    assert run_slices(config, share=LAST_LOOK) == ElementResult()


def test_the_last_look_leaves_no_clip_to_another_one(prepare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = prepare(count=1, others=("random.mp4",))
    assert run_slices(config, share=LAST_LOOK) == ElementResult()  # nothing has failed yet
    bad = config.corpus.clips + "/random.mp4"
    os.rename(bad, bad + ".away")
    monkeypatch.setenv("SLURMD_NODENAME", "node2")
    assert run_slices(config).done == 1
    os.rename(bad + ".away", bad)
    for path in config.folder.failures.iterdir():
        path.unlink()
    monkeypatch.setenv("SLURMD_NODENAME", "node1")
    assert dict(run_slices(config).failed) == {"decode_error": 1}
    gaps = read_states(config.folder, config, load_manifest(config.folder)).gaps
    assert gaps.waiting == {"random.mp4": "node1"}
    assert dict(run_slices(config, share=LAST_LOOK).failed) == {"decode_error": 1}
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
        assert run_slices(config).done == 4
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
    assert run_slices(config, environment={"PATH": os.environ["PATH"]}).done == 4
    shutil.rmtree(config.folder.shards)
    other = config.model_copy(
        update={"engine": config.engine.model_copy(update={"kind": "vmaf", "vmaf": str(program)})}
    )
    result = run_slices(other)
    assert result.exit_code == 2
    assert "engine: found 'vmaf', expected 'ffmpeg'" in result.message
    assert not config.folder.shards.exists()


def test_a_lost_provenance_becomes_that_of_the_rows_and_not_of_another_engine(
    prepare: Any, tmp_path: Path
) -> None:
    config = prepare()
    run_slices(config, limit=1)
    before = config.folder.provenance.read_bytes()
    config.folder.provenance.unlink()
    program = write_standin(tmp_path / "bin")
    other = config.engine.model_copy(update={"kind": "vmaf", "vmaf": str(program)})
    result = run_slices(config.model_copy(update={"engine": other}))
    assert "this run was started with another engine" in result.message
    assert config.folder.provenance.read_bytes() == before
    assert run_slices(config).done == 3


def test_environment_reaches_the_engine(
    prepare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    program = write_standin(tmp_path / "bin")
    config = prepare("engine.kind=vmaf", "engine.backend=cuda", f"engine.vmaf={program}", count=1)
    assert run_slices(config, environment={"CUDA_VISIBLE_DEVICES": "3"}).done == 1
    assert {call["cuda_visible_devices"] for call in read_calls(program)} == {"3"}


def test_element_ends_when_its_launcher_is_gone(prepare: Any, tmp_path: Path) -> None:
    program = write_standin(tmp_path / "bin", misbehave="hangs", spares_probe=True)
    config = prepare("engine.kind=vmaf", f"engine.vmaf={program}")
    dead = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(dead, 0)
    started = time.monotonic()
    result = run_slices(config, launcher=dead)
    assert (result.stopped, result.exit_code, result.done) == (True, 1, 0)
    assert time.monotonic() - started < 30
    assert read_failures(config.folder.failures) == []


def test_workers_are_the_processors_divided_by_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    assert [worker_count("auto", threads) for threads in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert worker_count(5, 1) == 5


def test_each_gpu_has_at_least_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(2)))
    assert [worker_count("auto", 1, gpus) for gpus in (0, 1, 4)] == [2, 2, 4]
    assert worker_count("auto", 1, 4, 8) == 8
    assert worker_count(2, 1, 4) == 2


def test_gpus_that_fail_alone_are_in_the_log_and_the_record_of_the_element(
    prepare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = write_standin(tmp_path / "bin", misbehave="exit_255", only_on_gpu="4,6")
    config = prepare("engine.kind=vmaf", "engine.backend=cuda", f"engine.vmaf={program}", count=6)
    on_node(monkeypatch)
    result = run_slices(config, environment={"CUDA_VISIBLE_DEVICES": "4,5,6,7"})
    assert (result.done, result.failed, result.exit_code) == (6, {}, 0)
    (record,) = read_elements(config.folder)
    assert record.gpus_left_out == result.gpus_left_out
    assert [line.partition(":")[0] for line in record.gpus_left_out] == ["GPU 4", "GPU 6"]
    assert record.at_once >= 3
    said = capsys.readouterr().out
    assert [gpu for gpu in "4567" if f"GPU {gpu} is left out, the others go on: " in said] == ["4", "6"]
    assert not read_broken(config.folder)


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


def test_an_element_says_on_disk_when_it_began_and_how_it_ended(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare(others=("empty.mp4",))
    on_node(monkeypatch)
    run_slices(config)
    (record,) = read_elements(config.folder)
    assert (record.job, record.index, record.node, record.clips) == ("90", 4, "node7", 5)
    assert (record.done, record.failed, record.exit_code) == (4, {"decode_error": 1}, 0)
    assert 0 < record.seconds < 60
    assert record.image_digest == ""
    run_slices(config)
    assert len(read_elements(config.folder)) == 1  # nothing was left


@pytest.mark.parametrize(("said", "recorded"), [(f"sha256:{'0a' * 32}", True), ("sha256:x; rm", False)])
def test_an_element_records_the_image_in_which_it_runs(
    prepare: Any, monkeypatch: pytest.MonkeyPatch, said: str, recorded: bool
) -> None:
    config = prepare(count=1)
    on_node(monkeypatch)
    monkeypatch.setenv("VMAFARM_IMAGE", said)
    run_slices(config)
    (record,) = read_elements(config.folder)
    assert record.image_digest == (said if recorded else "")


def test_where_nothing_is_left_an_element_ends_at_once_and_leaves_no_file(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare()
    run_slices(config)
    before = sorted(config.folder.path.rglob("*"))
    monkeypatch.setattr("vmafarm.scoring.element.make_engine", lambda _: pytest.fail("an engine was made"))
    assert run_slices(config) == ElementResult()
    assert sorted(config.folder.path.rglob("*")) == before


def test_a_canary_takes_a_sample(prepare: Any) -> None:
    config = prepare(count=6)
    assert run_slices(config, limit=2).done == 2
    assert run_slices(config, limit=2).done == 2
    assert run_slices(config).done == 2


def test_an_element_takes_no_clip_that_would_not_end_in_time(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare()
    monkeypatch.setenv(STARTED, str(time.time() - 3600))  # the image took its time
    result = run_slices(config, minutes=30)
    assert (result.done, result.exit_code) == (0, 1)
    assert result.message == "not enough time left for another clip"
    assert run_slices(config, minutes=90).done == 4
