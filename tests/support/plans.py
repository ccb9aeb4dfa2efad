"""A small corpus to plan, and what a plan leaves on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmafarm.common.errors import UsageError
from vmafarm.config.load import load
from vmafarm.config.sections import Config
from vmafarm.corpus.plan import plan
from vmafarm.corpus.plan_result import Plan
from vmafarm.run_folder.manifest import write_manifest
from vmafarm.run_folder.paths import RunFolder


def write_scores(folder: Path, scores: dict[str, float]) -> None:
    rows = "".join(f"{name},{mos}\n" for name, mos in scores.items())
    (folder / "scores.csv").write_text("video_name,video_score\n" + rows)


def config_of(corpus: Path, *overrides: str) -> Config:
    config, _ = load(
        None,
        ("run.name=k150k", *overrides),
        run__root=str(corpus / "runs"),
        corpus__clips=str(corpus / "clips"),
        corpus__scores=str(corpus / "scores.csv"),
    )
    return config


def refusal(config: Config, **options: object) -> UsageError:
    before = files(config.folder)
    with pytest.raises(UsageError) as caught:
        plan(config, **options)
    assert files(config.folder) == before
    return caught.value


def plan_as_before(config: Config, **options: Any) -> Plan:
    """As earlier versions did: the frozen configuration stands in config.toml alone."""
    made = plan(config, **options)
    made.folder.manifest.unlink()
    write_manifest(made.folder, made.manifest)
    return made


def files(folder: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.path.glob("*")}
