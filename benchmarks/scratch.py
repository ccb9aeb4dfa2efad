"""Where decoded frames go on their way to the ``vmaf`` program: a disk, memory, or through pipes.

The program itself is not needed: it reads its two inputs from front to back, as ``cat`` does here.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.footage import FFMPEG, make_corpus
from benchmarks.measure import Figure, Usage, run_measured, side_by_side

CLIPS = 10
REPETITIONS = 5

_FILE = """
for clip in "$@"; do
  "$FFMPEG" -nostdin -v error -y -threads 1 -i "$clip" -pix_fmt yuv420p -f yuv4mpegpipe clip.y4m
  cat clip.y4m > /dev/null & cat clip.y4m > /dev/null; wait
  rm clip.y4m
done
"""
_PIPES = """
rm -f a.y4m b.y4m; mkfifo a.y4m b.y4m
for clip in "$@"; do
  cat a.y4m > /dev/null & cat b.y4m > /dev/null &
  "$FFMPEG" -nostdin -v error -y -threads 1 -i "$clip" -pix_fmt yuv420p -f yuv4mpegpipe - | tee a.y4m > b.y4m
  wait
done
"""


def measure(folder: Path) -> list[Figure]:
    """Decode and read twice, clip after clip."""
    clips = make_corpus(folder, CLIPS)

    def run(script: str, place: Path) -> Usage:
        return run_measured(["bash", "-ec", script, "-", *clips], cwd=place, environment={"FFMPEG": FFMPEG})

    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        found = side_by_side(
            {
                "a file on disk": partial(run, _FILE, folder),
                "a file in memory": partial(run, _FILE, Path(memory)),
                "pipes": partial(run, _PIPES, folder),
            },
            REPETITIONS,
        )
    os.sync()
    figures = []
    for name, usages in found.items():
        note = f"decode {CLIPS} clips of 960x540, 5 s; two readers"
        cpu = statistics.median(usage.cpu for usage in usages) / CLIPS
        wall = statistics.median(usage.wall for usage in usages) / CLIPS
        figures.append(Figure("scratch", f"{name}: CPU seconds per clip", cpu, "s", note=note))
        figures.append(Figure("scratch", f"{name}: wall seconds per clip", wall, "s", note=note))
    return figures
