"""Decoding: what ffmpeg may open, what it gives out, and what its messages say about the clip."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support import media
from support.engine_helpers import FFMPEG, block_positions, broken_time_stamps, keyframes, no_time_stamps

from vmafarm.config.clip_limits import DEFAULT_LIMITS
from vmafarm.engines.ffmpeg_arguments import FORMATS, PREPARE, input_arguments
from vmafarm.engines.ffmpeg_report import Report, read_report
from vmafarm.engines.judge import judge, notes
from vmafarm.engines.media_files import read_y4m

Clips = Callable[[str], Path]
SOUND = Report(
    True, 480, 270, "yuv420p", 8, 25.0, 1.0, 25, 25, 0, 0, "", (), 25, 0, (0,), "h264 (fourcc avc1)",
    container="mov,mp4,m4a,3gp,3g2,mj2", shown_seconds=1.0,
)  # fmt: skip


def decode(clip: Path, target: str = "null") -> tuple[Report, int, str]:
    """Decode as both engines do; the report, the exit status and the messages."""
    to = ("-f", "null", "-") if target == "null" else ("-strict", "-1", "-f", "yuv4mpegpipe", target)
    command = [
        *input_arguments(FFMPEG, clip, DEFAULT_LIMITS.max_pixels),
        *("-lavfi", f"[0:V:0]{PREPARE}[frames]", "-map", "[frames]", "-fps_mode", "passthrough", *to),
    ]
    finished = subprocess.run(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    stderr = finished.stderr.decode("utf-8", "replace")
    return read_report(stderr), finished.returncode, stderr


def verdict(clip: Path) -> tuple[str, str] | None:
    report, status, _ = decode(clip)
    return judge(report, status)


def test_sound_clip_is_reported_as_it_is(clips: Clips) -> None:
    report, status, _ = decode(clips("plain.mp4"))
    assert status == 0
    assert report == SOUND
    assert judge(report, status) is None
    assert notes(report, "") == []


@pytest.mark.parametrize(
    ("name", "source", "fed"),
    [
        ("plain.mp4", "yuv420p", 8),
        ("ten_bit.mp4", "yuv420p10le", 10),
        ("ten_bit.mkv", "yuv420p10le", 10),
        ("twelve_bit.mkv", "yuv420p12le", 10),
        ("yuv422_ten_bit.mkv", "yuv422p10le", 10),
        ("yuv444.mp4", "yuv444p", 8),
        ("gray.mkv", "gray", 8),
        ("rgb.mkv", "bgr0", 8),
        ("full_range.mp4", "yuvj420p", 8),
    ],
)
def test_more_than_8_bits_stay_at_10_and_all_else_becomes_8(
    clips: Clips, tmp_path: Path, name: str, source: str, fed: int
) -> None:
    report, status, _ = decode(clips(name), str(tmp_path / "frames.y4m"))
    assert (status, report.pixel_format, report.bit_depth) == (0, source, fed)
    raw = read_y4m(tmp_path / "frames.y4m")
    assert (raw.width, raw.height, raw.bit_depth, raw.frames) == (480, 270, fed, report.frames)


@pytest.mark.parametrize(("name", "pix_fmt"), [("plain.mp4", "yuv420p"), ("ten_bit.mp4", "yuv420p10le")])
def test_frames_are_not_changed_on_the_way(clips: Clips, tmp_path: Path, name: str, pix_fmt: str) -> None:
    decode(clips(name), str(tmp_path / "frames.y4m"))
    header, _, frames = (tmp_path / "frames.y4m").read_bytes().partition(b"\n")
    assert header.startswith(b"YUV4MPEG2 ")
    raw = media.decode(clips(name), pix_fmt)
    size = len(raw) // read_y4m(tmp_path / "frames.y4m").frames
    assert frames == b"".join(b"FRAME\n" + raw[i : i + size] for i in range(0, len(raw), size))


@pytest.mark.parametrize(
    ("name", "size"),
    [("rotated.mp4", (270, 480)), ("odd.mkv", (481, 271)), ("18x18.mkv", (18, 18)), ("16x16.mkv", (16, 16))],
)
def test_geometry_is_that_of_the_decoded_frames(clips: Clips, name: str, size: tuple[int, int]) -> None:
    report, _, _ = decode(clips(name))
    assert (report.width, report.height) == size


@pytest.mark.parametrize("make", [broken_time_stamps, no_time_stamps])
def test_broken_time_stamps_cost_and_double_no_frame(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    report, status, _ = decode(make(tmp_path), str(tmp_path / "frames.y4m"))
    assert (status, report.frames, read_y4m(tmp_path / "frames.y4m").frames) == (0, 12, 12)
    assert judge(report, status) is None


@pytest.mark.parametrize("name", ["variable_rate.mp4", "variable_rate.mkv"])
def test_variable_rate_costs_and_doubles_no_frame(clips: Clips, tmp_path: Path, name: str) -> None:
    report, _, _ = decode(clips(name), str(tmp_path / "frames.y4m"))
    assert report.frames == read_y4m(tmp_path / "frames.y4m").frames == 12
    assert len(media.decode(clips(name))) == 12 * 480 * 270 * 3 // 2


@pytest.mark.parametrize(
    ("name", "failure", "message"),
    [
        ("random.mp4", "decode_error", "not a video file that ffmpeg can open: "),
        (
            "cut_before_index.mp4",
            "decode_error",
            "not a video file that ffmpeg can open: moov atom not found",
        ),
        ("audio_only.mp4", "no_video", "the file has no video stream"),
        ("audio_with_cover.mp4", "no_video", "the file has no video stream"),
        ("no_frames.mp4", "no_frames", "the video stream has no frames"),
        ("cut.mp4", "incomplete_decode", " frames decoded, then: stream 0, "),
        ("cut.mkv", "incomplete_decode", "frames decoded, then: File ended prematurely"),
        (
            "corrupt.mp4",
            "incomplete_decode",
            "24 frames decoded, 1 packet could not be: Invalid NAL unit size",
        ),
        ("resized.mp4", "decode_error", "the frame size or the pixel format changes within the clip"),
        ("resized.mkv", "decode_error", "the frame size or the pixel format changes within the clip"),
    ],
)
def test_a_fault_of_a_clip_is_reported_with_class_and_message(
    clips: Clips, name: str, failure: str, message: str
) -> None:
    found = verdict(clips(name))
    assert found is not None
    assert found[0] == failure
    assert message in found[1]


def test_an_mkv_cut_between_two_packets_is_reported(tmp_path: Path) -> None:
    data = keyframes(tmp_path / "whole.mkv").read_bytes()
    fifth = block_positions(data)[4]
    (tmp_path / "cut.mkv").write_bytes(data[: data.rindex(b"\xa3", 0, fifth)])  # where its SimpleBlock begins
    found = verdict(tmp_path / "cut.mkv")
    assert found is not None
    assert found[0] == "incomplete_decode"
    assert found[1].startswith("4 frames decoded, then: File ended prematurely")


def test_cover_picture_is_not_taken_for_the_video(clips: Clips) -> None:
    report, status, _ = decode(clips("cover.mp4"))
    assert (report.width, report.height, report.frames, report.packets) == (480, 270, 25, 25)
    assert judge(report, status) is None


def test_frame_larger_than_the_limit_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    clip = tmp_path / "bomb.mkv"
    media.run_ffmpeg(
        *("-f", "lavfi", "-i", "color=s=9000x9000", "-frames:v", "1", "-pix_fmt", "gray", "-c:v", "png", clip)
    )
    assert clip.stat().st_size < 200_000
    assert verdict(clip) == (
        "too_large",
        f"frames of 9000x9000: more than extract.max_pixels = {DEFAULT_LIMITS.max_pixels}",
    )


def scripts(folder: Path, target: Path) -> dict[str, str]:
    return {
        "ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
        "ffconcat that names a protocol": f"ffconcat version 1.0\nfile 'file:{target}'\n",
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
        "sdp": "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash"><BaseURL>{target}</BaseURL></MPD>',
    }


@pytest.mark.parametrize("kind", ["ffconcat", "ffconcat that names a protocol", "hls", "sdp", "dash"])
def test_script_under_a_videos_name_reaches_no_other_file(clips: Clips, tmp_path: Path, kind: str) -> None:
    other = clips("100x100.mkv")
    (tmp_path / "x.mp4").write_text(scripts(tmp_path, other)[kind])
    report, status, stderr = decode(tmp_path / "x.mp4")
    assert status != 0
    assert (report.opened, report.frames) == (False, 0)
    assert "100x100" not in stderr
    found = judge(report, status)
    assert found is not None
    assert found[0] == "decode_error"
    assert found[1].startswith("not a video file")


def test_protocols_alone_would_let_a_script_through(clips: Clips, tmp_path: Path) -> None:
    # Why the containers are listed too: this is what the list is for.
    media.concat_script(tmp_path / "x.mp4", Path(clips("100x100.mkv").name))
    (tmp_path / "100x100.mkv").symlink_to(clips("100x100.mkv"))
    ours = input_arguments(FFMPEG, tmp_path / "x.mp4", 1 << 20)
    at = ours.index("-format_whitelist")
    for arguments, opened in ((ours[:at] + ours[at + 2 :], True), (ours, False)):
        finished = subprocess.run([*arguments, "-f", "null", "-"], stderr=subprocess.PIPE)
        assert (finished.returncode == 0) is opened
        assert read_report(finished.stderr.decode()).opened is opened
    assert not {"concat", "hls", "dash", "sdp", "image2", "lavfi"} & set(FORMATS.split(","))


def test_only_files_may_be_opened(clips: Clips, tmp_path: Path) -> None:
    arguments = input_arguments(FFMPEG, clips("plain.mp4"), 1 << 20)
    assert arguments[arguments.index("-protocol_whitelist") + 1] == "file"
    arguments[-1] = f"concat:{clips('plain.mp4')}"
    finished = subprocess.run([*arguments, "-f", "null", "-"], stderr=subprocess.PIPE)
    assert finished.returncode != 0
    assert b"not on whitelist" in finished.stderr


def test_title_of_a_clip_is_not_taken_for_a_message(clips: Clips, tmp_path: Path) -> None:
    clip = tmp_path / "titled.mkv"
    title = "[in#0/mov @ 0x1] [error] stream 0: partial file"
    forged = f"a\n{title}\n[out#0/null @ 0x1] [verbose]   Output stream #0:0 (video): 999 frames encoded"
    media.run_ffmpeg("-i", clips("100x100.mkv"), "-c", "copy", "-metadata", f"title={forged}", clip)
    report, status, stderr = decode(clip)
    assert title in stderr
    assert report.frames == 6
    assert judge(report, status) is None
    assert notes(report, "") == []


def test_concealed_errors_are_noted() -> None:
    report = replace(SOUND, errors=("error while decoding MB 16 8", "no frame"))
    assert judge(report, 0) is None
    assert notes(report, "") == ["2 decoder messages, first: error while decoding MB 16 8"]


def test_concealed_errors_of_a_real_clip_are_noted(tmp_path: Path) -> None:
    whole = media.make_clip(tmp_path / "whole.ts", size="320x180", frames=25, options=("-bf", "0"))
    cut = tmp_path / "cut.ts"  # no container tells less of where it should end
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    report, status, _ = decode(cut)
    assert judge(report, status) or notes(report, "")


@pytest.mark.parametrize(
    ("line", "damaged"),
    [
        ("[hevc @ 0x1] [warning] Skipping invalid undecodable NALU: 1", True),
        ("[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] [warning] corrupt decoded frame", True),
        ("[h264 @ 0x1] [info] concealing 12 DC, 12 AC, 12 MV errors in P frame", True),
        ("[h264 @ 0x1] [error] error while decoding MB 16 8", True),
        ("[matroska,webm @ 0x1] [error] File ended prematurely", False),
        ("[in#0/matroska,webm @ 0x1] [warning] Packet corrupt (stream = 0, dts = 17).", False),
        ("[swscaler @ 0x1] [warning] deprecated pixel format used, missing range", False),
        ("[h264 @ 0x1] [verbose] Reinit context to 480x270", False),
        ("[info]     title           : [h264 @ 0x1] [error] damaged", False),
        ("[error] Error opening input", False),
    ],
)
def test_only_a_decoder_says_that_a_clip_cannot_repeat(line: str, damaged: bool) -> None:
    report = read_report(f"[info] Input #0, matroska,webm, from 'x.mkv':\n{line}\n")
    assert bool(report.damaged) == damaged


def test_concealed_damage_is_noted_with_what_the_decoder_said() -> None:
    (note,) = notes(replace(SOUND, damaged="Skipping a NALU"), "")
    assert note == "the decoder concealed damage (Skipping a NALU): another decode may give different values"


def test_the_decoder_has_its_own_number_of_threads(tmp_path: Path) -> None:
    arguments = input_arguments(FFMPEG, tmp_path / "x.mp4", 1 << 20)
    assert arguments[arguments.index("-threads") + 1] == "1"
    assert arguments.index("-threads") < arguments.index("-i")
    assert arguments[arguments.index("-filter_complex_threads") + 1] == "1"


def test_a_short_clip_is_noted() -> None:
    assert notes(SOUND, "5 frames, the file counts 25") == [
        "shorter than it says: 5 frames, the file counts 25"
    ]


def test_process_that_died_at_once_leaves_zeros() -> None:
    report = read_report("")
    assert report == Report(False, 0, 0, "", 0, 0.0, 0.0, 0, 0, 0, 0, "", ())
    assert judge(report, -6) is None


def test_messages_of_ffmpeg_5_are_read() -> None:
    stderr = """\
[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'x.mp4':
[info]   Duration: 01:02:03.50, start: 0.000000, bitrate: 1240 kb/s
[info]   Stream #0:0[0x1](und): Video: h264 (High), yuv420p10le(progressive), 480x270, 25 fps (default)
[graph 0 input from stream 0:0 @ 0x5] [verbose] w:480 h:270 pixfmt:yuv420p10le tb:1/9 fr:30000/1001
[info] Output #0, yuv4mpegpipe, to 'frames.y4m':
[info]   Stream #0:0: Video: wrapped_avframe, yuv420p10le(progressive), 480x270 [SAR 1:1 DAR 16:9], 25 fps
[h264 @ 0x55d1] [error] Invalid NAL unit size (99 > 9).
[error] Error while decoding stream #0:0: Invalid data found when processing input
[verbose] Input file #0 (x.mp4):
[verbose]   Input stream #0:0 (video): 25 packets read (1000 bytes); 24 frames decoded;
[verbose]   Output stream #0:0 (video): 24 frames encoded; 24 packets muxed (2000 bytes);
"""
    report = read_report(stderr)
    assert report.duration == 3723.5
    assert report.fps == pytest.approx(29.97, abs=0.001)
    assert (report.width, report.height, report.bit_depth, report.pixel_format) == (
        480,
        270,
        10,
        "yuv420p10le",
    )
    assert (report.packets, report.frames, report.decode_errors) == (25, 24, 1)
    assert judge(report, 0) == (
        "incomplete_decode",
        "24 frames decoded, 1 packet could not be: Invalid NAL unit size (99 > 9).",
    )
