"""Both engines on single clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import media
import pytest

from jobs.clip import Clip, ClipFailedError, Extracted
from jobs.engines import Engine, FfmpegEngine, VmafEngine
from jobs.extract import extract

FFMPEG = Path(media.FFMPEG)


def ffmpeg_engine(plan: str = "identity", ffmpeg: Path = FFMPEG) -> FfmpegEngine:
    """The embedded engine; the one extractor of the plan that it lacks is known without a probe."""
    engine = FfmpegEngine(ffmpeg, plan, "cpu", 1)
    engine.lacking = ("ssimulacra2",)
    return engine


def vmaf_engine(
    program: Path, plan: str = "identity", backend: str = "cpu", *, threads: int = 1, ffmpeg: Path = FFMPEG
) -> VmafEngine:
    """The fork's command line, not probed: a build that has everything."""
    return VmafEngine(program, ffmpeg, plan, backend, threads)


def score(engine: Engine, clip: Path, folder: Path, **options: Any) -> Extracted:
    """Extract one clip in a scratch folder below `folder`, in which nothing may be left."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    try:
        return extract(Clip(clip.name, clip, 3.5, 0), engine, scratch, "clip-000000", **options)
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
