"""A run of which a tenth of the slices is missing: what retry and the merge take as the corpus grows."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT, Figure, Usage, run_measured, say
from benchmarks.synthetic import make_run
from vmafarm.run_folder.paths import RunFolder

SIZES = ((1_000_000, 10_000), (3_000_000, 30_000), (10_000_000, 100_000))
"""Clips and slices."""
_EVERY = 10
"""Of so many slices one has no row."""

_RETRY = """
import sys
from vmafarm.cluster.slurm import Slurm
from vmafarm.cluster.submit import preview
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.run_folder.manifest import load_manifest
config = with_frozen(load(None, sys.argv[2:])[0])
found = preview(config, Slurm(), load_manifest(config.folder), again=True, say=lambda line: None)
assert found.rounds and found.submission.done == int(sys.argv[1])
"""
_MERGE = """
import sys
from vmafarm.common.errors import IncompleteError
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.merging.merge import merge
config = with_frozen(load(None, sys.argv[2:])[0])
try:
    merge(config.folder, config)
except IncompleteError as error:
    assert "[missing]" in str(error)
else:
    raise AssertionError("published, although clips are missing")
"""


def measure(folder: Path) -> list[Figure]:
    """Each in a process of its own, once; `vmafarm submit` looks at the same as a retry."""
    taken: dict[str, dict[int, Usage]] = {"retry": {}, "merge": {}}
    for clips, slices in SIZES:
        place = folder / str(clips)
        settings = make_run(place, clips, slices)
        run = RunFolder(place / "runs", "synthetic")
        gone = range(0, slices, _EVERY)
        for number in gone:
            shutil.rmtree(run.shard_folder(number))
            run.clip_log(number, f"job-{number}").unlink()
        say(f"  made {clips:,} clips in {slices:,} slices")
        done = clips - len(gone) * (clips // slices)
        for name, script in (("retry", _RETRY), ("merge", _MERGE)):
            taken[name][clips] = run_measured(
                [sys.executable, "-c", script, str(done), *settings],
                environment={"PYTHONPATH": str(ROOT / "jobs")},
            )
        shutil.rmtree(place)
    return [figure for name, usages in taken.items() for figure in _figures(name, usages)]


def _figures(name: str, usages: dict[int, Usage]) -> list[Figure]:
    counts = np.array(list(usages), float)
    walls = np.array([usage.wall for usage in usages.values()])
    exponent = float(np.polyfit(np.log(counts), np.log(walls), 1)[0])
    clips, slices = SIZES[-1]
    what = f"{name}, {clips:,} clips in {slices:,} slices, a tenth missing"
    samples = {f"{count:,} clips": [usage.wall, usage.peak] for count, usage in usages.items()}
    return [
        Figure("gaps", what, usages[clips].wall, "s"),
        Figure("gaps", f"the same, peak ({name})", usages[clips].peak, "MB", "<= 4000"),
        Figure("gaps", f"{name}, exponent k of time ~ clips^k", exponent, "", "<= 1.1", samples),
    ]
