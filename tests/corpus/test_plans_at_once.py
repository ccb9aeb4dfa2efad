"""Two plans of one run at once, plans that are killed, and those of earlier versions."""

from __future__ import annotations

import errno
import os
import shutil
import tomllib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from support.plans import config_of, files, plan_as_before

import vmafarm.corpus.plan
from vmafarm.common.errors import UsageError
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import read_frozen_config, with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.disk import durable
from vmafarm.disk.syscalls import System
from vmafarm.run_folder.manifest import load_manifest
from vmafarm.run_folder.paths import RunFolder


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it reaches the disk."""


class Watched(System):
    """Calls `at_call` before the call of the system with this number, or is dead from that one on."""

    def __init__(self, number: int, at_call: Callable[[], None] | None, links: bool = True) -> None:
        self.calls = 0
        self._number = number
        self._at_call = at_call
        self._links = links

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        return partial(self._call, method) if name in vars(System) else method

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        self.calls += 1
        if self._at_call is None and self.calls >= self._number:
            raise Killed
        if self._at_call is not None and self.calls == self._number:
            self._at_call()
        if method.__name__ == "link" and not self._links:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return method(*arguments)


def check_whole(folder: RunFolder, plan_name: str) -> None:
    """The run folder has whole plans, and the configuration is that of the newest."""
    every = [path.name for path in folder.manifests()]
    assert sorted(files(folder)) == sorted(["config.toml", *every])
    frozen = read_frozen_config(folder)
    assert frozen["engine.plan"] == plan_name
    assert frozen["plan.manifest"] == load_manifest(folder).digest
    document = tomllib.loads(folder.config.read_text())
    assert {f"{s}.{k}": value for s, table in document.items() for k, value in table.items()} == frozen


@pytest.mark.parametrize("links", [True, False])
def test_of_two_concurrent_plans_the_first_stays_and_the_other_is_refused(corpus, monkeypatch, links):
    """One plan is held up before each call of the system, and another one, with other inputs, finishes."""
    others = corpus / "others"
    others.mkdir()
    (others / "c1.mp4").write_bytes(bytes(11))
    number, lost = 0, []
    while True:
        number += 1
        config = config_of(corpus, f"run.name=r{number}")
        clips = config.corpus.model_copy(update={"clips": str(others)})
        other = config.model_copy(update={"corpus": clips})
        refused: list[UsageError] = []

        def overtake(other=other, refused=refused):
            monkeypatch.setattr(durable, "system", Watched(0, pytest.fail, links))
            try:
                assert plan(other).new
            except UsageError as error:
                refused.append(error)

        system = Watched(number, overtake, links)
        monkeypatch.setattr(durable, "system", system)
        try:
            assert plan(config).new
        except UsageError as error:
            refused.append(error)
            lost.append(number)
        if system.calls < number:  # it had fewer calls
            break
        [told] = refused
        assert "is already planned, and" in told.message
        assert ("5 clips added" if number in lost else "5 clips gone") in told.message
        assert len(load_manifest(config.folder).names) == (1 if number in lost else 6)
        check_whole(config.folder, "full")
    assert lost == list(range(1, len(lost) + 1))  # up to one call, which decides
    assert 0 < len(lost) < number - 1


def test_a_plan_that_another_one_of_the_same_inputs_overtakes_finds_it(corpus, monkeypatch):
    def overtake():
        monkeypatch.setattr(durable, "system", System())
        assert plan(config_of(corpus, "slices.count=2")).new

    monkeypatch.setattr(durable, "system", Watched(1, overtake))
    late = plan(config_of(corpus, "slices.count=3"))
    assert not late.new
    assert "the cut into 2 slices is kept, not changed to 3: rows lie in these slices" in late.lines()
    check_whole(late.folder, "full")


def test_a_plan_killed_at_any_call_is_there_whole_or_not_at_all(corpus, monkeypatch):
    """After each kill another plan, with other inputs, finds either the whole first one or none."""
    number, stood = 0, []
    while True:
        number += 1
        config = config_of(corpus, f"run.name=r{number}")
        system = Watched(number, None)
        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(durable, "system", system)
            plan(config)
        if system.calls < number:
            break
        stood.append(config.folder.manifest.exists())
        other = config_of(corpus, f"run.name=r{number}", "engine.plan=identity")
        if stood[-1]:
            assert not plan(config).new
            assert plan(other).changes.moved == ("engine.plan: 'full' -> 'identity'",)
        else:
            assert plan(other).new
        for draft in config.folder.path.glob(".*.tmp"):
            draft.unlink()
        check_whole(config.folder, "identity")
    assert stood == sorted(stood)
    assert set(stood) == {False, True}


def test_a_configuration_that_an_unfinished_plan_left_behind_does_not_count(corpus):
    folder = plan(config_of(corpus, "run.name=left", "engine.plan=identity")).folder
    stale = folder.config.read_bytes()
    folder = plan(config_of(corpus)).folder
    folder.config.write_bytes(stale)
    assert with_frozen(config_of(corpus)).engine.plan == "full"
    assert not plan(config_of(corpus)).new
    check_whole(folder, "full")


def test_a_dry_run_restores_nothing(corpus):
    folder = plan(config_of(corpus)).folder
    folder.config.unlink()
    assert not plan(config_of(corpus), dry_run=True).new
    assert not folder.config.exists()


def test_a_run_that_an_earlier_version_planned_goes_on(corpus):
    made = plan_as_before(config_of(corpus, "engine.plan=identity"))
    before = files(made.folder)
    assert not plan(config_of(corpus, "engine.plan=identity")).new
    assert with_frozen(config_of(corpus)).engine.plan == "identity"
    assert files(made.folder) == before
    assert plan(config_of(corpus, "engine.plan=full")).manifest.generation == 2
    assert with_frozen(config_of(corpus)).engine.plan == "full"
    assert made.folder.generation(1).read_bytes() == before["manifest.parquet"]


def test_frozen_keys_of_a_planned_run_win_over_the_configuration(corpus):
    plan(config_of(corpus, "engine.plan=identity"))
    config = with_frozen(
        load(None, ["engine.threads=5", "run.name=k150k"], run__root=str(corpus / "runs"))[0]
    )
    assert config.engine.plan == "identity"
    assert config.engine.threads == 5
    assert config.corpus.clips == str(corpus / "clips")
    with pytest.raises(UsageError, match="is not planned"):
        with_frozen(config_of(corpus, "run.name=other"))


def test_a_plan_that_began_before_another_one_does_not_undo_it(corpus, monkeypatch):
    """It has read from where the clips were; the other one has said where they are now."""
    folder = plan(config_of(corpus)).folder
    shutil.copytree(corpus / "clips", corpus / "elsewhere")
    read = vmafarm.corpus.plan.choose_preset

    def late(*given):
        monkeypatch.setattr("vmafarm.corpus.plan.choose_preset", read)
        plan(
            load(run__root=str(folder.root), run__name=folder.name, corpus__clips=str(corpus / "elsewhere"))[
                0
            ]
        )
        return read(*given)

    monkeypatch.setattr("vmafarm.corpus.plan.choose_preset", late)
    unnamed, _ = load(run__root=str(folder.root), run__name=folder.name)
    with pytest.raises(UsageError, match="has just been planned by another process"):
        plan(unnamed)
    assert with_frozen(unnamed).corpus.clips == str(corpus / "elsewhere")
