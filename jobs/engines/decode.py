"""Decoding with ffmpeg: its arguments, and what its messages say about the clip."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from jobs.words import counted

FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,ivf,yuv4mpegpipe,h264,hevc,m4v,obu,rm,gxf,nut,dv"
)
"""Containers that hold their own frames. Playlists and scripts (concat, hls, dash), which name
other files, are not among them."""

PREPARE = "format=pix_fmts=yuv420p|yuv420p10le"
"""Filter in front of libvmaf. ffmpeg takes the nearer format: more than 8 bit a sample stays at 10,
all else becomes 8."""


DECODER_THREADS = 1
"""Damaged H.264 and HEVC decode to other frames with another number of threads (measured, ffmpeg 9), so it is
one number for all runs, whatever ``engine.threads``; and one thread for a clip is what a full machine has."""


def input_arguments(ffmpeg: Path, clip: Path, max_pixels: int) -> list[str]:
    """Open one clip and nothing else, and report in a form that `read_report` reads.

    Parameters
    ----------
    ffmpeg
        The program.
    clip
        Absolute path; ``file:`` keeps names such as ``-x.mp4`` or ``a:b.mp4`` from being options or
        protocols.
    max_pixels
        Of one frame: a larger one is refused before it is decoded, and takes no memory.
    """
    return [
        str(ffmpeg),
        *("-hide_banner", "-nostdin", "-nostats", "-y", "-loglevel", "level+verbose"),
        *("-protocol_whitelist", "file", "-format_whitelist", FORMATS),
        *("-max_pixels", str(max_pixels), "-threads", str(DECODER_THREADS), "-i", f"file:{clip}"),
    ]


@dataclass(frozen=True)
class Report:
    """What ffmpeg said about one clip.

    Attributes
    ----------
    opened
        The container was recognised.
    has_video
        It has a video stream that is not a cover picture.
    width, height
        Size of the decoded frames after rotation, in pixels; 0 if none came out.
    pixel_format
        Of the source, as ffmpeg names it.
    bit_depth
        Of the frames fed to libvmaf, 8 or 10.
    fps
        Frame rate of the stream; 0 if unknown.
    duration
        Of the container in seconds; 0 if unknown.
    packets, frames, decode_errors
        Video packets read, frames that came out, packets that could not be decoded.
    changes
        How often the frame size or the pixel format changed within the clip.
    cut
        The message that says that the file ends too early, or "".
    errors
        Other messages at level error or worse, from the container or the video decoder.
    container
        As ffmpeg names it, for example ``matroska,webm``; "" if not recognised.
    shown_seconds
        When the last frame ends, on the clock on which `duration` is the end; 0 if no frame came out.
    damaged
        The first message by which a decoder reported errors, or that it concealed some, so that another
        decode may give other frames; or "".
    """

    opened: bool
    has_video: bool
    width: int
    height: int
    pixel_format: str
    bit_depth: int
    fps: float
    duration: float
    packets: int
    frames: int
    decode_errors: int
    changes: int
    cut: str
    errors: tuple[str, ...]
    container: str = ""
    shown_seconds: float = 0.0
    damaged: str = ""


_LINE = re.compile(r"^((?:\[[^\]]* @ 0x[0-9a-f]+\] )*)\[(\w+)\]\s*(.*)$")
_CUT = re.compile(r"partial file|ended prematurely|Error during demuxing|Truncat", re.IGNORECASE)
_GIANT = re.compile(r"Picture size (\d+x\d+) exceeds specified max pixel count (\d+)")
_IMPOSSIBLE = re.compile(r"Picture size ([1-9]\d*x[1-9]\d*) is invalid")
"""ffmpeg itself takes none of 16384x16384 and more, whatever the limit."""
_GRAPH = re.compile(r"^w:(\d+) h:(\d+) pixfmt:(\S+) tb:\S+ fr:(\d+)/(\d+)")
_FED = re.compile(r"Video: .*?\b(yuv420p(?:10le)?)\b.*?, (\d+)x(\d+)")
_DURATION = re.compile(r"^Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_READ = re.compile(
    r"^Input stream #0:\d+ \(video\): (\d+) packets read .*?; (\d+) frames decoded(?:; (\d+) dec)?"
)
_WRITTEN = re.compile(r"^Output stream #0:0 \(video\): (\d+) frames encoded")
_COPIED = re.compile(r"\bOutput stream #0:0 \(video\): (\d+) packets muxed")
_SHOWN = re.compile(r"^frame= *\d+ .*\btime=(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_CONCEALED = re.compile(
    r"^concealing \d+ |\b(?:corrupt|damaged|invalid|missing|skipping|truncated|unavailable)\b", re.IGNORECASE
)
"""What decoders say below the level of errors where they go on without some of the data: HEVC's "Skipping
invalid undecodable NALU" leaves the rest of the picture as another frame had left it."""
_OLD_DECODE_ERROR = re.compile(r"^Error while decoding stream #0:")


def read_report(stderr: str) -> Report:
    """Read ffmpeg's messages at log level ``level+verbose`` (ffmpeg 5.1 to 9).

    Parameters
    ----------
    stderr
        The error output of a run that began with `input_arguments`.

    Returns
    -------
    Report
        What could be read; a process that died early leaves zeros.
    """
    size = fed = (0, 0)
    pixel_format, depth, fps, duration = "", 8, 0.0, 0.0
    packets = frames = decode_errors = graphs = 0
    opened = has_video = in_output = False
    cut = container = ""
    shown_seconds = 0.0
    errors: list[str] = []
    concealed: list[tuple[str, str]] = []
    for line in stderr.splitlines():
        matched = _LINE.match(line)
        if not matched:
            continue
        context, level, text = matched.groups()
        if text.startswith("Input #0,"):
            opened = True
            container = text.removeprefix("Input #0, ").partition(", from ")[0]
        elif text.startswith("Output #0,"):
            in_output = True
        elif "Video: " in text and text.startswith("Stream #0:"):
            if in_output and (found := _FED.search(text)):
                depth = 10 if found[1].endswith("10le") else 8
                fed = int(found[2]), int(found[3])
            elif not in_output and "(attached pic)" not in text:
                has_video = True
        elif found := _DURATION.match(text):
            duration = _seconds(found)
        elif found := _SHOWN.match(text):
            shown_seconds = _seconds(found)
        elif "graph" in context and (found := _GRAPH.match(text)):
            graphs += 1
            if graphs == 1:
                size = int(found[1]), int(found[2])
                pixel_format = found[3]
                fps = float(Fraction(int(found[4]), int(found[5]))) if int(found[5]) else 0.0
        elif found := _READ.match(text):
            packets = int(found[1])
            decode_errors = int(found[3]) if found[3] else decode_errors
        elif found := _WRITTEN.match(text):
            frames = int(found[1])
        elif level in ("warning", "info") and context and _CONCEALED.search(text):
            concealed.append((context, text))
        elif level in ("error", "fatal", "panic"):
            if _OLD_DECODE_ERROR.match(text):
                decode_errors += 1
            if context.startswith(("[out#", "[vost#", "[fc#", "[null ", "[yuv4mpegpipe ")):
                continue
            if _CUT.search(text):
                cut = cut or text
            errors.append(text)
            concealed.append((context, text))
    width, height = fed if fed != (0, 0) else size
    return Report(
        opened, has_video, width, height, pixel_format, depth, fps, duration,
        packets, frames, decode_errors, max(0, graphs - 1), cut, tuple(errors),
        container, shown_seconds,
        next((text for context, text in concealed if not _is_of_file(context, container)), ""),
    )  # fmt: skip


def _seconds(found: re.Match[str]) -> float:
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])


def _is_of_file(context: str, container: str) -> bool:
    """Whether a message is of the demuxer or of a filter, and not of a decoder; a message of nobody is."""
    return not context or context.startswith(
        ("[in#", f"[{container} @ ", "[sws", "[graph", "[Parsed", "[auto")
    )


def judge(report: Report, returncode: int) -> tuple[str, str] | None:
    """What is wrong with the clip, if ffmpeg's report shows a fault of the clip itself.

    Parameters
    ----------
    report
        From `read_report`.
    returncode
        Exit status of ffmpeg.

    Returns
    -------
    (failure class, message) or None
    """
    first = report.errors[0] if report.errors else f"exit status {returncode}"
    if "not on whitelist" in first:
        return "decode_error", "not a video file: its content is of a kind that is not read as video"
    if not report.opened:
        return "decode_error", f"not a video file that ffmpeg can open: {first}"
    if not report.has_video:
        return "no_video", "the file has no video stream"
    if found := next(filter(None, map(_GIANT.search, report.errors)), None):
        return "too_large", f"frames of {found[1]}: more than extract.max_pixels = {found[2]}"
    if found := next(filter(None, map(_IMPOSSIBLE.search, report.errors)), None):
        return "too_large", f"frames of {found[1]}: ffmpeg takes no such size"
    if report.changes:
        return "decode_error", "the frame size or the pixel format changes within the clip"
    if report.frames == 0 and (report.cut or report.decode_errors):
        return "decode_error", f"no frame could be decoded: {report.cut or first}"
    if report.frames == 0 and report.packets == 0 and report.width == 0:
        return "no_frames", "the video stream has no frames"
    if report.cut:
        return "incomplete_decode", f"{counted(report.frames, 'frame')} decoded, then: {report.cut}"
    if report.decode_errors:
        return (
            "incomplete_decode",
            f"{counted(report.frames, 'frame')} decoded, "
            f"{counted(report.decode_errors, 'packet')} could not be: {first}",
        )
    return None


def count_arguments(ffmpeg: Path, clip: Path, max_pixels: int, most: int) -> list[str]:
    """Command that reads so many frames and decodes none of them, for `read_count`."""
    return [
        *input_arguments(ffmpeg, clip, max_pixels),
        *("-map", "0:V:0", "-c", "copy", "-frames:v", str(most), "-f", "null", "-"),
    ]


def read_count(stderr: str) -> int:
    """Frames that a run with `count_arguments` found."""
    found = _COPIED.search(stderr)
    return int(found[1]) if found else 0


def notes(report: Report, short: str) -> list[str]:
    """What is worth knowing of a clip that was decoded.

    Parameters
    ----------
    report
        Of the decode.
    short
        How the clip is shorter than its file says, or "".
    """
    found = []
    if report.errors:
        found.append(f"{counted(len(report.errors), 'decoder message')}, first: {report.errors[0]}")
    if report.damaged:
        first = "" if report.damaged in report.errors else f" ({report.damaged})"
        found.append(f"the decoder concealed damage{first}: another decode may give other values")
    if short:
        found.append(f"shorter than it says: {short}")
    return found
