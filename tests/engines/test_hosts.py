"""What of a host could change the samples that libvmaf gets, with the real ffmpeg."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import media

from vmafarm.engines.ffmpeg_arguments import decode_arguments

OLDEST = "mmx+mmxext+sse+sse2"
"""What every x86-64 processor has."""


def decoder(clip: Path) -> list[str]:
    return [*decode_arguments(Path(media.FFMPEG), clip, 1 << 20, 100), "-f", "framemd5", "-"]


def frames(command: Sequence[str]) -> bytes:
    lines = subprocess.run(command, capture_output=True, check=True).stdout.splitlines()
    return b"\n".join(line for line in lines if not line.startswith(b"#"))


def test_the_processors_of_the_host_change_no_sample(tmp_path: Path) -> None:
    """By itself ffmpeg takes as many threads for filters as there are, which convert 4:1:0 differently."""
    clip = media.make_clip(tmp_path / "x.mkv", size="240x240", frames=3, codec="ffv1", pix_fmt="yuv410p")
    command = decoder(clip)
    at = command.index("-filter_complex_threads")
    by_threads = {n: frames([*command[: at + 1], n, *command[at + 2 :]]) for n in ("1", "2", "16")}
    assert len(set(by_threads.values())) == 3
    assert frames(command) == by_threads["1"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="is about x86-64")
@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv422p", "rgb24", "yuv410p", "yuv444p10le"])
def test_an_old_and_a_new_processor_convert_alike(tmp_path: Path, pix_fmt: str) -> None:
    codec = "ffv1" if pix_fmt != "rgb24" else "png"
    clip = media.make_clip(tmp_path / "x.mkv", size="241x161", frames=3, codec=codec, pix_fmt=pix_fmt)
    program, *arguments = decoder(clip)
    found = [frames([program, "-cpuflags", flags, *arguments]) for flags in (OLDEST, "all")]
    assert found[0] == found[1]
    assert found[0].count(b"\n") == 2
