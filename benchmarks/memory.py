"""The memory of an element's own process over thousands of clips: its peak, and whether it grows."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from benchmarks.canned import FRAMES, element_command, environment, media, plan_run, write_program
from benchmarks.measure import Figure

_CLIPS = 5_000
_MARKS = (500, 2_500, 5_000)


def measure(folder: Path) -> list[Figure]:
    """One element in one process; its high water is read from outside when so many clips are done."""
    program = write_program(folder / "engine")
    # Small frames: the element holds logs and rows, never frames.
    clip = media.make_clip(folder / "clip.mp4", size="64x64", frames=FRAMES)
    settings = plan_run(folder / "run", clip, _CLIPS, program, "extract.workers=2")
    shards = folder / "run" / "runs" / "r" / "shards"
    peaks: dict[int, float] = {}
    with subprocess.Popen(
        element_command(settings), env=environment(), stdout=subprocess.PIPE, text=True
    ) as element:
        while element.poll() is None:
            time.sleep(0.5)
            done = sum(path.read_bytes().count(b"\n") for path in shards.glob("*/*.done"))
            high = _high_water(element.pid)
            peaks |= {mark: high for mark in _MARKS if mark not in peaks and done >= mark and high}
        assert element.stdout is not None
        said = element.stdout.read()
    if element.returncode:
        raise RuntimeError(f"an element ended with {element.returncode}")
    scored, failed, *_, peak = json.loads(said)
    if (scored, failed) != (_CLIPS, 0):
        raise RuntimeError(f"an element scored {scored} of {_CLIPS} clips, {failed} failed")
    peaks[_CLIPS] = peak / 1e6
    shown = ", ".join(f"{peaks[mark]:.1f} after {mark:,}" for mark in _MARKS)
    growth = (peaks[_CLIPS] - peaks[_MARKS[0]]) / (_CLIPS - _MARKS[0]) * 1000
    samples = {str(mark): [peaks[mark]] for mark in _MARKS}
    how = f"{FRAMES} frames per clip, all features, canned engine, real decoder, 2 workers"
    return [
        Figure(
            "memory", f"an element's own peak over {_CLIPS:,} clips", peaks[_CLIPS], "MB", "< 250", samples,
            f"resident memory of its process, without children (MB: {shown}); {how}",
        ),
        Figure(
            "memory", "growth of that peak", growth, "MB", "<= 2 per 1,000 clips", samples,
            f"from {_MARKS[0]:,} clips on, per 1,000 clips",
        ),
    ]  # fmt: skip


def _high_water(pid: int) -> float:
    """Peak of a running process, MB; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), 0.0)
