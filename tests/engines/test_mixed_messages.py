"""libvmaf prints in the middle of the lines of ffmpeg; a row is right all the same, or there is none."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.engine_helpers import FFMPEG, failure, ffmpeg_engine, score, write_program

from vmafarm.engines.ffmpeg_report import read_report

Clips = Callable[[str], Path]

LEVEL, TEXT = "libvmaf WARNING ", "est_params: covariance matrix is singular\n"
_PIECES = re.compile(r"(?:\[[^\]\n]* @ 0x[0-9a-f]+\] )|^\[\w+\] |\[\w+\] (?=\S)|[^\n]*\n", re.MULTILINE)


def said_of(clip: Path, folder: Path) -> str:
    """What ffmpeg says while libvmaf scores a clip."""
    (one,) = ffmpeg_engine().passes(clip, "x")
    finished = subprocess.run(one.arguments, cwd=folder, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert finished.returncode == 0
    return finished.stderr.decode()


def mixed(said: str) -> Iterator[str]:
    """The same with a message of libvmaf, whose two pieces come between any of ffmpeg's.

    Both write a line in pieces: libvmaf its level, then the text; ffmpeg what speaks, the level, the text.
    """
    pieces = _PIECES.findall(said)
    assert "".join(pieces) == said
    assert len(pieces) > 2 * said.count("\n")
    for first in range(len(pieces)):
        for second in range(first, min(first + 4, len(pieces))):
            yield "".join([*pieces[:first], LEVEL, *pieces[first:second], TEXT, *pieces[second:]])


@pytest.mark.parametrize("name", ["ten_bit.mp4", "corrupt.mp4"])
def test_messages_of_libvmaf_change_nothing_in_what_ffmpeg_reports(
    clips: Clips, tmp_path: Path, name: str
) -> None:
    said = said_of(clips(name), tmp_path)
    report = read_report(said)
    assert report.frames > 0
    assert {read_report(text) == report for text in mixed(said)} == {True}


def test_a_clip_of_which_ffmpeg_does_not_say_how_many_bits_it_fed_has_no_row(
    clips: Clips, tmp_path: Path
) -> None:
    """What is filled in for an identity pair depends on it; the clip is tried again, and is not charged."""
    garbled = f"sed 's/ Video: wrapped_avframe/ Vi[info] deo: wrapped_avframe/' {tmp_path}/said >&2"
    program = write_program(
        tmp_path / "ffmpeg",
        f'{shlex.quote(str(FFMPEG))} "$@" 2> {tmp_path}/said; r=$?\n{garbled}; exit $r\n',
    )
    assert score(ffmpeg_engine(), clips("ten_bit.mp4"), tmp_path).bit_depth == 10
    error = failure(ffmpeg_engine(ffmpeg=program), clips("ten_bit.mp4"), tmp_path)
    assert (error.failure, error.message) == (
        "engine_error", "ffmpeg's messages do not say whether it fed 8 or 10 bits to libvmaf"
    )  # fmt: skip
