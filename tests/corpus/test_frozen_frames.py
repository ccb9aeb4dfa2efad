"""A run keeps the frames of all its rows or of none: its plan says so, and no later one may change it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import QUICK, call, corpus, write_scores
from support.errors_document import documented

from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import read_frozen_config
from vmafarm.corpus.planned_set import keeps_frames
from vmafarm.run_folder.manifest import load_manifest, write_manifest
from vmafarm.run_folder.paths import RunFolder


@pytest.fixture
def folder(tmp_path: Path, clips: Callable[[str], Path]) -> Path:
    """A working folder with a clip and its score."""
    (tmp_path / "clips").mkdir()
    shutil.copy(clips("160x240.mkv"), tmp_path / "clips" / "a.mkv")
    write_scores(tmp_path / "scores.csv", ["a.mkv"])
    return tmp_path


def options(*words: str) -> list[str]:
    return corpus("--run", "r", *QUICK, *words)


def keeps(folder: Path, *settings: str) -> bool:
    """Whether an element of the run would keep frames."""
    return keeps_frames(load(None, ["run.name=r", f"run.root={folder}/runs", *settings])[0])


def kept(folder: Path) -> list[str]:
    return sorted(path.suffix for path in (folder / "runs/r/frames").glob("*/*"))


def test_the_option_and_the_key_are_the_same(folder: Path) -> None:
    call("plan", *options("--frames"), cwd=folder)
    assert keeps(folder)
    assert keeps(folder, "engine.frames=false"), "the plan counts, not what is configured now"
    call("plan", *corpus("--run", "s", "--set", "engine.frames=true"), cwd=folder)
    assert read_frozen_config(RunFolder(folder / "runs", "s"))["engine.frames"] is True


@pytest.mark.parametrize("first", [True, pytest.param(False, marks=pytest.mark.full)])
def test_a_change_is_refused_once_there_are_rows_and_the_run_goes_on_as_planned(
    folder: Path, first: bool
) -> None:
    documented("a run of which only some rows would have their frames")
    call("run", *options(*["--frames"] * first), cwd=folder)
    assert kept(folder) == [".parquet"] * first
    other = f"engine.frames={str(not first).lower()}"
    refused = call("run", *options("--set", other), cwd=folder, status=2).stderr
    assert (
        f'error: the run "r" has rows {"with" if first else "without"} their frames, now {other[:13]}'
        in refused
    )
    assert "another run.name" in refused
    shutil.copy(folder / "clips/a.mkv", folder / "clips/b.mkv")
    write_scores(folder / "scores.csv", ["a.mkv", "b.mkv"])
    call("run", *options("--update"), cwd=folder)  # does not name the key: that of the plan
    assert kept(folder) == [".parquet"] * 2 * first


def test_before_the_first_row_it_is_a_change_of_the_plan(folder: Path) -> None:
    call("plan", *options(), cwd=folder)
    assert not keeps(folder, "engine.frames=true")
    said = call("plan", *options("--frames"), cwd=folder).stdout
    assert "engine.frames: False -> True" in said
    assert keeps(folder)


def test_a_plan_of_an_earlier_version_keeps_none_whatever_is_configured(folder: Path) -> None:
    call("plan", *options(), cwd=folder)
    run = RunFolder(folder / "runs", "r")
    values, manifest = read_frozen_config(run), load_manifest(run)
    run.manifest.unlink()
    del values["plan.manifest"], values["engine.frames"]
    write_manifest(run, manifest, values)
    assert not keeps(folder, "engine.frames=true")
    call("run", *options(), cwd=folder)
    assert kept(folder) == []
    assert list(run.manifests()) == [run.manifest], "nothing has changed"
    refused = call("run", *options("--frames"), cwd=folder, status=2).stderr
    assert "has rows without their frames" in refused


@pytest.mark.parametrize("name", ["r.frames", "r.sample.frames"])
def test_a_run_whose_table_would_replace_the_frames_of_another_is_not_planned(
    folder: Path, name: str
) -> None:
    documented("a run called x.frames beside a run x that keeps frames")
    call("plan", *options(), cwd=folder)
    call("plan", *corpus("--run", "s.frames"), cwd=folder)  # beside nothing
    call("plan", *options("--frames"), cwd=folder)
    refused = call("run", *corpus("--run", name, *QUICK), cwd=folder, status=2).stderr
    assert refused.startswith(
        f"error: runs/full_features_{name}.parquet is the place of the frames of the run r, so the table of "
    )
    assert not (folder / "runs" / name).exists()


def test_a_run_of_that_name_is_planned_beside_one_without_frames(folder: Path) -> None:
    call("plan", *options(), cwd=folder)
    call("plan", *corpus("--run", "r.frames"), cwd=folder)
    assert (folder / "runs/r.frames/manifest.parquet").exists()


def test_reuse_is_refused_with_frames_and_leaves_nothing_behind(folder: Path) -> None:
    documented("`--reuse` for a run that keeps frames")
    call("run", *options(), cwd=folder)
    other = corpus("--run", "new", *QUICK)
    refused = call("run", *other, "--frames", "--reuse", "r", cwd=folder, status=2).stderr
    assert refused.startswith("error: --reuse takes rows without their frames")
    assert not (folder / "runs/new").exists()
    call("plan", *other, "--frames", cwd=folder)
    refused = call("run", *other, "--reuse", "r", cwd=folder, status=2).stderr
    assert refused.startswith("error: --reuse takes rows without their frames")
    assert not (folder / "runs/new/shards").exists()
