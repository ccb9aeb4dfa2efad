"""Files that are not clips, or not the planned ones."""

from __future__ import annotations

import dataclasses
import os
import shlex
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.engine_helpers import FFMPEG, failure, ffmpeg_engine, vmaf_engine, write_program

from vmafarm.engines.base import Engine
from vmafarm.engines.declared import read_declared
from vmafarm.engines.failure import ClipFailedError
from vmafarm.engines.media_files import read_through
from vmafarm.scoring.clip import Clip
from vmafarm.scoring.extract import Scorer, extract

pytestmark = pytest.mark.usefixtures("no_child_left")
Clips = Callable[[str], Path]


# What is no clip, or not the planned one


def _device(path: Path) -> None:
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        _socket,
        lambda path: path.symlink_to("/dev/zero"),
        pytest.param(
            _device, marks=pytest.mark.skipif(os.geteuid() != 0, reason="devices are root's to make")
        ),
        lambda path: path.mkdir(),
        lambda path: path.symlink_to(path),
    ],
    ids=["fifo", "socket", "/dev/zero", "device", "folder", "loop"],
)
def test_what_is_no_file_is_never_opened(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    path = tmp_path / "clip.mp4"
    make(path)
    engine = ffmpeg_engine(ffmpeg=tmp_path / "not-there")  # nothing is started for it
    assert failure(engine, path, tmp_path).failure == "unreadable"


def test_pipe_that_takes_the_place_of_a_clip_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    os.mkfifo(path)
    with pytest.raises(OSError, match="expected a regular file"):
        read_declared(path)
    with pytest.raises(ClipFailedError, match="expected a regular file"):
        read_through(path, 60.0)


@pytest.mark.parametrize("kind", ["ffmpeg", "vmaf"])
def test_pipe_that_takes_the_place_of_a_clip_while_it_is_decoded_is_unreadable(
    clip: Path, tmp_path: Path, standin: Path, kind: str
) -> None:
    path = tmp_path / "clip.mkv"
    path.write_bytes(clip.read_bytes())
    quoted = shlex.quote(str(path))
    program = write_program(tmp_path / "ffmpeg", f"rm -f {quoted}; mkfifo {quoted}; exit 1\n")
    engine = ffmpeg_engine(ffmpeg=program) if kind == "ffmpeg" else vmaf_engine(standin, ffmpeg=program)
    assert failure(engine, path, tmp_path, timeout=20).failure == "unreadable"


def extract_planned(engine: Engine, clip: Path, planned: int, folder: Path) -> ClipFailedError:
    scratch = folder / "scratch"
    scratch.mkdir()
    with pytest.raises(ClipFailedError) as caught:
        extract(Clip(clip.name, clip, 3.5, 0, planned), Scorer(engine, scratch), "clip-000000")
    assert list(scratch.iterdir()) == []
    return caught.value


def test_clip_of_another_size_than_planned_is_not_scored(clip: Path, tmp_path: Path, engine: Engine) -> None:
    engine = dataclasses.replace(engine, ffmpeg=tmp_path / "not-there")
    size = clip.stat().st_size
    error = extract_planned(engine, clip, size + 1000, tmp_path)
    assert error.failure == "changed"
    assert error.message == (
        f"planned with {size + 1000:,} bytes, found with {size:,}: restore the planned file, or plan "
        "another run"
    )


def test_clip_that_has_become_empty_has_changed(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "clip.mp4").touch()
    assert extract_planned(engine, tmp_path / "clip.mp4", 9, tmp_path).failure == "changed"


CHANGES = {
    "cut": 'truncate -s 5000 "$clip"',
    "touched": 'touch -d 2001-01-01 "$clip"',
    # As rsync --inplace -t and tar do, of an archive whose times are whole seconds.
    "overwritten with its size and time": 'sleep 0.02; touch -r "$clip" "$clip.time"; '
    'printf other | dd of="$clip" conv=notrunc status=none; touch -r "$clip.time" "$clip"',
}


@pytest.mark.parametrize("kind", ["ffmpeg", "vmaf"])
@pytest.mark.parametrize("how", CHANGES)
def test_clip_that_changes_while_it_is_scored_gives_no_row_and_is_not_to_blame(
    clips: Clips, tmp_path: Path, standin: Path, kind: str, how: str
) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(clips("plain.mp4").read_bytes())
    change = f"clip={shlex.quote(str(clip))}; {CHANGES[how]}"
    command = f'{change}; exec {shlex.quote(str(FFMPEG))} "$@"\n'
    program = write_program(tmp_path / "ffmpeg", command)
    engine = ffmpeg_engine(ffmpeg=program) if kind == "ffmpeg" else vmaf_engine(standin, ffmpeg=program)
    assert failure(engine, clip, tmp_path).failure == "changed"
