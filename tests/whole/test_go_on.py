"""What `vmafarm run` and its neighbours work on when no run is named, or no clips are given."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import QUICK, call, corpus, table, write_scores

from vmafarm.corpus.frozen_config import read_frozen_config
from vmafarm.run_folder.paths import RunFolder

pytestmark = pytest.mark.full

NAMES = ("a.mp4", "b.mp4")
OTHERS = ("--set", "merge.checks=false", "--set", "engine.audit_every=0")
"""Options that no plan freezes."""


@pytest.fixture
def folder(tmp_path: Path, clips: Callable[[str], Path]) -> Path:
    """A working folder with two clips and their scores."""
    (tmp_path / "clips").mkdir()
    for name in NAMES:
        shutil.copy(clips("160x120.mkv"), tmp_path / "clips" / name)
    write_scores(tmp_path / "scores.csv", NAMES)
    return tmp_path


def age(folder: Path, name: str, seconds: float) -> None:
    """Make a run one that was active so long ago."""
    run = RunFolder(folder / "runs", name)
    at = run.manifest.stat().st_mtime - seconds
    for path in (*run.path.rglob("*"), *(path for path in run.delivered() if path.exists())):
        os.utime(path, (at, at))


def test_a_new_run_is_named_after_its_clips_and_all_verbs_find_it(folder: Path) -> None:
    said = call("plan", *corpus(*QUICK), cwd=folder)
    assert "run clips: 2 clips" in said.stdout
    seen = call("status", cwd=folder)
    assert seen.stderr == 'run "clips", the only one in runs\n'
    assert seen.stdout.startswith("run        clips, ")
    ended = call("run", *QUICK, cwd=folder)
    assert f'no clips given: resuming the run "clips" of {folder}/clips' in ended.stdout
    assert table(folder / "runs/full_features_clips.parquet").num_rows == 2
    shown = call("info", cwd=folder).stdout
    assert "runs/full_features_clips.parquet" in shown
    both = call("info", "runs/full_features_clips.parquet", "--run", "clips", cwd=folder, status=2)
    assert "both a table and --run are given" in both.stderr


def test_clips_of_another_folder_of_that_name_are_other_inputs(folder: Path) -> None:
    call("plan", *corpus(*QUICK), cwd=folder)
    shutil.copytree(folder / "clips", folder / "elsewhere/clips")
    for path in (folder / "elsewhere/clips").iterdir():
        path.write_bytes(path.read_bytes() + b"another corpus")
    words = ["--clips", "elsewhere/clips", "--scores", "scores.csv", *QUICK]
    refused = call("run", *words, cwd=folder, status=2).stderr
    assert 'the run "clips" is already planned, and the clips are others' in refused
    assert "for a run of its own: another name (--run)" in refused
    assert "run r: 2 clips" in call("plan", *words, "--run", "r", cwd=folder).stdout


def test_a_file_of_the_configuration_without_a_name_does_the_same(folder: Path) -> None:
    (folder / "vmafarm.toml").write_text(
        '[run]\nname = ""\n[corpus]\nclips = "clips"\nscores = "scores.csv"\n[engine]\nplan = "identity"\n'
    )
    assert "run clips: 2 clips" in call("plan", cwd=folder).stdout
    call("plan", "--run", "newer", cwd=folder)
    age(folder, "clips", 60)
    seen = call("status", cwd=folder)
    assert seen.stdout.startswith("run        clips, ")
    assert seen.stderr == 'run "clips" in runs, named after its clips\n'


def test_a_run_goes_on_from_its_frozen_configuration_wherever_it_is_called(folder: Path) -> None:
    call("plan", *corpus("--run", "r", *QUICK, "--limit", "1"), cwd=folder)
    (folder / "there").mkdir()
    root = ("--set", f"run.root={folder / 'runs'}")
    said = call("run", "--run", "r", *OTHERS, *root, cwd=folder / "there").stdout
    assert f'no clips given: resuming the run "r" of {folder}/clips' in said
    assert "run r: 2 clips" in said
    assert read_frozen_config(RunFolder(folder / "runs", "r"))["engine.plan"] == "identity"
    assert table(folder / "runs/full_features_r.parquet").num_rows == 2
    assert list((folder / "there").iterdir()) == []
    other = ("--set", "engine.kind=vmaf")
    refused = call("run", "--run", "r", *OTHERS, *root, *other, cwd=folder / "there", status=2)
    assert "engine.kind: the rows are of 'ffmpeg', now 'vmaf'" in refused.stderr
    again = call("run", "--run", "r", *OTHERS, *root, cwd=folder / "there")
    assert "nothing to do: the table is there and up to date" in again.stdout


def test_of_runs_that_are_not_finished_the_newest_goes_on_and_all_are_named(folder: Path) -> None:
    for name in ("one", "two", "done"):
        call("plan", *corpus("--run", name, *QUICK), cwd=folder)
    call("run", "--run", "done", *OTHERS, cwd=folder)
    age(folder, "one", 60)
    age(folder, "two", 30)
    said = call("run", *OTHERS, cwd=folder).stdout
    assert "runs in runs that are not finished: two, one; going on with the newest" in said
    assert table(folder / "runs/full_features_two.parquet").num_rows == 2
    said = call("run", *OTHERS, cwd=folder).stdout
    assert f'no clips given: resuming the run "one" of {folder}/clips' in said
    said = call("run", *OTHERS, cwd=folder).stdout
    assert said.startswith("all 3 runs in runs are finished (vmafarm runs)\nnothing to do: the table is ")
    assert "full_features_one.parquet\nto see whether its clips or scores have changed since: " in said
    assert "vmafarm run --run one\na new run: --clips DIR" in said
    assert not (folder / "demo-corpus").exists()
    shutil.rmtree(folder / "clips")
    assert "nothing to do" in call("run", *OTHERS, cwd=folder).stdout, "whether or not the clips are there"
    (folder / "runs/full_features_one.card.md").unlink()
    assert "clips" in call("run", *OTHERS, cwd=folder, status=2).stderr, "its table is not up to date"


def test_a_run_that_was_submitted_goes_on_here_only_by_its_name(folder: Path) -> None:
    call("plan", *corpus("--run", "far", *QUICK), cwd=folder)
    (folder / "runs/far/submissions").mkdir()
    refused = call("run", *OTHERS, cwd=folder, status=2).stderr
    assert "no run in runs was begun on this machine and is not finished; submitted to SLURM: far" in refused
    assert "vmafarm run --run far" in refused
    call("plan", *corpus("--run", "near", *QUICK), cwd=folder)
    age(folder, "near", 60)
    assert 'resuming the run "near"' in call("run", *OTHERS, cwd=folder).stdout
    assert 'resuming the run "far"' in call("run", "--run", "far", *OTHERS, cwd=folder).stdout


def test_a_run_that_cannot_be_read_is_not_gone_on_with(folder: Path) -> None:
    call("plan", *corpus("--run", "cut", *QUICK), cwd=folder)
    (folder / "runs/cut/manifest.parquet").write_bytes(b"PAR1")
    refused = call("run", cwd=folder, status=2).stderr
    assert 'the run "cut" in runs cannot be read: runs/cut/manifest.parquet: not a manifest' in refused
    assert not (folder / "demo-corpus").exists()


def test_an_estimate_without_clips_is_of_the_newest_run(folder: Path) -> None:
    call("plan", *corpus("--run", "one", *QUICK), cwd=folder)
    call("plan", *corpus("--run", "two", *QUICK), cwd=folder)
    age(folder, "one", 60)
    said = call("estimate", "--sample", "1", *OTHERS, cwd=folder).stdout
    assert 'run "two", the newest of 2 in runs; --run NAME takes another one' in said
    assert "measured" in said
    assert not (folder / "demo-corpus").exists()


@pytest.mark.parametrize("verb", [["tidy"], ["cancel"], ["retry", "--dry-run"], ["submit", "--dry-run"]])
def test_of_several_runs_none_is_cancelled_queued_or_tidied_unasked(folder: Path, verb: list[str]) -> None:
    call("plan", *corpus("--run", "one", *QUICK), cwd=folder)
    alone = call(*verb, cwd=folder, status=None)
    assert alone.stderr.startswith('run "one", the only one in runs\n')
    call("plan", *corpus("--run", "two", *QUICK), cwd=folder)
    age(folder, "one", 60)
    refused = call(*verb, cwd=folder, status=2)
    assert refused.stdout == ""
    assert refused.stderr == (
        "error: there are 2 runs in runs, and none is named: two, one\n  name one: --run two\n"
    )
    for other in ("status", "runs", "merge"):
        named = call(other, cwd=folder, status=None).stderr
        assert "none is named" not in named


def test_the_folder_of_runs_is_looked_at_where_the_configuration_says(folder: Path) -> None:
    call("plan", *corpus("--run", "r", *QUICK), cwd=folder)
    refused = call("status", "--set", "run.root=nowhere", cwd=folder, status=2).stderr
    assert refused == (
        "error: there is no run in nowhere\n"
        "  plan one: vmafarm run --clips DIR --scores FILE; or name the folder of runs: --set run.root=DIR\n"
    )
    assert not (folder / "nowhere").exists()


def test_only_scores_are_no_corpus(tmp_path: Path) -> None:
    for verb in ("run", "plan", "estimate", "submit"):
        refused = call(verb, "--scores", "scores.csv", cwd=tmp_path, status=2).stderr
        assert refused.startswith("error: corpus.clips is not set, expected the folder of the clips\n")
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_others_may_change_is_not_started_because_a_plan_names_it(folder: Path) -> None:
    (folder / "bin").mkdir()
    (folder / "bin").chmod(0o777)
    program = ("--set", f"engine.vmaf={folder / 'bin/vmaf'}", "--set", "engine.kind=ffmpeg")
    call("plan", *corpus("--run", "r", *program), cwd=folder)
    for verb in ("run", "estimate", "submit"):
        refused = call(verb, "--run", "r", *OTHERS, cwd=folder, status=2).stderr
        assert f"engine.vmaf = {folder}/bin/vmaf, and everybody could change {folder}/bin" in refused
    assert not (folder / "runs/r/logs").exists()
