"""What each feature set takes beside the identity plan of the default one."""

from __future__ import annotations

import shutil
import statistics
from functools import partial
from pathlib import Path

from benchmarks.footage import make_corpus, plan_run, run_element
from benchmarks.measure import Figure, Usage, ratio, side_by_side
from vmafarm.config.feature_sets import built_in_names

CLIPS = 4
FRAMES = 120
REPETITIONS = 3

_NO_MODEL = """\
version = 1
pools = ["mean", "std"]
gpu_tolerance = 5e-5

[extractors]
motion = {}
cambi = {}

[features.motion]
extractor = "motion"
keys = ["motion", "integer_motion", "VMAF_integer_feature_motion_sad_score"]
what = "change of the blurred luma from the previous frame"
on_identity = "measured"

[features.cambi]
extractor = "cambi"
keys = ["cambi"]
what = "banding"
on_identity = "measured"
"""
_BASE = "full, plan identity"


def measure(folder: Path) -> list[Figure]:
    """CPU seconds of an element, start-up included, of each set but ``full`` with the plan ``full``."""
    make_corpus(folder, CLIPS, FRAMES)
    without = folder / "no_model.toml"
    without.write_text(_NO_MODEL)
    sets = {_BASE: "full"} | {name: name for name in built_in_names() if name != "full"}
    sets["motion and cambi, no model"] = str(without)

    def run(title: str) -> Usage:
        settings = plan_run(
            folder, "r",
            ["engine.kind=ffmpeg", "engine.plan=identity", "engine.audit_every=0", "extract.workers=1",
             f"engine.features={sets[title]}"],
        )  # fmt: skip
        usage = run_element(settings)
        shutil.rmtree(folder / "runs")
        return usage

    found = side_by_side({title: partial(run, title) for title in sets}, REPETITIONS, warm_up=False)
    cpu = {title: [usage.cpu for usage in usages] for title, usages in found.items()}
    note = f"{CLIPS} clips of 960x540, {FRAMES} frames, embedded engine, start-up included"
    figures = []
    for title, taken in cpu.items():
        name = f"CPU seconds per clip, {title}"
        figures.append(
            Figure("sets", name, statistics.median(taken) / CLIPS, "s", samples={title: taken}, note=note)
        )
        if title != _BASE:
            figures.append(Figure("sets", f"{title} / {_BASE}", ratio(taken, cpu[_BASE]), "x"))
    return figures
