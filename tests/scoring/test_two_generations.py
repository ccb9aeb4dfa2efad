"""Elements that are at work with an earlier plan when a run is planned again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.command import write_scores
from support.elements import run_slices

from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.merging.merge import merge
from vmafarm.run_folder.failures import read_failures
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.shards.completeness import read_states


@pytest.mark.parametrize("earlier_first", [True, pytest.param(False, marks=pytest.mark.full)])
def test_an_element_of_an_earlier_plan_loses_nothing_and_its_rows_of_clips_as_they_were_do_not_count(
    prepare: Any, tmp_path: Path, clips: Callable[[str], Path], earlier_first: bool
) -> None:
    config = prepare("slices.count=1", "extract.retries=0")
    first = load_manifest(config.folder)
    run_slices(config, limit=1)  # c0, as it was
    shutil.copy(clips("rotated.mp4"), tmp_path / "clips/c0.mp4")
    shutil.copy(clips("plain.mp4"), tmp_path / "clips/new.mp4")
    (tmp_path / "clips/c1.mp4").unlink()
    write_scores(tmp_path / "scores.csv", ["c0.mp4", "c2.mp4", "c3.mp4", "new.mp4"])
    assert plan(config, update=True, drop=True).manifest.generation == 2

    def earlier() -> None:
        result = run_slices(config, manifest=first.digest)
        assert result.message == ""

    def later() -> None:
        run_slices(config, manifest=load_manifest(config.folder).digest)

    for work in (earlier, later) if earlier_first else (later, earlier):
        work()
    states = read_states(config.folder, config, load_manifest(config.folder))
    assert (set(states.gaps.missing), set(states.gaps.failed)) == (set(), set())
    if earlier_first:
        assert {one.clip_name for one in read_failures(config.folder.failures)} == {"c1.mp4"}
    merge(config.folder, config)
    with pq.ParquetFile(config.folder.table) as file:
        grown = file.read()
    assert grown["clip_name"].to_pylist() == ["c0.mp4", "c2.mp4", "c3.mp4", "new.mp4"]
    assert grown["width"].to_pylist() == [270, 480, 480, 480], "c0 is the clip that it is now"

    fresh, _ = load(None, ["run.name=fresh", *_settings(tmp_path)])
    plan(fresh)
    fresh = with_frozen(fresh)
    run_slices(fresh)
    merge(fresh.folder, fresh)
    assert fresh.folder.table.read_bytes() == config.folder.table.read_bytes()


def _settings(folder: Path) -> list[str]:
    return [
        "engine.plan=identity", "engine.audit_every=0", "engine.kind=ffmpeg", "corpus.clips=clips",
        "corpus.scores=scores.csv", f"extract.scratch={folder / 'scratch'}",
    ]  # fmt: skip
