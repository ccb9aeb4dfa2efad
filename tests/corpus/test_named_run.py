"""Which run is meant: its name, that of its clips, or the only or newest one."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.errors_document import documented
from support.merge_helpers import plan_run

from vmafarm.common.errors import UsageError
from vmafarm.config.load import load
from vmafarm.config.sections import Config
from vmafarm.corpus.named_run import name_after, require_known, with_new_name, with_planned

NAMES = {
    "/data/k150ka": "k150ka",
    "k150ka/": "k150ka",
    "clips/../k150ka": "k150ka",
    "/data/k150ka.sqsh": "k150ka",
    "/data/k150ka.SquashFS": "k150ka",
    "/data/v1.2": "v1.2",
    "/data/my clips (2024)": "my-clips-2024",
    "/data/Vidéos": "Videos",
    "/data/.hidden": "hidden",
    "/data/-dash-": "dash",
    "/data/视频": "run",
    "/data/视频 3": "3",
    "/": "run",
    "/data/\udcff\x1b[31m\n": "31m",
    f"/data/{'x' * 90}": "x" * 64,
    f"/data/{'x' * 60}----y": "x" * 60,
}  # fmt: skip


@pytest.mark.parametrize(("clips", "name"), NAMES.items())
def test_a_run_is_named_after_the_folder_of_its_clips(clips: str, name: str) -> None:
    assert name_after(clips) == name


def test_clips_in_the_working_folder_have_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert name_after(".") == "here"


@given(st.text(st.characters(exclude_characters="\0")))
def test_any_folder_gives_a_name_that_a_run_may_have(clips: str) -> None:
    config, _ = load(None, (), run__name=name_after(clips))
    assert config.folder.name


def config_of(root: Path, **keys: str) -> Config:
    return load(None, (), run__root=str(root), **keys)[0]


def planned(root: Path, name: str, at: float) -> None:
    folder = plan_run(root, ["a.mp4"]).folder.path
    folder.rename(root / name)
    for path in (root / name).rglob("*"):
        os.utime(path, (at, at))


def test_a_name_that_is_given_is_kept(tmp_path: Path) -> None:
    config = config_of(tmp_path, run__name="r", corpus__clips="/data/k150ka")
    assert with_new_name(config).run.name == "r"
    assert with_new_name(config_of(tmp_path, corpus__clips="/data/k150ka")).run.name == "k150ka"
    with pytest.raises(UsageError, match=r"corpus\.clips is not set"):
        with_new_name(config_of(tmp_path, corpus__scores="s.csv"))


def test_without_a_name_there_are_no_paths(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run is named\nname one: --run NAME"):
        _ = config_of(tmp_path).folder


def test_the_only_run_is_taken_then_the_newest_and_it_is_said(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    said: list[str] = []
    with pytest.raises(UsageError, match=re.escape(f"there is no run in {root}\nplan one: vmafarm run")):
        with_planned(config_of(root), said.append)
    planned(root, "one", 1e9)
    for alone in (False, True):
        assert with_planned(config_of(root), said.append, alone=alone).run.name == "one"
    assert said == [f'run "one", the only one in {root}'] * 2
    planned(root, "two", 1e9 + 1)
    assert with_planned(config_of(root), said.append).run.name == "two"
    assert said[2:] == [f'run "two", the newest of 2 in {root}; --run NAME takes another one']
    assert with_planned(config_of(root, run__name="one"), said.append, alone=True).run.name == "one"
    assert len(said) == 3, "who names a run need not be told"


def test_of_several_runs_none_is_taken_for_what_cannot_be_undone(tmp_path: Path) -> None:
    planned(tmp_path, "one", 1e9)
    planned(tmp_path, "two", 1e9 + 1)
    documented("several runs, and `submit`, `retry`, `cancel` or `tidy` without a name")
    with pytest.raises(UsageError) as caught:
        with_planned(config_of(tmp_path), print, alone=True)
    assert str(caught.value) == (
        f"there are 2 runs in {tmp_path}, and none is named: two, one\nname one: --run two"
    )


def test_the_run_of_the_clips_in_the_configuration_goes_before_the_newest(tmp_path: Path) -> None:
    planned(tmp_path, "mine", 1e9)
    planned(tmp_path, "newer", 1e9 + 1)
    said: list[str] = []
    for alone in (False, True):
        config = config_of(tmp_path, corpus__clips="/data/mine")
        assert with_planned(config, said.append, alone=alone).run.name == "mine"
    assert said == [f'run "mine" in {tmp_path}, named after its clips'] * 2
    other = config_of(tmp_path, corpus__clips="/data/other")
    assert with_planned(other, said.append).run.name == "newer"


def test_an_unknown_name_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f'^there is no run "k150" in {tmp_path}\nto plan it: --clips DIR'):
        require_known(config_of(tmp_path, run__name="k150"))
    planned(tmp_path, "k150k", 1e9)
    planned(tmp_path, "demo", 1e9 + 1)
    with pytest.raises(UsageError) as caught:
        with_planned(config_of(tmp_path, run__name="k150"), print)
    assert caught.value.message == f'there is no run "k150" in {tmp_path} (there are: demo, k150k)'
    assert caught.value.hint.startswith("did you mean k150k?\nto plan it: ")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r'no run "file"'):
        require_known(config_of(tmp_path, run__name="file"))
