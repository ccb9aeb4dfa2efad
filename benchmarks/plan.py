"""How long planning takes and how much memory, from the scan to the written manifest."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, Figure, own_peak
from vmafarm.config.load import load
from vmafarm.corpus.clips import list_clips
from vmafarm.corpus.join import join
from vmafarm.corpus.plan import plan
from vmafarm.corpus.scores import scores_in
from vmafarm.corpus.slices import balance
from vmafarm.labels.columns import Asked
from vmafarm.labels.table import read_label_table
from vmafarm.run_folder.manifest import load_manifest, write_manifest
from vmafarm.run_folder.paths import RunFolder
from vmafarm.run_folder.planned_clips import Manifest, manifest_digest

_CORPORA = {152_265: "", 1_000_000: "< 20"}
"""Clips, and the target in seconds; the first is KoNViD-150k-A."""
_IN_A_FOLDER = 5_000
_IN_A_SLICE = 100


def measure(folder: Path) -> list[Figure]:
    """Plan a tree of sparse files; each in a process of its own, so that the peak is that of the plan."""
    figures = []
    for clips, target in _CORPORA.items():
        corpus = folder / str(clips)
        make_corpus(corpus, clips)
        steps, whole = (_in_a_process(kind, corpus, clips // _IN_A_SLICE) for kind in ("steps", "whole"))
        spent = {name: [seconds] for name, seconds in steps.items()}
        parts = ", ".join(f"{name} {seconds[0]:.1f}" for name, seconds in spent.items())
        what = f"{clips:,} clips"
        figures += [
            Figure("plan", what, whole["plan"], "s", target, spent, f"sparse files; seconds: {parts}"),
            Figure("plan", f"{what}, planned already", whole["plan again"], "s"),
            Figure("plan", f"{what}, peak", whole["peak"], "MB", note="resident memory of the process"),
        ]
    return figures


def make_corpus(folder: Path, clips: int) -> None:
    """Write `clips` sparse files (log-normal sizes around 1.2 MB), 5,000 to a folder, and their scores."""
    draw = random.Random(1)
    (folder / "clips").mkdir(parents=True)
    with (folder / "scores.csv").open("w") as scores:
        scores.write("video_name,video_score\n")
        for first in range(0, clips, _IN_A_FOLDER):
            part = folder / "clips" / f"{first // _IN_A_FOLDER // 100:02d}" / f"{first // _IN_A_FOLDER:04d}"
            part.mkdir(parents=True)
            for number in range(first, min(first + _IN_A_FOLDER, clips)):
                name = f"orig_{number:08d}_540_5s.mp4"
                descriptor = os.open(part / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                os.truncate(descriptor, int(draw.lognormvariate(14, 0.6)))
                os.close(descriptor)
                scores.write(f"{name},{draw.uniform(1, 5):.4f}\n")


def _in_a_process(kind: str, folder: Path, slices: int) -> dict[str, float]:
    """Seconds by name, and the peak in MB."""
    command = [sys.executable, "-m", "benchmarks.plan", kind, str(folder), str(slices)]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(ended.stdout))


def _steps(folder: Path, slices: int) -> dict[str, float]:
    spent: dict[str, float] = {}

    def timed(label: str, step: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = step()
        spent[label] = time.perf_counter() - start
        return result

    path = folder / "scores.csv"
    scores = timed("scores", lambda: scores_in(path, read_label_table(path), Asked())[0])
    clips = timed("scan", lambda: list_clips(folder / "clips"))
    joined = timed("join", lambda: join(clips, scores))
    digest = timed("digest", lambda: manifest_digest(joined.names, joined.mos, joined.bytes))
    cut = timed("balance", lambda: balance(joined.bytes, slices))
    run = RunFolder(folder, "steps")
    run.path.mkdir()
    manifest = Manifest(joined.names, joined.mos, joined.bytes, cut, digest)
    timed("write", lambda: write_manifest(run, manifest))
    timed("load", lambda: load_manifest(run))
    return spent


def _whole(folder: Path, slices: int) -> dict[str, float]:
    config, _ = load(
        run__root=str(folder / "runs"),
        run__name="whole",
        corpus__clips=str(folder / "clips"),
        corpus__scores=str(folder / "scores.csv"),
        slices__count=slices,
    )
    spent = {}
    for label in ("plan", "plan again"):
        start = time.perf_counter()
        plan(config)
        spent[label] = time.perf_counter() - start
        spent.setdefault("peak", own_peak())
    return spent


if __name__ == "__main__":
    _kind, _folder, _slices = sys.argv[1:]
    _found = (_steps if _kind == "steps" else _whole)(Path(_folder), int(_slices))
    print(json.dumps(_found))
