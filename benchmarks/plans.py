"""The identity plan against the full plan, and both against a plain sequential script."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.footage import make_corpus, plan_run, run_element
from benchmarks.measure import ROOT, Figure, Usage, ratio, run_measured, side_by_side
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.merging.merge import merge
from vmafarm.schema.features import COLUMNS, IDENTITY_TOLERANCE

CLIPS = 4
FRAMES = 150
REPETITIONS = 2
CORPUS_CLIPS = 152_265


def measure(folder: Path) -> list[Figure]:
    """Embedded engine, clips of 960x540, both plans; the columns of the two tables compared."""
    make_corpus(folder, CLIPS, FRAMES)
    tables: dict[str, Path] = {}
    workers = len(os.sched_getaffinity(0))
    runs = 0

    def run(plan: str) -> Usage:
        nonlocal runs
        runs += 1
        name = f"{plan}{runs}"
        settings = plan_run(
            folder, name,
            ["engine.kind=ffmpeg", f"engine.plan={plan}", "engine.audit_every=0",
             f"extract.workers={workers}"],
        )  # fmt: skip
        usage = run_element(settings)
        config = with_frozen(load(None, settings)[0])
        merge(config.folder, config)
        tables[plan] = config.folder.table
        shutil.rmtree(config.folder.path)
        return usage

    def script(plan: str) -> Usage:
        table = folder / "script.parquet"
        table.unlink(missing_ok=True)
        command: list[str | Path] = [sys.executable, "-m", "benchmarks.sequential", plan, folder / "clips"]
        return run_measured([*command, folder / "scores.csv", table], cwd=ROOT)

    found = side_by_side(
        {
            "full": lambda: run("full"), "identity": lambda: run("identity"),
            "script, full": lambda: script("full"), "script, identity": lambda: script("identity"),
        },
        REPETITIONS, warm_up=False,
    )  # fmt: skip
    samples = {plan: [usage.cpu for usage in found[plan]] for plan in ("full", "identity")}
    note = f"on the CPU, embedded engine: {CLIPS} clips of 960x540, {FRAMES} frames, start-up included"
    figures = [
        Figure(
            "plans", "CPU of the full plan / CPU of the identity plan",
            ratio(samples["full"], samples["identity"]), "x", ">= 18", samples, note,
        ),
        Figure(
            "plans", "largest difference in any of the 48 columns", _largest_difference(tables), "",
            f"<= {IDENTITY_TOLERANCE}", note="NaN in the same places, names and sizes equal",
        ),
    ]  # fmt: skip
    for plan, values in samples.items():
        frame = statistics.median(values) / CLIPS / FRAMES
        figures.append(
            Figure(
                "plans", f"core hours for {CORPUS_CLIPS:,} clips of 5 s (150 frames), plan {plan}",
                frame * 150 * CORPUS_CLIPS / 3600, "h", note="CPU seconds a frame, scaled; on the CPU",
            )
        )  # fmt: skip
    for plan in ("full", "identity"):
        walls = {name: [usage.wall for usage in found[name]] for name in (plan, f"script, {plan}")}
        figures.append(
            Figure(
                "plans", f"clips per second against the sequential script, plan {plan}",
                ratio(walls[f"script, {plan}"], walls[plan]), "x", samples=walls,
                note=f"{workers} processors for both; {CLIPS} clips, start-up included",
            )
        )  # fmt: skip
    old, new = found["script, full"], found["identity"]
    figures.append(
        Figure(
            "plans", "clips per second, identity plan against the script that runs all extractors",
            ratio([usage.wall for usage in old], [usage.wall for usage in new]), "x",
            note="the same 48 columns",
        )
    )  # fmt: skip
    return figures


def _largest_difference(tables: dict[str, Path]) -> float:
    full, identity = (pq.read_table(tables[plan]) for plan in ("full", "identity"))
    if full.column_names != list(COLUMNS) or identity.column_names != list(COLUMNS):
        raise RuntimeError("a table has not the 48 columns")
    largest = 0.0
    for name in COLUMNS:
        a, b = full[name].to_numpy(zero_copy_only=False), identity[name].to_numpy(zero_copy_only=False)
        if name == "clip_name":
            if a.tolist() != b.tolist():
                raise RuntimeError("the tables have other clips")
            continue
        if (np.isnan(a) != np.isnan(b)).any():
            raise RuntimeError(f"{name}: NaN in one table only")
        largest = max(largest, float(np.nanmax(np.abs(a - b), initial=0.0)))
    return largest
