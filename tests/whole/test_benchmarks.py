"""The benchmarks import what there is: nobody runs them at every change."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.merging.merge import merge

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("__"))


@pytest.mark.filterwarnings("ignore:scipy:DeprecationWarning")  # of a package with video clips
@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_can_be_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    assert importlib.import_module(f"benchmarks.{name}").__doc__


def test_the_made_up_run_is_one_that_a_merge_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    settings = importlib.import_module("benchmarks.synthetic").make_run(tmp_path / "made", 30, 3)
    config = with_frozen(load(None, settings)[0])
    result = merge(config.folder, config)
    assert result.published
    assert result.counts["rows"] == 30
    assert {finding.name for finding in result.findings if finding.severity != "info"} == {"not_audited"}


def test_the_simulation_counts_rows_that_a_journal_can_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    assert importlib.import_module("benchmarks.simulate").unseen(tmp_path) == 0
