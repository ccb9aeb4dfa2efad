"""The records that elements write."""

from __future__ import annotations

from time import process_time

from vmafarm.run_folder.element_records import ElementLog, ElementResult, read_elements
from vmafarm.run_folder.paths import RunFolder


def test_an_element_is_recorded_when_it_starts_and_when_it_ends(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    log = ElementLog(folder, "11-3-0-node1", "11", 3, "node1", (3, 7), 20)
    (began,) = read_elements(folder)
    assert (began.job, began.index, began.node, began.slices, began.clips) == ("11", 3, "node1", (3, 7), 20)
    assert began.started_at
    assert not began.ended_at
    log.end(ElementResult(18, {"timeout": 2}, True, 1, "too little time", "retry"), 12.5)
    (ended,) = read_elements(folder)
    assert ended.ended_at >= ended.started_at
    assert (ended.done, ended.failed, ended.seconds, ended.stopped) == (18, {"timeout": 2}, 12.5, True)
    assert (ended.exit_code, ended.message, ended.hint) == (1, "too little time", "retry")


def test_its_work_and_its_cpu_time_are_recorded(tmp_path):
    folder = RunFolder(tmp_path, "demo")
    log = ElementLog(folder, "w", "11", 3, "node1", (3, 7), 20)
    log.work_begins(3, 2)
    before = process_time()
    while process_time() - before < 0.05:
        pass
    log.end(ElementResult(18), 12.5)
    (ended,) = read_elements(folder)
    assert (ended.at_once, ended.threads) == (3, 2)
    assert ended.cpu_seconds >= 0.04


def test_records_are_ordered_by_start_and_torn_ones_are_left_out(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path, "demo")
    times = {"z": "08:00:00.001", "c": "08:00:00.002", "b": "08:00:00.002", "a": "08:00:00.003"}
    for writer, time in times.items():
        monkeypatch.setattr(
            "vmafarm.run_folder.element_records._now", lambda time=time: f"2026-03-01T{time}+00:00"
        )
        ElementLog(folder, writer, "11", None, "node1", (0,), 1)
    (folder.elements / "torn.jsonl").write_text('{"writer": "torn", "job"')
    assert [record.writer for record in read_elements(folder)] == ["z", "b", "c", "a"]
