"""What an element reads before its first clip, in a small corpus and in a large one."""

from __future__ import annotations

import statistics
import sys
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT, Figure, run_measured, say, side_by_side
from vmafarm.config.load import load
from vmafarm.config.toml import to_toml
from vmafarm.corpus.frozen_config import DIGEST, config_to_freeze
from vmafarm.disk.durable import replace_text
from vmafarm.run_folder.manifest import write_manifest
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest

REPETITIONS = 5
CLIPS = (152_300, 10_000_000)
PER_SLICE = 100

_IMPORTS = "import vmafarm.scoring.element"
_TODO = """
import sys
import vmafarm.scoring.element
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.run_folder.manifest import load_slices
from vmafarm.scoring.todo import find_todo
config = with_frozen(load(None, sys.argv[1:])[0])
manifest = load_slices(config.folder, (7,))
assert len(find_todo(config.folder, config, manifest, (7,))) == 100
"""


def measure(folder: Path) -> list[Figure]:
    """Beside the imports alone, each in a process of its own."""
    candidates = {"imports": [sys.executable, "-c", _IMPORTS]}
    for clips in CLIPS:
        settings = _plan(folder / str(clips), clips)
        candidates[f"{clips:,} clips"] = [sys.executable, "-c", _TODO, *settings]
        say(f"  made a plan of {clips:,} clips")
    environment = {"PYTHONPATH": str(ROOT / "jobs")}
    found = side_by_side(
        {name: partial(run_measured, words, environment=environment) for name, words in candidates.items()},
        REPETITIONS,
    )
    figures = []
    for name in list(candidates)[1:]:
        pairs = zip(found[name], found["imports"], strict=True)
        seconds = statistics.median(one.cpu - imports.cpu for one, imports in pairs)
        note = f"CPU without that of imports; {REPETITIONS} repetitions in turns"
        figures += [
            Figure("element", f"clips of one slice of {name}", seconds, "s", "<= 0.3", note=note),
            Figure(
                "element", f"the same, peak, {name}", max(one.peak for one in found[name]), "MB", "<= 200"
            ),
        ]
    return figures


def _plan(folder: Path, clips: int) -> list[str]:
    """Write the plan of a run, as planning would; returns its settings."""
    settings = [
        f"run.root={folder / 'runs'}", "run.name=synthetic", f"corpus.clips={folder / 'clips'}",
        f"corpus.scores={folder / 'scores.csv'}", "engine.plan=identity", "engine.kind=ffmpeg",
    ]  # fmt: skip
    config, _ = load(None, settings)
    config.folder.path.mkdir(parents=True)
    draw = np.random.default_rng(1)
    names = [f"{number // 5000:05d}/orig_{number:08d}_540_5s.mp4" for number in range(clips)]
    mos, sizes = draw.uniform(1, 5, clips), draw.lognormal(14, 0.6, clips).astype(np.int64)
    cut = draw.permutation(np.arange(clips) % (clips // PER_SLICE)).astype(np.int32)
    digest = manifest_digest(names, mos, sizes)
    replace_text(config.folder.config, to_toml(config_to_freeze(config) | {DIGEST: digest}))
    write_manifest(config.folder, Manifest(names, mos, sizes, cut, digest))
    return settings
