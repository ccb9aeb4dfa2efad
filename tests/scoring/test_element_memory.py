"""The memory of an element's own process does not grow with its clips, nor with what its children say."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from standin.vmaf import write_standin
from support import media
from support.command import write_scores
from support.engine_helpers import vmaf_engine, write_program

from vmafarm.config.load import load
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.engines.probe import write_probe_clip
from vmafarm.process.run import run

ELEMENT = """
import sys
from pathlib import Path
from vmafarm.config.load import load
from vmafarm.scoring.element import run_element
from vmafarm.scoring.element_spec import ElementSpec
from vmafarm.corpus.frozen_config import with_frozen

config = with_frozen(load(None, sys.argv[2:])[0])
result = run_element(ElementSpec(config.model_dump(), (0,), limit=int(sys.argv[1])))
high = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(result.done, sum(result.failed.values()), high.split()[1])
"""
CLIPS = 300


def quick_vmaf(folder: Path) -> Path:
    """A program that writes the log of a two-frame clip, whatever it is given, and a megabyte of words."""
    write_probe_clip(folder / "probe.y4m")
    engine = vmaf_engine(write_standin(folder / "standin"))
    (one,) = engine.passes(folder / "probe.y4m", "probe")
    (finished,) = run([one.arguments], folder=folder, deadline=60)
    assert finished.returncode == 0
    log = shlex.quote(str(folder / one.log))
    script = f"""
while [ $# -gt 0 ]; do
    if [ "$1" = --output ]; then cp {log} "$2"; fi
    shift
done
head -c 1000000 /dev/zero | tr '\\0' 'x' >&2
"""
    return write_program(folder / "vmaf", script)


def high_water(folder: Path, settings: list[str], limit: int) -> int:
    """Bytes that an element had at its peak which did so many clips more."""
    command = [sys.executable, "-c", ELEMENT, str(limit), *settings]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=300)
    done, failed, kilobytes = map(int, said.stdout.split())
    assert (done, failed) == (limit, 0), said.stderr
    return kilobytes * 1024


@pytest.mark.full
def test_memory_of_an_element_does_not_grow_with_its_clips(
    tmp_path: Path, clips: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = media.make_clip(tmp_path / "clip.mkv", size="64x64", codec="ffv1", frames=2)
    names = [f"c{i:04d}.mkv" for i in range(CLIPS)]
    (tmp_path / "clips").mkdir()
    for name in names:
        os.link(clip, tmp_path / "clips" / name)
    write_scores(tmp_path / "scores.csv", names)
    settings = [
        "run.name=r", "corpus.clips=clips", "corpus.scores=scores.csv", "engine.plan=identity",
        "engine.kind=vmaf", f"engine.vmaf={quick_vmaf(tmp_path)}", "slices.count=1", "extract.workers=2",
    ]  # fmt: skip
    config, _ = load(None, settings)
    plan(config)
    with_frozen(config)
    few = high_water(tmp_path, settings, 20)
    many = high_water(tmp_path, settings, CLIPS - 20)
    print(f"an element's peak: {few / 1e6:.0f} MB after 20 clips, {many / 1e6:.0f} MB after {CLIPS - 20}")
    assert many < 400e6
    assert many - few < 30e6
