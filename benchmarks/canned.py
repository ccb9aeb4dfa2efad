"""Stands in for the engine's program where the toolkit itself is measured: its logs are prepared."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import ROOT
from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.engines.probe import write_probe_clip
from vmafarm.engines.vmaf import VmafEngine

sys.path.append(str(ROOT / "tests"))
from standin.vmaf import write_standin
from support import media

FRAMES = 150
"""Of a clip of 5 s, as nearly all of KoNViD-150k are."""


SECONDS = "CANNED_SECONDS"
"""Variable: for so long the program sleeps before it answers, except to a probe."""


def write_program(folder: Path) -> Path:
    """A program with the command line of the fork's ``vmaf`` that copies a log as its answer.

    The logs are what the tests' stand-in wrote for the same passes, all 22 features at full precision:
    of the probe's two frames, and of `FRAMES` frames for everything else.
    """
    folder.mkdir(exist_ok=True)
    program = folder / "vmaf"
    standin = write_standin(folder / "standin")
    engine = VmafEngine(Path(media.FFMPEG), "full", "cpu", os.cpu_count() or 1, standin)
    write_probe_clip(folder / "probe.y4m")
    clip = media.make_clip(folder / "clip.mkv", size="240x240", codec="ffv1", frames=FRAMES)
    media.as_y4m(clip, folder / "clip.y4m")
    for name in ("probe", "clip"):
        (one,) = engine.passes(folder / f"{name}.y4m", name)
        subprocess.run(one.arguments, cwd=folder, check=True, stdin=subprocess.DEVNULL)
    probe, answer = (shlex.quote(str(folder / f"{name}.json")) for name in ("probe", "clip"))
    program.write_text(
        "#!/bin/sh\n"
        "while [ $# -gt 0 ]; do\n"
        '    case "$1" in\n'
        "    --version) echo canned >&2; exit ;;\n"
        '    --output) log="$2" ;;\n'
        "    esac\n"
        "    shift\n"
        "done\n"
        f'case "$log" in\nprobe*) exec cp {probe} "$log" ;;\nesac\n'
        f'[ -z "${SECONDS}" ] || sleep "${SECONDS}"\n'
        f'exec cp {answer} "$log"\n'
    )
    program.chmod(0o755)
    return program


def plan_run(folder: Path, clip: Path, clips: int, program: Path, *more: str) -> list[str]:
    """Plan a run of so many clips that all are the same file, scored by this program.

    Parameters
    ----------
    folder
        For the corpus and the run.
    clip
        The file.
    clips
        How many.
    program
        The engine's.
    *more
        Configuration, ``section.key=value``.

    Returns
    -------
    list of str
        The configuration, as `vmafarm.config.load.load` takes it.
    """
    (folder / "clips").mkdir(parents=True)
    lines = ["video_name,video_score"]
    for number in range(clips):
        name = f"orig_{number:06d}_540_5s{clip.suffix}"
        os.link(clip, folder / "clips" / name)
        lines.append(f"{name},{1 + number % 40 / 10}")
    (folder / "scores.csv").write_text("\n".join([*lines, ""]))
    (folder / "scratch").mkdir()
    settings = [
        "run.name=r", f"run.root={folder}/runs", f"corpus.clips={folder}/clips",
        f"corpus.scores={folder}/scores.csv", "engine.kind=vmaf", f"engine.vmaf={program}",
        "engine.plan=full", "engine.backend=cpu", f"extract.scratch={folder}/scratch", *more,
    ]  # fmt: skip
    config, _ = load(None, settings)
    plan(config)
    with_frozen(config)
    return settings


_ELEMENT = """
import json, resource, sys
from vmafarm.config.load import load
from vmafarm.scoring.element import run_element
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.run_folder.manifest import load_manifest

def own():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime

limit, *settings = sys.argv[1:]
config = with_frozen(load(None, settings)[0])
slices = tuple(range(load_manifest(config.folder).slice_count))
spec = ElementSpec(config.model_dump(), slices, limit=int(limit))
begun = own()
result = run_element(spec)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([result.done, sum(result.failed.values()), begun, own() - begun, peak]))
"""


def element_command(settings: Sequence[str], limit: int = 0) -> list[str]:
    """Command that works through a run as one element.

    Parameters
    ----------
    settings
        As `plan_run` returned them.
    limit
        Clips; 0: all.
    """
    return [sys.executable, "-c", _ELEMENT, str(limit), *settings]


def run_element(settings: Sequence[str], clips: int, **variables: str) -> tuple[float, float, float]:
    """Work through so many clips of a run that are left, and tell what the element's process took itself.

    Parameters
    ----------
    settings
        As `plan_run` returned them.
    clips
        How many.
    **variables
        For its environment.

    Returns
    -------
    starting, working : float
        CPU seconds before and in `vmafarm.scoring.element.run_element`; without the children.
    peak : float
        Resident memory, MB (10^6 bytes).

    Raises
    ------
    RuntimeError
        Not all of them were scored.
    """
    ended = subprocess.run(
        element_command(settings, clips), env={**environment(), **variables}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if ended.returncode:
        raise RuntimeError(f"an element ended with {ended.returncode}: {ended.stderr[-2000:]}")
    done, failed, starting, working, peak = json.loads(ended.stdout)
    if (done, failed) != (clips, 0):
        raise RuntimeError(f"an element scored {done} of {clips} clips, {failed} failed")
    return starting, working, peak / 1e6


def environment() -> dict[str, str]:
    """Variables with which a child imports this checkout's package, whatever is installed."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "jobs")}
