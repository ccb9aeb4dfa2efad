"""Both engines on single clips."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from standin.vmaf import write_standin
from support import media

from vmafarm.common.errors import UnavailableError
from vmafarm.config.geometry import Geometry
from vmafarm.engines.base import Capabilities, Engine
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.ffmpeg import FfmpegEngine
from vmafarm.engines.vmaf import VmafEngine
from vmafarm.scoring.clip import Clip, Extracted
from vmafarm.scoring.extract import Scorer, extract

FFMPEG = Path(media.FFMPEG)


def ffmpeg_engine(plan: str = "identity", ffmpeg: Path = FFMPEG) -> FfmpegEngine:
    """The embedded engine; the one extractor of the plan that it lacks is known without a probe."""
    return FfmpegEngine(ffmpeg, plan, "cpu", 1, capabilities=Capabilities(lacking=("ssimulacra2",)))


def vmaf_engine(
    program: Path, plan: str = "identity", backend: str = "cpu", *, threads: int = 1, ffmpeg: Path = FFMPEG
) -> VmafEngine:
    """The fork's command line, not probed: a build that has everything."""
    return VmafEngine(ffmpeg, plan, backend, threads, program)


def score(
    engine: Engine, clip: Path, folder: Path, permit: Any = None, name: str = "clip-000000",
    raw: Geometry | None = None, **options: Any,
) -> Extracted:  # fmt: skip
    """Extract one clip in a scratch folder below `folder`, in which nothing may be left.

    With the option `auditor`, the clip is audited.
    """
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    try:
        one = Clip(clip.name, clip, 3.5, 0, audited="auditor" in options, raw=raw)
        return extract(one, Scorer(engine, scratch, **options), name, permit)
    finally:
        assert list(scratch.iterdir()) == []


def failure(engine: Engine, clip: Path, folder: Path, **options: Any) -> ClipFailedError:
    """How a clip that gives no row fails."""
    with pytest.raises(ClipFailedError) as caught:
        score(engine, clip, folder, **options)
    return caught.value


def write_program(path: Path, script: str) -> Path:
    """A shell script as a program."""
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return path


def assert_equal_rows(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    """All columns equal, numbers within the tolerance, NaN equal to NaN."""
    assert list(one) == list(other)
    assert one["clip_name"] == other["clip_name"]
    numbers, expected = ({k: v for k, v in row.items() if k != "clip_name"} for row in (one, other))
    assert numbers == pytest.approx(expected, rel=0, abs=tolerance, nan_ok=True)


def keyframes(path: Path) -> Path:
    """A .mkv of 12 frames, each its own packet and keyframe."""
    options = ("-level", "1", "-g", "1")
    return media.make_clip(path, size="160x120", codec="ffv1", frames=12, options=options)


def block_positions(mkv: bytes) -> list[int]:
    """Where the track number of each SimpleBlock stands in a .mkv of keyframes, two to a cluster."""
    times = (b"\0\0", b"\0(")  # 0 and 40 ms after the cluster's own time
    return [
        i
        for i in range(len(mkv) - 3)
        if mkv[i] == 0x81 and mkv[i + 3] == 0x80 and mkv[i + 1 : i + 3] in times
    ]


def broken_time_stamps(folder: Path) -> Path:
    """A .mkv of 12 frames whose time stamps repeat, jump and run backwards."""
    path = keyframes(folder / "broken.mkv")
    data = bytearray(path.read_bytes())
    times = (0, 40, 40, 40, 20, 400, 400, 280, 0, 360, 400, 440)
    for position, milliseconds in zip(block_positions(bytes(data)), times, strict=True):
        data[position + 1 : position + 3] = milliseconds.to_bytes(2, "big")
    path.write_bytes(data)
    return path


def no_time_stamps(folder: Path) -> Path:
    """A .mp4 of 12 frames that all last 0 ticks."""
    path = media.make_clip(folder / "zero.mp4", size="160x120", frames=12, options=("-bf", "0"))
    data = bytearray(path.read_bytes())
    start = data.index(b"stts") + 12
    data[start : start + 4] = bytes(4)
    path.write_bytes(data)
    return path


def small(path: Path, *, frames: int = 6, codec: str = "libx264", options: Sequence[str] = ()) -> Path:
    """A few frames of 160x120."""
    return media.make_clip(path, size="160x120", frames=frames, codec=codec, options=options)


def breaking(folder: Path, scoring: str = ":", decoding: str = ":") -> FfmpegEngine:
    """The embedded engine, but something else happens before it scores, or before it only decodes."""
    program = write_program(
        folder / "ffmpeg",
        f'case "$*" in *libvmaf*) {scoring};; *) {decoding};; esac >&2\n'
        f'exec {shlex.quote(str(FFMPEG))} "$@"\n',
    )
    return ffmpeg_engine(ffmpeg=program)


def broken(folder: Path, how: str, backend: str = "cpu", **settings: Any) -> VmafEngine:
    """A build of the fork that misbehaves."""
    return vmaf_engine(write_standin(folder / "standin", misbehave=how, **settings), backend=backend)


def unavailable(engine: VmafEngine, folder: Path) -> UnavailableError:
    """How a probe fails."""
    with pytest.raises(UnavailableError) as caught:
        engine.probe(folder)
    return caught.value
