"""What ffmpeg's messages report about a clip."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Report:
    """ffmpeg's messages about one clip.

    Attributes
    ----------
    opened
        The container was recognised.
    width, height
        Size of the decoded frames after rotation, in pixels; 0 without any.
    pixel_format
        Of the source, as ffmpeg names it.
    bit_depth
        Of the frames fed to libvmaf, 8 or 10; 0: ffmpeg did not say.
    fps
        Frame rate of the stream; 0 if unknown.
    duration
        Of the container in seconds; 0 if unknown.
    packets, frames, decode_errors
        Video packets read, frames written, packets that could not be decoded.
    changes
        Changes of frame size or pixel format within the clip.
    cut
        Message that the file ends too early, or "".
    errors
        Other messages at level error or worse, from the container or the video decoder.
    decoded
        Frames that the decoder put out; None: ffmpeg ended before it reported them.
    rebuilt
        How often ffmpeg rebuilt the filter graph for frames of the same size and pixel format.
    streams
        Indices of the video streams that are not attached pictures.
    codec
        Of the first of them, as ffmpeg names it, with the fourcc where the container has one.
    no_decoder
        ffmpeg has no decoder for it.
    color_range
        Range of the first frame: ``tv``, ``pc`` or ``unknown`` (always with older versions).
    container
        As ffmpeg names it, for example ``matroska,webm``; "" if not recognised.
    shown_seconds
        End of the last frame, on the same clock as `duration`; 0 without frames.
    damaged
        First message of a decoder about errors, concealed or not, so that another decode may give different
        frames; or "".
    """

    opened: bool
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
    decoded: int | None = None
    rebuilt: int = 0
    streams: tuple[int, ...] = ()
    codec: str = ""
    no_decoder: bool = False
    color_range: str = "unknown"
    container: str = ""
    shown_seconds: float = 0.0
    damaged: str = ""


_OF_LIBVMAF = re.compile(r"libvmaf (?:ERROR|WARNING|INFO|DEBUG) |est_params: covariance matrix is singular\n")
"""What libvmaf prints in ffmpeg's process, and in the middle of ffmpeg's lines: both write a line piece by
piece, each with a lock of its own. The text is that of SpEED for every frame with flat parts."""
_LINE = re.compile(r"^((?:\[[^\]]* @ 0x[0-9a-f]+\] )*)\[(\w+)\]\s*(.*)$")
_CUT = re.compile(r"partial file|ended prematurely|Error during demuxing|Truncat", re.IGNORECASE)
_GRAPH = re.compile(r"^w:(\d+) h:(\d+) pixfmt:(\S+) tb:\S+ fr:(\d+)/(\d+)(?:.* range:(\w+))?")
_CHANGED = re.compile(
    r"^filter context - w: (\d+) h: (\d+) fmt: (\d+)\b.*, incoming frame - w: (\d+) h: (\d+) fmt: (\d+)\b"
)
"""A frame that differs from those the graph was built for; formats as numbers of libavutil/pixfmt.h."""
_FULL_RANGE = {"12": "0", "13": "4", "14": "5"}
"""yuvj420p, yuvj422p and yuvj444p: yuv420p, yuv422p and yuv444p with another range."""
_STREAM = re.compile(r"^Stream #0:(\d+)\S*: Video: (\w+)")
_FOURCC = re.compile(r"\(([^()]{1,32}) / 0x[0-9A-Fa-f]{4,8}\)")
_NO_DECODER = re.compile(r"no decoder found for|^Decoder \(codec \S+\) not found")
_FED = re.compile(r"Video: .*?\b(yuv420p(?:10le)?)\b.*?, (\d+)x(\d+)")
_DURATION = re.compile(r"^Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_READ = re.compile(
    r"^Input stream #0:\d+ \(video\): (\d+) packets read .*?; (\d+) frames decoded(?:; (\d+) dec)?"
)
_WRITTEN = re.compile(r"^Output stream #0:0 \(video\): (\d+) frames encoded")
_SHOWN = re.compile(r"^frame= *\d+ .*\btime=(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_CONCEALED = re.compile(
    r"^concealing \d+ |\b(?:corrupt|damaged|invalid|missing|skipping|truncated|unavailable)\b", re.IGNORECASE
)
"""Messages below error level when decoders continue without some of the data: after HEVC's "Skipping invalid
undecodable NALU" the rest of the picture is left over from another frame."""
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
        What could be read; zeros if the process died early.
    """
    size = fed = (0, 0)
    pixel_format, depth, fps, duration, color_range = "", 0, 0.0, 0.0, "unknown"
    packets = frames = decode_errors = graphs = changes = rebuilt = 0
    opened = in_output = no_decoder = False
    decoded: int | None = None
    codec = cut = container = ""
    shown_seconds = 0.0
    streams: list[int] = []
    errors: list[str] = []
    concealed: list[tuple[str, str]] = []
    for line in _OF_LIBVMAF.sub("", stderr).splitlines():
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
            elif not in_output and "(attached pic)" not in text and (stream := _STREAM.match(text)):
                streams.append(int(stream[1]))
                codec = codec or _codec(stream[2], text)
        elif found := _DURATION.match(text):
            duration = _seconds(found)
        elif found := _SHOWN.match(text):
            shown_seconds = _seconds(found)
        elif "graph" in context and (found := _GRAPH.match(text)):
            graphs += 1
            if graphs == 1:
                size = int(found[1]), int(found[2])
                pixel_format, color_range = found[3], found[6] or color_range
                fps = float(Fraction(int(found[4]), int(found[5]))) if int(found[5]) else 0.0
            elif size == (int(found[1]), int(found[2])) and _samples(pixel_format) == _samples(found[3]):
                rebuilt += 1
            else:
                changes += 1
        elif "graph" in context and (found := _CHANGED.match(text)):
            *was, was_format, new_width, new_height, new_format = found.groups()
            same = _FULL_RANGE.get(was_format, was_format) == _FULL_RANGE.get(new_format, new_format)
            changes += was != [new_width, new_height] or not same
        elif found := _READ.match(text):
            packets, decoded = int(found[1]), int(found[2])
            decode_errors = int(found[3]) if found[3] else decode_errors
        elif found := _WRITTEN.match(text):
            frames = int(found[1])
        elif level in ("warning", "info") and context and _CONCEALED.search(text):
            concealed.append((context, text))
        elif level in ("error", "fatal", "panic"):
            if _OLD_DECODE_ERROR.match(text):
                decode_errors += 1
            no_decoder = no_decoder or bool(_NO_DECODER.search(text))
            if context.startswith(("[out#", "[vost#", "[fc#", "[null ", "[yuv4mpegpipe ")):
                continue
            if _CUT.search(text):
                cut = cut or text
            errors.append(text)
            concealed.append((context, text))
    width, height = fed if fed != (0, 0) else size
    return Report(
        opened, width, height, pixel_format, depth, fps, duration,
        packets, frames, decode_errors, changes, cut, tuple(errors),
        decoded, rebuilt, tuple(streams), codec, no_decoder, color_range, container, shown_seconds,
        next((text for context, text in concealed if _tells_damage(context, text, container)), ""),
    )  # fmt: skip


def _codec(name: str, text: str) -> str:
    fourcc = _FOURCC.search(text)
    return ("unknown" if name == "none" else name) + (f" (fourcc {fourcc[1]})" if fourcc else "")


def _seconds(found: re.Match[str]) -> float:
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])


def _tells_damage(context: str, text: str, container: str) -> bool:
    """Whether a message is from a decoder, or from a demuxer that passes on a packet known to be corrupt."""
    is_of_file = not context or context.startswith(
        ("[in#", f"[{container} @ ", "[sws", "[graph", "[Parsed", "[auto")
    )
    if _HARMLESS.search(text):
        return False
    return not is_of_file or "corrupt input packet" in text


_HARMLESS = re.compile(r"mmco: unref short failure|number of reference frames .* exceeds max")
"""Printed for sound clips that were cut out of longer ones or come from careless encoders."""


def _samples(pixel_format: str) -> str:
    """The format without the range that older versions of ffmpeg include in its name."""
    return pixel_format.replace("yuvj", "yuv")
