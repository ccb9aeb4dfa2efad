"""Decoding with ffmpeg: its arguments, and what its messages report of a clip."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,ivf,yuv4mpegpipe,h264,hevc,m4v,obu,rm,gxf,nut,dv"
)
"""Containers that hold their own frames. Playlists and scripts (concat, hls, dash), which name
other files, are not among them."""

PREPARE = "format=pix_fmts=yuv420p|yuv420p10le"
"""Filter in front of libvmaf. ffmpeg takes the nearer format: more than 8 bit a sample stays at 10,
all else becomes 8."""


@dataclass(frozen=True)
class Reading:
    """How a clip is read.

    Attributes
    ----------
    stream
        Specifier of the video stream within the file. ``V:0`` is the first one that is not an attached
        picture.
    keep_range
        Range of the first frame, as ffmpeg names it: keep the filter graph made for it where colour matrix,
        range or rotation change later. Each frame then reaches libvmaf as it is stored. ffmpeg's default,
        with "", builds another graph, which starts libvmaf anew and converts the colours of the later
        frames to those of the first. Only for frames of one size and pixel format: filters read as many
        bytes as the graph says.
    """

    stream: str = "V:0"
    keep_range: str = ""

    def graph(self) -> str:
        """Filters between the decoder and libvmaf, with the label of their input."""
        # What is converted to 4:2:0 would also be converted from a later matrix and range to the first.
        same = f"setparams=colorspace=unknown:range={self.keep_range}," if self.keep_range else ""
        return f"[0:{self.stream}]{same}{PREPARE}"

    def notes(self) -> list[str]:
        """What is worth knowing of a clip that was read like this."""
        found = []
        if self.stream != FIRST.stream:
            found.append(f"stream {self.stream} is scored: the first video stream is a picture")
        if self.keep_range:
            found.append("colour or rotation changes within the clip: every frame is scored as it is stored")
        return found


FIRST = Reading()
"""How every clip is read at first; `jobs.frames.read_again` says which ones are read in another way."""


def input_arguments(
    ffmpeg: Path, clip: Path, threads: int, max_pixels: int, reading: Reading = FIRST
) -> list[str]:
    """Open one clip and nothing else, and report in a form that `read_report` reads.

    Parameters
    ----------
    ffmpeg
        The program.
    clip
        Absolute path; ``file:`` keeps names such as ``-x.mp4`` or ``a:b.mp4`` from being options or
        protocols.
    threads
        Decoder threads.
    max_pixels
        Of one frame: a larger one is refused before it is decoded, and takes no memory.
    reading
        How the clip is read.
    """
    return [
        str(ffmpeg),
        *("-hide_banner", "-nostdin", "-nostats", "-y", "-loglevel", "level+verbose"),
        *("-protocol_whitelist", "file", "-format_whitelist", FORMATS),
        *("-max_pixels", str(max_pixels), "-threads", str(threads)),
        *(("-reinit_filter", "0") if reading.keep_range else ()),
        *("-i", f"file:{clip}"),
    ]


@dataclass(frozen=True)
class Report:
    """What ffmpeg said about one clip.

    Attributes
    ----------
    opened
        The container was recognised.
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
    decoded
        Frames that the decoder gave out; None: ffmpeg ended before it said so.
    rebuilt
        How often ffmpeg built the filter graph anew for frames of the same size and pixel format.
    streams
        Indices of the video streams that are not attached pictures.
    codec
        Of the first of them, as ffmpeg names it, with the fourcc where the container has one.
    no_decoder
        ffmpeg has no decoder for it.
    color_range
        Of the first frame: ``tv``, ``pc`` or ``unknown``, as older versions leave it.
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


_LINE = re.compile(r"^((?:\[[^\]]* @ 0x[0-9a-f]+\] )*)\[(\w+)\]\s*(.*)$")
_CUT = re.compile(r"partial file|ended prematurely|Error during demuxing|Truncat", re.IGNORECASE)
_GRAPH = re.compile(r"^w:(\d+) h:(\d+) pixfmt:(\S+) tb:\S+ fr:(\d+)/(\d+)(?:.* range:(\w+))?")
_CHANGED = re.compile(
    r"^filter context - w: (\d+) h: (\d+) fmt: (\d+)\b.*, incoming frame - w: (\d+) h: (\d+) fmt: (\d+)\b"
)
"""A frame unlike those that the graph was built for; formats by their numbers in libavutil/pixfmt.h."""
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
_COPIED = re.compile(r"\bOutput stream #0:0 \(video\): (\d+) packets muxed")
_COUNTED = re.compile(r"\bInput stream #0:(\d+) \(video\): (\d+) packets read")
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
    pixel_format, depth, fps, duration, color_range = "", 8, 0.0, 0.0, "unknown"
    packets = frames = decode_errors = graphs = changes = rebuilt = 0
    opened = in_output = no_decoder = False
    decoded: int | None = None
    codec = cut = ""
    streams: list[int] = []
    errors: list[str] = []
    for line in stderr.splitlines():
        matched = _LINE.match(line)
        if not matched:
            continue
        context, level, text = matched.groups()
        if text.startswith("Input #0,"):
            opened = True
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
            duration = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
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
        elif level in ("error", "fatal", "panic"):
            if _OLD_DECODE_ERROR.match(text):
                decode_errors += 1
            no_decoder = no_decoder or bool(_NO_DECODER.search(text))
            if context.startswith(("[out#", "[vost#", "[fc#", "[null ", "[yuv4mpegpipe ")):
                continue
            if _CUT.search(text):
                cut = cut or text
            errors.append(text)
    width, height = fed if fed != (0, 0) else size
    return Report(
        opened, width, height, pixel_format, depth, fps, duration,
        packets, frames, decode_errors, changes, cut, tuple(errors),
        decoded, rebuilt, tuple(streams), codec, no_decoder, color_range,
    )  # fmt: skip


def _codec(name: str, text: str) -> str:
    fourcc = _FOURCC.search(text)
    return ("unknown" if name == "none" else name) + (f" (fourcc {fourcc[1]})" if fourcc else "")


def _samples(pixel_format: str) -> str:
    """The format without the range that older versions of ffmpeg put into its name."""
    return pixel_format.replace("yuvj", "yuv")


def decode_arguments(
    ffmpeg: Path, clip: Path, threads: int, max_pixels: int, most: int, reading: Reading = FIRST
) -> list[str]:
    """Command that decodes so many frames to 4:2:0; what to write them as is still to be added."""
    return [
        *input_arguments(ffmpeg, clip, threads, max_pixels, reading),
        *("-lavfi", f"{reading.graph()}[frames]", "-map", "[frames]", "-fps_mode", "passthrough"),
        *("-frames:v", str(most)),
    ]


def count_arguments(
    ffmpeg: Path, clip: Path, max_pixels: int, most: int, streams: Iterable[str] = (FIRST.stream,)
) -> list[str]:
    """Command that reads so many frames of each stream and decodes none, for `read_count`, `read_counts`."""
    return [
        *input_arguments(ffmpeg, clip, 1, max_pixels),
        *(word for stream in streams for word in ("-map", f"0:{stream}")),
        *("-c", "copy", "-frames:v", str(most), "-f", "null", "-"),
    ]


def read_counts(stderr: str) -> dict[int, int]:
    """Packets that a run with `count_arguments` read of each stream, by its index."""
    return {int(found[1]): int(found[2]) for found in _COUNTED.finditer(stderr)}


def read_count(stderr: str) -> int:
    """Frames that a run with `count_arguments` found."""
    found = _COPIED.search(stderr)
    return int(found[1]) if found else 0
