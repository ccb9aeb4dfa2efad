"""The paths of all files of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmafarm.run_folder.paths import RunFolder, slice_folder, slice_id

FOLDER = RunFolder(Path("runs"), "k150k")


def test_the_table_is_beside_the_runs_and_all_else_inside_the_run():
    assert FOLDER.table == Path("runs/full_features_k150k.parquet")
    assert FOLDER.merge_record == Path("runs/full_features_k150k.merge.json")
    inside = [
        FOLDER.config, FOLDER.manifest, FOLDER.provenance, FOLDER.shards, FOLDER.clip_logs, FOLDER.failures,
        FOLDER.logs,
    ]  # fmt: skip
    assert all(path.parent == Path("runs/k150k") for path in inside)
    assert len(set(inside)) == len(inside)


def test_shards_are_in_one_folder_per_slice_and_clip_logs_in_one_per_run():
    assert FOLDER.shard_folder(12) == Path("runs/k150k/shards/slice-00012")
    assert FOLDER.clip_log(12, "7-0-0-n1-99") == Path("runs/k150k/clip_log/slice-00012.7-0-0-n1-99.parquet")


@given(st.integers(0, 10**9))
def test_the_slice_number_is_read_from_its_folder(number):
    assert slice_id(FOLDER.shard_folder(number)) == number


@given(st.integers(0, 99_998))
def test_folders_sort_as_their_slices_do(number):
    assert slice_folder(number) < slice_folder(number + 1)


@pytest.mark.parametrize(
    "name", ["slice-12", "slice-", "slice-00012x", "x-slice-00012", ".slice-00012.tmp", "a"]
)
def test_other_folders_are_not_slices(name):
    assert slice_id(Path("shards") / name) is None


def test_paths_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FOLDER.name = "x"
