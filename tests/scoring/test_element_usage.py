"""An element measures what it uses, and its record says so."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from standin.vmaf import write_standin
from support.elements import on_node, run_slices

from vmafarm.process.gpus import GpuSample
from vmafarm.process.usage import UsageMeter, cpu_seconds
from vmafarm.run_folder.element_records import read_elements
from vmafarm.scoring import element
from vmafarm.scoring.deadline import STARTED


def test_an_element_records_its_time_its_processors_time_and_its_memory(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare("slurm.cpus=2", "slurm.mem=8GB", "slurm.time=60", "extract.workers=2")
    on_node(monkeypatch)
    monkeypatch.setenv(STARTED, str(time.time() - 100))
    before = cpu_seconds()
    assert run_slices(config).done == 4
    (record,) = read_elements(config.folder)
    assert 100 < record.elapsed_seconds < 250
    assert record.cpu_seconds <= record.total_cpu_seconds
    assert before < record.total_cpu_seconds <= cpu_seconds()
    assert record.cpu_seconds >= 0.1  # ffmpeg's time, which only its end makes known
    assert record.memory_from == "processes"  # the tests are not a job of SLURM
    with open(f"/proc/{os.getpid()}/statm") as file:
        own = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert own / 2 < record.memory < 64 * own
    assert (record.gpus, record.gpu_memory) == (0, 0)


@pytest.mark.parametrize(("backend", "looked"), [("cuda", [["3"]]), ("cpu", [])])
def test_an_element_looks_at_its_gpus_where_the_engine_uses_them(
    prepare: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: str, looked: list[list[str]]
) -> None:
    program = write_standin(tmp_path / "vmaf")
    opened: list[list[str]] = []

    class OneGpu:
        def __init__(self, names: list[str]) -> None:
            opened.append(names)

        def samples(self) -> list[GpuSample]:
            return [GpuSample(0.5, 6 << 30, 80 << 30)]

    monkeypatch.setattr(element, "UsageMeter", partial(UsageMeter, open_gpus=OneGpu))
    config = prepare(
        "engine.kind=vmaf", f"engine.backend={backend}", f"engine.vmaf={program}", count=1
    )  # fmt: skip
    assert run_slices(config, environment={"CUDA_VISIBLE_DEVICES": "3"}).done == 1
    (record,) = read_elements(config.folder)
    assert opened == looked
    expected = (1, 0.5, 6 << 30, 80 << 30) if looked else (0, None, 0, 0)
    assert (record.gpus, record.gpu_busy, record.gpu_memory, record.gpu_memory_total) == expected


def test_an_element_whose_engine_is_not_there_says_what_it_used_until_then(prepare: Any) -> None:
    config = prepare("engine.kind=vmaf", "engine.vmaf=/no/such/program")
    assert run_slices(config).exit_code == 3
    (record,) = read_elements(config.folder)
    assert record.ended_at
    assert (record.memory > 0, record.total_cpu_seconds > 0, record.cpu_seconds) == (True, True, 0)


def test_a_clock_that_is_far_off_does_not_spoil_the_record(
    prepare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepare(count=1)
    monkeypatch.setenv(STARTED, "0")
    assert run_slices(config).done == 1
    (record,) = read_elements(config.folder)
    assert (record.done, record.elapsed_seconds) == (1, 0)


def test_an_element_that_is_killed_has_none_of_this(prepare: Any) -> None:
    config = prepare(count=1)
    run_slices(config)
    (path,) = config.folder.elements.glob("*.jsonl")
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    (record,) = read_elements(config.folder)
    assert (record.ended_at, record.memory, record.memory_from, record.elapsed_seconds) == ("", 0, "", 0)
