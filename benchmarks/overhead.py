"""What the toolkit costs on top of the engine: extraction against the bare engine's command lines."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from benchmarks.footage import bare_command, make_corpus, plan_run, run_commands, run_element
from benchmarks.measure import Figure, Usage, ratio, say, side_by_side

CLIPS = 40
REPETITIONS = 3


def measure(folder: Path) -> list[Figure]:
    """Identity plan, embedded engine, 40 clips of 960x540 and 5 s."""
    clips = make_corpus(folder, CLIPS)
    say(f"  made {len(clips)} clips")
    workers = len(os.sched_getaffinity(0))
    runs = 0

    def bare() -> Usage:
        commands = [bare_command(clip, ["cambi"], f"{clip.stem}.json") for clip in clips]
        return run_commands(commands, workers, folder)

    def toolkit() -> Usage:
        nonlocal runs
        runs += 1
        settings = plan_run(
            folder, f"r{runs}",
            ["engine.kind=ffmpeg", "engine.plan=identity", "engine.audit_every=0",
             f"extract.workers={workers}"],
        )  # fmt: skip
        usage = run_element(settings)
        shutil.rmtree(folder / "runs")
        return usage

    found = side_by_side({"bare": bare, "vmafarm": toolkit}, REPETITIONS, warm_up=False)
    figures = []
    for what in ("cpu", "wall"):
        samples = {name: [getattr(usage, what) for usage in usages] for name, usages in found.items()}
        figures.append(
            Figure(
                "overhead", f"{what} of vmafarm / {what} of the bare engine",
                ratio(samples["vmafarm"], samples["bare"]), "x", "<= 1.03", samples,
                f"on the CPU: {CLIPS} clips, identity plan, {workers} workers of 1 thread, "
                f"start-up included, no audits, {REPETITIONS} repetitions in turns",
            )
        )  # fmt: skip
    per_clip = sorted(usage.cpu for usage in found["vmafarm"])[REPETITIONS // 2] / CLIPS
    rate = CLIPS / sorted(usage.wall for usage in found["vmafarm"])[REPETITIONS // 2]
    figures.append(
        Figure("overhead", "CPU seconds per clip", per_clip, "s", note="identity plan, on the CPU")
    )
    figures.append(Figure("overhead", "clips per second", rate, "1/s", note=f"{workers} processors"))
    return figures
