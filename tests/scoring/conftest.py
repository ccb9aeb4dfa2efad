"""Runs for elements to work on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import write_scores

from vmafarm.config.load import load
from vmafarm.config.sections import Config
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.plan import plan


@pytest.fixture
def prepare(tmp_path: Path, clips: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Plan a run of copies of one clip, and of others by name; returns its configuration."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch").mkdir()

    def make(*settings: str, count: int = 4, others: tuple[str, ...] = (), clip: str = "plain.mp4") -> Config:
        folder = tmp_path / "clips"
        folder.mkdir()
        names = [f"c{i}.mp4" for i in range(count)]
        for name in names:
            shutil.copy(clips(clip), folder / name)
        for name in others:
            shutil.copy(clips(name), folder / name)
        write_scores(tmp_path / "scores.csv", [*names, *others])
        given = ["engine.plan=identity", "engine.audit_every=0", "engine.kind=ffmpeg"]
        given += ["run.name=r", "corpus.clips=clips"]
        given += ["corpus.scores=scores.csv", f"extract.scratch={tmp_path / 'scratch'}", *settings]
        config, _ = load(None, given)
        plan(config)
        return with_frozen(config)

    return make
