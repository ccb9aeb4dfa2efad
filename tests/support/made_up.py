"""A made-up run of any size whose table is plausible, for pages and pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.merge_helpers import Run, make_row, plan_run

from vmafarm.run_folder.manifest import load_manifest

NEAR_ONE = ["adm2", *(f"adm_scale{i}" for i in range(4)), *(f"vif_scale{i}" for i in range(4))]
NASTY = [
    "<script>alert(1)</script>.mp4",
    '"><img src=x onerror=alert(2)>.mp4',
    "{{ 7*7 }}{% raw %}.mp4",
    "two\nlines \u202e gpj.mp4",
    "'); DROP TABLE features; --.mp4",
    "&amp; é 😀.mp4",
]
"""Names that would be something else in HTML, in templates, in SQL or on a terminal."""


def make_up(folder: Path, clips: int, slices: int = 4) -> Run:
    """Plan a run and fill it: all clips but one, which has failed for good, with nasty names at the ends.

    Parameters
    ----------
    folder
        Empty; the run is ``demo`` in ``runs``.
    clips
        How many, at least 12.
    slices
        Each is one writer on a host of its own.
    """
    chance = np.random.default_rng(1)
    names = [f"orig_{i:08}_540_5s.mp4" for i in range(clips - len(NASTY))] + NASTY
    mos = dict(zip(names, np.clip(chance.normal(3.2, 0.6, clips), 1, 5).tolist(), strict=True))
    run = plan_run(folder / "runs", mos, slices, scratch=folder)
    manifest = load_manifest(run.folder)
    for number in range(slices):
        mine = [name for name, cut in zip(manifest.names, manifest.slices, strict=True) if cut == number]
        run.shard([_row(name, mos[name], chance) for name in mine if name != names[0]], number)
        seconds = {name: float(chance.uniform(2, 4)) for name in mine if name != names[0]}
        run.log_clips(seconds, number, host=f"node{number}")
    for host in ("node0", "node1"):
        run.fail(names[0], host=host)
    return run


def _row(name: str, mos: float, chance: np.random.Generator) -> dict:
    """Of the worst clips the features are the furthest off."""
    strange = 5.0 if name in NASTY else 1.0
    near = {f"{feature}_mean": float(1 + chance.normal(0, 5e-6)) for feature in NEAR_ONE}
    motion = float(abs(chance.normal(6, 4))) * strange
    return make_row(
        name, mos=mos, **near, motion_mean=motion + 0.5, motion2_mean=motion, motion3_mean=0.98 * motion,
        cambi_mean=float(min(24, abs(chance.normal(3 - mos / 2, 1)) * strange)),
        vmaf_mean=float(min(100, 97.4 + mos / 2.5 + chance.normal(0, 0.3))),
    )  # fmt: skip
