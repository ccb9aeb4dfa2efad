"""What fails while an element works: clips, engines, nodes, disks."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from standin.vmaf import write_standin
from support.elements import on_node, rows_of, run_slices

from vmafarm.common.errors import IncompleteError, UnavailableError
from vmafarm.disk import durable
from vmafarm.merging.merge import merge
from vmafarm.run_folder.broken_nodes import read_broken
from vmafarm.run_folder.element_records import ElementResult, read_elements
from vmafarm.run_folder.failure_log import FailureLog
from vmafarm.run_folder.failures import FailureRecord, read_failures
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.submissions import ELSEWHERE
from vmafarm.scoring.todo import find_todo
from vmafarm.shards.completeness import read_states
from vmafarm.shards.writer import read_done


@pytest.fixture
def prepare(prepare: Any) -> Any:
    """With short clips, where a test asks for no others."""
    return partial(prepare, clip="two_frames.mp4")


def test_failures_are_recorded_with_their_tries_and_the_rest_goes_on(prepare: Any) -> None:
    config = prepare("extract.retries=2", others=("empty.mp4", "cut.mp4"))
    result = run_slices(config)
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
    run_slices(config)
    manifest = load_manifest(config.folder)
    assert find_todo(config.folder, config, manifest, (0,)) == []
    assert run_slices(config) == ElementResult()


def _failing(tmp_path: Path) -> tuple[str, ...]:
    """Settings of an engine with which each clip fails, as certainly on a busy machine as on an idle one."""
    program = write_standin(tmp_path / "bin", misbehave="log_cut", spares_probe=True)
    return (
        "engine.kind=vmaf", f"engine.vmaf={program}", "extract.retries=0", "extract.workers=1",
        "extract.max_engine_failures=5",
    )  # fmt: skip


def test_clips_that_failed_before_come_last(prepare: Any, tmp_path: Path) -> None:
    config = prepare(*_failing(tmp_path))
    assert run_slices(config).failed == {"bad_log": 4}
    for path in config.folder.failures.iterdir():
        path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n")
    (failed,) = read_failures(config.folder.failures)
    todo = find_todo(config.folder, config, load_manifest(config.folder), (0,))
    assert [clip.name for clip in todo][-1] == failed.clip_name
    assert len(todo) == 4


@pytest.mark.full
def test_no_more_files_of_failures_are_open_than_slices_in_progress(
    prepare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on one machine is one element: a file per slice of it would be more than a process may open."""
    config = prepare("slices.count=4", *_failing(tmp_path))
    is_open: list[int] = []
    append = FailureLog.append

    def counted(log: FailureLog, record: FailureRecord) -> None:
        append(log, record)
        links = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry)]
        is_open.append(sum(link.startswith(str(config.folder.failures.absolute())) for link in links))

    monkeypatch.setattr(FailureLog, "append", counted)
    assert run_slices(config).failed == {"bad_log": 4}
    assert len(list(config.folder.failures.iterdir())) == 4
    assert is_open == [1, 1, 1, 1]


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
        result = run_slices(config)
    assert result.exit_code == 3
    assert "no space left" in result.message
    assert "kept" in result.hint
    kept = read_done(config.folder, [0])
    assert 0 < len(kept) < 4
    assert run_slices(config).done == 4 - len(kept)
    assert read_done(config.folder, [0]) == {"c0.mp4", "c1.mp4", "c2.mp4", "c3.mp4"}


def test_broken_engine_ends_the_element_and_charges_no_clip(prepare: Any, tmp_path: Path) -> None:
    program = write_standin(tmp_path / "bin", misbehave="exit_255", after=3)
    config = prepare("engine.kind=vmaf", f"engine.vmaf={program}", "extract.workers=1")
    result = run_slices(config)
    assert result.exit_code == 3
    assert "cannot score a two-frame clip" in result.message
    assert read_failures(config.folder.failures) == []


def test_several_engine_failures_in_a_row_end_the_element(prepare: Any, tmp_path: Path) -> None:
    program = write_standin(tmp_path / "bin", misbehave="log_cut", spares_probe=True)
    config = prepare(
        "engine.kind=vmaf", f"engine.vmaf={program}", "extract.retries=0", "extract.max_engine_failures=3"
    )
    result = run_slices(config)
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
        assert run_slices(config).failed == {"engine_error": 1}
    finally:
        signal.signal(signal.SIGCHLD, before)
    (record,) = read_failures(config.folder.failures)
    assert "exit status 255" in record.message


def test_a_wrong_constant_ends_the_element_before_the_clips_behind_it(prepare: Any, tmp_path: Path) -> None:
    program = write_standin(tmp_path / "bin", misbehave="wrong_constant", spares_probe=True)
    config = prepare(
        "engine.kind=vmaf", f"engine.vmaf={program}", "engine.audit_every=1", "extract.workers=1", count=6
    )
    result = run_slices(config)
    assert (result.exit_code, result.done) == (1, 0)
    assert result.message.startswith(
        "a constant that the plan identity fills in differs from its measured value: c"
    )
    assert result.failed == {"wrong_constant": 1}


def test_engine_that_scores_the_built_in_clip_is_well_and_the_good_clips_behind_the_bad_ones_are_done(
    prepare: Any, tmp_path: Path
) -> None:
    program = write_standin(tmp_path / "bin", misbehave="log_cut", spares_probe=True, times=6)
    config = prepare("engine.kind=vmaf", f"engine.vmaf={program}", "extract.retries=0", count=8)
    result = run_slices(config)
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
    assert dict(run_slices(config).failed) == {"bad_log": 3}
    monkeypatch.setenv("SLURMD_NODENAME", "node2")
    result = run_slices(config, share=ELSEWHERE)
    assert (dict(result.failed), result.exit_code) == ({"bad_log": 3}, 0)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("gone", "the clips are not visible on this node: .* is not there"),
        ("empty", "the clips are not visible on this node: .* contains none of them"),
        ("scratch", "the scratch folder .* is not there"),
        ("engine", "the program 'no-such-program' .engine.vmaf. is not there"),
    ],
)
def test_a_node_that_cannot_do_the_work_is_on_record_and_no_clip_is_charged(
    prepare: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str, message: str
) -> None:
    config = prepare()
    on_node(monkeypatch)
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
    result = run_slices(config)
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
    on_node(monkeypatch)
    monkeypatch.setattr(durable.os, "write", _full_disk())
    result = run_slices(config)
    assert result.exit_code == 3
    assert "no space left" in result.message
    assert read_broken(config.folder) == []


def test_on_this_machine_no_node_is_marked(prepare: Any, tmp_path: Path) -> None:
    config = prepare()
    (tmp_path / "clips").rename(tmp_path / "elsewhere")
    assert run_slices(config).exit_code == 3
    assert read_broken(config.folder) == []


def test_a_canary_tries_everything_on_its_node_before_the_first_clip(
    prepare: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = prepare()
    on_node(monkeypatch)
    assert run_slices(config, limit=2, canary=True).done == 2
    said = capfd.readouterr().out
    for name in ("engine", "scratch", "clips"):
        assert re.search(rf"^ok +{name}", said, re.MULTILINE), said
    engine = config.engine.model_copy(update={"kind": "vmaf", "vmaf": "no-such-program"})
    result = run_slices(config.model_copy(update={"engine": engine}), limit=2, canary=True)
    assert (result.done, result.exit_code) == (0, 3)
    assert "doctor: engine: the program 'no-such-program' (engine.vmaf) is not there" in result.message
    assert [broken.node for broken in read_broken(config.folder)] == ["node7"]


def test_clip_that_was_too_large_is_done_once_the_limit_is_raised(prepare: Any) -> None:
    settings = ("extract.max_frames=20", "extract.retries=0")
    config = prepare(*settings, count=2, clip="plain.mp4", others=("two_frames.mp4",))
    assert dict(run_slices(config).failed) == {"too_large": 2}
    (record, _) = read_failures(config.folder.failures)
    assert (record.limit, record.limit_was) == ("max_frames", 20)
    manifest = load_manifest(config.folder)
    assert find_todo(config.folder, config, manifest, (0,)) == []
    with pytest.raises(IncompleteError, match="too_large 2"):
        merge(config.folder, config)
    raised = config.model_copy(update={"extract": config.extract.model_copy(update={"max_frames": 25})})
    assert len(find_todo(config.folder, raised, manifest, (0,))) == 2
    assert run_slices(raised) == ElementResult(done=2)
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
    result = run_slices(config)
    assert (result.done, dict(result.failed)) == (1, {"unreadable": 1, "changed": 2})
    said = {record.clip_name: record.message for record in read_failures(config.folder.failures)}
    size = f"{len(whole):,} bytes, found with"
    assert said["c0.mp4"] == "cannot be read: No such file or directory"
    assert said["c1.mp4"].startswith(f"planned with {size} {len(whole) + 1:,}: ")
    assert said["c2.mp4"].startswith(f"planned with {size} {len(whole) - 1:,}: ")
    for path in (gone, longer, shorter):
        path.write_bytes(whole)
    assert run_slices(config) == ElementResult(done=3)
    assert rows_of(config) == ["c0.mp4", "c1.mp4", "c2.mp4", "c3.mp4"]


def test_an_end_that_cannot_be_recorded_is_reported(prepare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = prepare(count=2)

    def refuse(*_: Any) -> None:
        raise UnavailableError("cannot write: Read-only file system", "make it writable")

    monkeypatch.setattr("vmafarm.run_folder.element_records.ElementLog.end", refuse)
    result = run_slices(config)
    assert (result.done, result.exit_code, result.message) == (2, 3, "cannot write: Read-only file system")
    assert rows_of(config) == ["c0.mp4", "c1.mp4"]


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
    result = run_slices(config)
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
    result = run_slices(config)
    assert result.exit_code == 3
    assert re.fullmatch(rf"the scratch folder {tmp_path}/scratch/vmafarm-\S+ was removed .*", result.message)
    assert "extract.scratch" in result.hint
    assert not result.failed
    assert read_failures(config.folder.failures) == []
