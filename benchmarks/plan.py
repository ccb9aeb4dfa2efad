"""How long planning takes and how much memory: python benchmarks/plan.py [CLIPS [SLICES]].

Makes a tree of sparse files of varied sizes in a temporary folder, 5,000 to a folder, with their
scores, and plans it in a process of its own, so that the peak memory is that of the plan alone.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.config import load
from jobs.corpus import list_clips
from jobs.join import join
from jobs.manifest import Manifest, load_manifest, manifest_digest, write_manifest
from jobs.plan import plan
from jobs.run_folder import RunFolder
from jobs.scores import read_scores
from jobs.slices import balance

_IN_A_FOLDER = 5_000


def make_corpus(folder: Path, clips: int) -> None:
    """Write `clips` sparse files (log-normal sizes around 1.2 MB) and their scores."""
    draw = random.Random(1)
    (folder / "clips").mkdir()
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


def measure_steps(folder: Path, slices: int) -> None:
    """Time each step, then print the peak memory."""
    total = time.perf_counter()

    def timed(label: str, step: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = step()
        _print(label, start)
        return result

    scores = timed("read scores", lambda: read_scores(folder / "scores.csv", **_SCORE_OPTIONS))
    clips = timed("scan", lambda: list_clips(folder / "clips"))
    joined = timed("join", lambda: join(clips, scores))
    digest = timed("digest", lambda: manifest_digest(joined.names, joined.mos, joined.bytes))
    cut = timed("balance", lambda: balance(joined.bytes, slices))
    run = RunFolder(folder, "steps")
    run.path.mkdir()
    manifest = Manifest(joined.names, joined.mos, joined.bytes, cut, digest)
    timed("write", lambda: write_manifest(run, manifest))
    timed("load", lambda: load_manifest(run))
    _print("all steps", total)


def measure_plan(folder: Path, slices: int) -> None:
    """Time the plan as a whole, and planning again."""
    config, _ = load(
        run__root=str(folder / "runs"),
        corpus__clips=str(folder / "clips"),
        corpus__scores=str(folder / "scores.csv"),
        slices__count=slices,
    )
    for label in ("plan", "plan again"):
        start = time.perf_counter()
        result = plan(config)
        _print(label, start)
    print(result.lines()[-2])


_SCORE_OPTIONS: dict[str, Any] = {"name_column": "", "mos_column": "", "mos_min": 1.0, "mos_max": 5.0}


def _print(label: str, start: float) -> None:
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{label:<14}{seconds:8.2f} s   peak {peak:7.0f} MiB", flush=True)


def main() -> None:
    """Make the corpus, measure, clean up."""
    clips = int(sys.argv[1]) if len(sys.argv) > 1 else 152_265
    slices = int(sys.argv[2]) if len(sys.argv) > 2 else max(1, clips // 100)
    with tempfile.TemporaryDirectory(prefix="vmafarm-plan-") as name:
        start = time.perf_counter()
        make_corpus(Path(name), clips)
        print(f"{clips:,} clips, {slices:,} slices, made in {time.perf_counter() - start:.0f} s", flush=True)
        for step in (measure_steps, measure_plan):
            process = multiprocessing.get_context("spawn").Process(target=step, args=(Path(name), slices))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(process.exitcode)


if __name__ == "__main__":
    main()
