"""The real thing: ``vmafarm run`` with submitit's processes, an element and ffmpeg, killed together."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from crash import power
from crash.cases import Result, compare
from crash.faults import Faults, boundaries
from crash.kept_frames import are_pooled, lost_frames
from support.command import QUICK, command, corpus, write_scores
from support.media import make_clip

from vmafarm.run_folder.paths import RunFolder
from vmafarm.shards.writer import read_done

HERE = Path(__file__).parent
SETTINGS = ("--run", "r", "--set", "slices.count=2", "--set", "extract.flush_every=2", "--frames")
RUN = ("run", *corpus(*QUICK, *SETTINGS))
TABLE = Path("runs/full_features_r.parquet")
CLIPS = tuple(f"orig_{i}_540_5s.mp4" for i in range(6))


@dataclass(frozen=True)
class Template:
    """A corpus to copy, the table that a run of it gives, its seconds and its boundaries."""

    folder: Path
    table: bytes
    seconds: float
    total: int


def make_corpus(folder: Path) -> Path:
    """Clips of 10 frames, each with other content."""
    (folder / "clips").mkdir(parents=True)
    for i, name in enumerate(CLIPS):
        make_clip(folder / "clips" / name, size=f"{240 + 16 * i}x180", frames=10)
    write_scores(folder / "scores.csv", CLIPS)
    return folder


def make_template(folder: Path) -> Template:
    """Run once undisturbed."""
    make_corpus(folder / "corpus")
    work = shutil.copytree(folder / "corpus", folder / "undisturbed")
    started = time.monotonic()
    process = start(work, _faults(work))
    process.wait(300)
    assert process.returncode == 0, said(work)
    seconds = time.monotonic() - started
    return Template(folder / "corpus", (work / TABLE).read_bytes(), seconds, boundaries(work / "state"))


def start(work: Path, faults: Faults | None = None) -> subprocess.Popen[bytes]:
    """Start the run in a process group of its own; all its processes meet the faults."""
    environment = dict(os.environ)
    if faults is not None:
        path = [str(HERE / "site"), str(HERE.parent), environment.get("PYTHONPATH", "")]
        environment |= {"VMAFARM_FAULTS": faults.as_json(), "PYTHONPATH": os.pathsep.join(filter(None, path))}
    with (work / "said").open("wb") as output:
        return subprocess.Popen(
            command(RUN), cwd=work, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
            start_new_session=True, env=environment,
        )  # fmt: skip


def said(work: Path) -> str:
    """What the last run has printed."""
    return (work / "said").read_text(errors="replace")


def run_tree(template: Template, seed: int, kills: int = 4) -> Result:
    """Kill the run a few times, run it to its end, compare.

    Half of the kills come at a random moment, the others at a random boundary; after some of them the
    power is lost, too.
    """
    chance = random.Random(seed)
    result = Result(f"process tree:{seed}", "process tree")
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        work = shutil.copytree(template.folder, Path(folder) / "w")
        for _ in range(3 * kills):  # some end before they are hit
            if result.kills == kills:
                break
            at = chance.choice([-1, boundaries(work / "state") + chance.randrange(template.total // 2)])
            process = start(work, _faults(work, at))
            moment = chance.uniform(0, template.seconds)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment if at < 0 else 60)
            _end(process)
            result.kills += process.returncode == -signal.SIGKILL
            if "Traceback" in said(work):
                result.differing.append(said(work)[-2000:])
            promised = _in_done(work)
            if chance.random() < 0.5:
                power.lose_power(work / "state", chance=chance.choice([None, random.Random(seed)]))
            held = read_done(RunFolder(work / "runs", "r"), range(2))
            result.lost += [f"row of {name}" for name in promised - held]
            result.lost += lost_frames(RunFolder(work / "runs", "r"), are_pooled)
        process = start(work)
        process.wait(300)
        _end(process)
        if process.returncode:
            result.differing.append(f"the last run ended with {process.returncode}: {said(work)[-2000:]}")
        compare(work / TABLE, template.table, result, CLIPS)
        result.lost += lost_frames(RunFolder(work / "runs", "r"), are_pooled)
    return result


def _faults(work: Path, at: int = -1) -> Faults:
    return Faults(str(work / "state"), str(work / "runs"), at)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process group, and wait until it is gone."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            break
        process.poll()
        time.sleep(0.01)
    process.wait(20)


def _in_done(work: Path) -> set[str]:
    names = set()
    for path in work.glob("runs/r/shards/*/*.done"):
        names |= {json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]}
    return names
