"""CPU seconds that the toolkit itself takes for a clip: an element's process without its children."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.canned import FRAMES, SECONDS, media, plan_run, run_element, write_program
from benchmarks.measure import Figure

_CLIPS = 100
"""As in a slice by default; what an element takes to begin is spread over them."""
_FEW = 8
_SLEEP = 5
_REPETITIONS = 3


def measure(folder: Path) -> list[Figure]:
    """Elements of 100 clips of 960x540 and 5 s; and of a few with an engine that takes its time."""
    program = write_program(folder / "engine")
    clip = media.make_clip(folder / "clip.mp4", size="960x540", frames=FRAMES)
    settings = plan_run(
        folder / "run", clip, _REPETITIONS * (_CLIPS + 2 * _FEW), program, "extract.workers=2"
    )
    starting, own, waiting = [], [], []
    for _ in range(_REPETITIONS):
        start, working, _ = run_element(settings, _CLIPS)
        _, quick, _ = run_element(settings, _FEW)
        _, slow, _ = run_element(settings, _FEW, **{SECONDS: str(_SLEEP)})
        starting.append(start)
        own.append(working / _CLIPS)
        waiting.append(1000 * (slow - quick) / (_FEW * _SLEEP))
    clip_note = f"RUSAGE_SELF of an element of {_CLIPS} clips of 960x540, {FRAMES} frames, all features"
    return [
        Figure(
            "own_cost", "own CPU a clip", statistics.median(own), "s", "<= 0.03", {"s": own},
            f"{clip_note}; canned engine, real decoder, 2 workers",
        ),
        Figure(
            "own_cost", "own CPU for each second that an engine takes", statistics.median(waiting), "ms", "",
            {"ms": waiting}, f"the same with an engine that sleeps {_SLEEP} s, {_FEW} clips",
        ),
        Figure(
            "own_cost", "own CPU of an element's start", statistics.median(starting), "s", "",
            {"s": starting}, "Python, imports, configuration",
        ),
    ]  # fmt: skip
