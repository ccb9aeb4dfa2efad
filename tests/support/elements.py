"""Elements in this process, and what they leave on disk."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pyarrow.parquet as pq
import pytest

from vmafarm.config.sections import Config
from vmafarm.doctor.preflight import examine_node
from vmafarm.run_folder.element_records import ElementResult
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.submissions import EVERYTHING
from vmafarm.scoring import local_executor
from vmafarm.scoring.element import run_element
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.scoring.handover import Work, as_spec


def run_slices(config: Config, **more: Any) -> ElementResult:
    """One element works on all slices of a run."""
    slices = tuple(range(load_manifest(config.folder).slice_count))
    spec = ElementSpec(config.model_dump(), slices, **more)
    return run_element(spec, examine_node if spec.canary else None)


def run_here(
    config: Config, slices: Sequence[int], watch: Callable[[], None], limit: int = 0, share: str = EVERYTHING,
    manifest: str = "",
) -> ElementResult:  # fmt: skip
    """In the place of `vmafarm.scoring.local_executor.run_local`: the same elements, in this process."""
    specs = local_executor._groups(config, slices, limit, share, manifest)
    work = json.loads(Work.of_elements(config.folder.logs, specs).text)
    results = []
    for index in range(len(specs)):
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # which go to its log
            results.append(run_element(as_spec(work, index)))
        watch()
    return local_executor._together(results)


def rows_of(config: Config) -> list[str]:
    """Clips with a row in a shard, in order."""
    return sorted(
        name
        for path in config.folder.shards.glob("*/*.parquet")
        for name in pq.ParquetFile(path).read(columns=["clip_name"])["clip_name"].to_pylist()
    )


def on_node(monkeypatch: pytest.MonkeyPatch, name: str = "node7") -> None:
    """From here on this process is an element of a SLURM array."""
    for key, value in (("SLURM_JOB_ID", "99"), ("SLURM_ARRAY_JOB_ID", "90"), ("SLURM_ARRAY_TASK_ID", "4")):
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("SLURMD_NODENAME", name)
