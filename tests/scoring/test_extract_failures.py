"""Clips without a row: what they fail by, what they may reach, and what they leave behind."""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from standin.vmaf import read_calls, write_standin
from support import media
from support.engine_helpers import (
    FFMPEG,
    assert_equal_rows,
    failure,
    ffmpeg_engine,
    score,
    vmaf_engine,
    write_program,
)

from vmafarm.engines.base import Engine
from vmafarm.engines.failure import ClipFailedError
from vmafarm.run_folder.failures import CLIP_FAULTS
from vmafarm.schema.features import COLUMNS

Clips = Callable[[str], Path]
BAD = {
    "empty.mp4": ("decode_error", "the file is empty"),
    "random.mp4": ("decode_error", "not a video file that ffmpeg can open: "),
    "audio_only.mp4": ("no_video", "the file has no video stream"),
    "audio_with_cover.mp4": ("no_video", "the file has no video stream"),
    "no_frames.mp4": ("no_frames", "the video stream has no frames"),
    "no_key_frame.mp4": ("no_frames", "no frame came out of "),
    "unknown_codec.avi": ("decode_error", "no decoder for codec unknown (fourcc QQQQ)"),
    "damaged_size.mp4": ("incomplete_decode", "3 frames decoded, then: Error during demuxing: "),
    "cut.mp4": ("incomplete_decode", " frames decoded, then: stream 0, "),
    "cut_on_packet.mp4": ("incomplete_decode", "the file is cut: its index has frames up to byte "),
    "cut_before_index.mp4": ("decode_error", "moov atom not found"),
    "cut.mkv": ("incomplete_decode", "File ended prematurely"),
    "corrupt.mp4": ("incomplete_decode", "24 frames decoded, 1 packet could not be: "),
    "resized.mp4": ("decode_error", "the frame size or the pixel format changes within the clip"),
    "resized.mkv": ("decode_error", "the frame size or the pixel format changes within the clip"),
    "16x16.mkv": ("too_small", "16x16: libvmaf needs at least 18 pixels"),
}


# Failures


@pytest.mark.parametrize("name", BAD)
def test_bad_clip_fails_by_the_same_class_on_both_engines(
    clips: Clips, tmp_path: Path, engine: Engine, name: str
) -> None:
    error = failure(engine, clips(name), tmp_path)
    expected, words = BAD[name]
    assert error.failure == expected
    assert words in error.message
    assert bool(error.stderr) is (name not in ("empty.mp4", "16x16.mkv"))  # of those the message says all
    assert len(error.stderr) <= 8
    assert all(len(line) <= 300 for line in error.stderr)


def test_a_clip_that_overstates_a_size_gives_the_row_that_it_gives_untouched(
    clips: Clips, tmp_path: Path, engine: Engine
) -> None:
    data = bytearray(clips("plain.mp4").read_bytes())
    rest = b"\0\0\x13\x88mdat" + bytes(100)  # of an older file
    (tmp_path / "clip.mp4").write_bytes(data)
    expected = score(engine, tmp_path / "clip.mp4", tmp_path)
    (tmp_path / "clip.mp4").write_bytes(data + rest)
    found = score(engine, tmp_path / "clip.mp4", tmp_path)
    assert_equal_rows(found.row, expected.row, 0.0)
    assert (found.frames, found.declared_frames, found.short) == (25, 25, False)
    assert found.notes == ()


def test_a_clip_that_is_shorter_than_it_says_gives_a_row_and_says_so(tmp_path: Path, engine: Engine) -> None:
    whole = media.make_clip(tmp_path / "whole.wmv", size="240x240", frames=25, codec="wmv2")
    cut = tmp_path / "cut.wmv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 7 // 10])
    found, sound = score(engine, cut, tmp_path), score(engine, whole, tmp_path)
    assert (found.short, sound.short) == (True, False)
    assert found.declared_seconds == sound.declared_seconds == pytest.approx(1.0, abs=0.05)
    assert found.frames < sound.frames == 25
    assert re.search(
        r"shorter than it says: the video ends at 0\.\d+ s, the file says \d\.\d\d s", found.notes[-1]
    )
    entry = found.log_entry()
    assert (entry["short"], entry["notes"]) == (True, "; ".join(found.notes))


def test_bad_clip_is_never_charged_to_the_fork(clips: Clips, standin: Path, tmp_path: Path) -> None:
    for name in BAD:
        failure(vmaf_engine(standin), clips(name), tmp_path)
    assert read_calls(standin) == []


def test_script_under_a_videos_name_fails_and_reaches_no_other_file(
    clips: Clips, tmp_path: Path, engine: Engine
) -> None:
    script = media.concat_script(tmp_path / "x.mp4", clips("100x100.mkv"))
    error = failure(engine, script, tmp_path)
    assert error.failure == "decode_error"
    assert error.message.startswith("not a video file")


def playlists(address: str) -> dict[str, bytes]:
    """Files that name others, which a player would fetch."""
    return {
        "ffconcat": f"ffconcat version 1.0\nfile '{address}'\n".encode(),
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n".encode(),
        "dash": (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
            f"<AdaptationSet><Representation id='1' bandwidth='1'><BaseURL>{address}</BaseURL>"
            "</Representation></AdaptationSet></Period></MPD>"
        ).encode(),
        "sdp": (
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
            b"m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
        ),
        "asx": f'<asx version="3.0"><entry><ref href="{address}"/></entry></asx>'.encode(),
        "m3u": f"{address}\n".encode(),
    }


@pytest.mark.parametrize("kind", playlists("x"))
@pytest.mark.parametrize("remote", [True, False])
def test_playlist_under_a_videos_name_reaches_no_file_and_no_network(
    clips: Clips, tmp_path: Path, engine: Engine, kind: str, remote: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        here = f"http://127.0.0.1:{server.getsockname()[1]}/x.mp4"
        address = here if remote else f"file:{clips('100x100.mkv')}"
        (tmp_path / "x.mp4").write_bytes(playlists(address)[kind])
        error = failure(engine, tmp_path / "x.mp4", tmp_path)
        with pytest.raises(TimeoutError):  # nobody has called
            server.accept()
    assert error.failure == "decode_error"
    assert "100x100" not in error.message


@pytest.mark.parametrize("name", ["x%d.mp4", "x%03d.mp4", "x*.mp4", "x[12].mp4", "x{1,2}.mp4"])
def test_name_like_a_pattern_means_one_file_and_no_sequence(
    clips: Clips, tmp_path: Path, engine: Engine, name: str
) -> None:
    for other in ("x1.mp4", "x001.mp4", "x2.mp4"):
        shutil.copy(clips("100x100.mkv"), tmp_path / other)
    media.run_ffmpeg("-i", clips("100x100.mkv"), "-frames:v", "1", "-f", "image2", "-c:v", "png",
                     "-update", "1", tmp_path / "picture.png")  # fmt: skip
    (tmp_path / "picture.png").rename(tmp_path / name)
    assert failure(engine, tmp_path / name, tmp_path).failure == "decode_error"


@pytest.mark.parametrize("kind", ["fifo", "folder", "missing", "dangling"])
def test_what_cannot_be_read_is_unreadable_and_nothing_waits_for_it(
    tmp_path: Path, engine: Engine, kind: str
) -> None:
    path = tmp_path / "clip.mp4"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to(tmp_path / "gone")
    error = failure(engine, path, tmp_path)
    assert error.failure == "unreadable"
    assert error.stderr == []


def test_clip_without_permission_is_unreadable(
    clips: Clips, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    error = failure(engine, clips("plain.mp4"), tmp_path)
    assert (error.failure, error.message) == ("unreadable", "no permission to read it")


@pytest.mark.parametrize("kind", ["ffmpeg", "vmaf"])
def test_clip_that_vanishes_while_it_is_decoded_is_unreadable(
    clips: Clips, standin: Path, tmp_path: Path, kind: str
) -> None:
    # To ffmpeg a file that cannot be read is a bad one; no clip may be set aside for good by that.
    clip = tmp_path / "clip.mkv"
    clip.write_bytes(clips("100x100.mkv").read_bytes())
    script = f'rm {shlex.quote(str(clip))}; exec {shlex.quote(str(FFMPEG))} "$@"\n'
    program = write_program(tmp_path / "ffmpeg", script)
    engine = ffmpeg_engine(ffmpeg=program) if kind == "ffmpeg" else vmaf_engine(standin, ffmpeg=program)
    error = failure(engine, clip, tmp_path)
    assert error.failure == "unreadable"
    assert error.message == "cannot be read: No such file or directory"


@pytest.mark.parametrize("seed", range(8))
def test_clip_damaged_anywhere_gives_a_row_or_a_failure_of_its_own(
    clips: Clips, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    source = clips(dice.choice(["two_frames.mp4", "100x100.mkv", "gray.mp4"]))
    data = bytearray(source.read_bytes())
    for _ in range(dice.choice([1, 5, 50])):
        data[dice.randrange(len(data))] = dice.randrange(256)
    clip = tmp_path / f"damaged{source.suffix}"
    clip.write_bytes(data)
    try:
        outcome = tuple(score(ffmpeg_engine(), clip, tmp_path, timeout=20).row)
    except ClipFailedError as error:
        outcome = (error.failure,)
    assert outcome == COLUMNS or set(outcome) <= set(CLIP_FAULTS)


def test_a_full_scratch_folder_is_distinguished_from_a_clip_of_that_name(
    clips: Clips, tmp_path: Path, engine: Engine
) -> None:
    folder = tmp_path / "libvmaf ERROR ENOMEM"
    folder.mkdir()
    broken = folder / "a\nNo space left on device\n[error] libvmaf: Cannot allocate memory"
    broken.write_bytes(clips("random.mp4").read_bytes())
    assert failure(engine, broken, tmp_path).failure == "decode_error"
    sound = folder / "No space left on device"
    sound.write_bytes(clips("100x100.mkv").read_bytes())
    assert score(engine, sound, tmp_path).frames == 6


# Processes


def test_work_in_flight_dies_with_a_process_that_is_killed(clips: Clips, tmp_path: Path) -> None:
    program = write_standin(tmp_path / "standin", misbehave="ignores_sigterm")
    clip = clips("100x100.mkv")
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from support.engine_helpers import score, vmaf_engine\n"
        "score(vmaf_engine(Path(sys.argv[2])), Path(sys.argv[3]), Path(sys.argv[4]))\n"
    )
    arguments = [str(Path(__file__).parents[1]), str(program), str(clip), str(tmp_path)]
    parent = subprocess.Popen([sys.executable, "-c", script, *arguments])
    deadline = time.monotonic() + 30
    while not read_calls(program) and time.monotonic() < deadline:
        time.sleep(0.02)
    (call,) = read_calls(program)
    os.kill(call["pid"], 0)  # at work
    parent.send_signal(signal.SIGKILL)
    assert parent.wait() == -signal.SIGKILL
    while time.monotonic() < deadline and is_alive(call["pid"]):
        time.sleep(0.02)
    assert not is_alive(call["pid"])


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
