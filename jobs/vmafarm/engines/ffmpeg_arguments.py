"""Decoding with ffmpeg: its arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vmafarm.config.geometry import Geometry

FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,ivf,yuv4mpegpipe,h264,hevc,m4v,obu,rm,gxf,nut,dv"
)
"""Containers with their own frames. Playlists and scripts (concat, hls, dash), which name other files, are
excluded."""

PREPARE = "format=pix_fmts=yuv420p|yuv420p10le"
"""Filter before libvmaf. ffmpeg takes the nearer format: more than 8 bits per sample become 10, others 8."""

DECODER_THREADS = 1
"""Damaged H.264, HEVC, AV1 and MPEG-4 decode to different frames with a different number of threads
(measured, ffmpeg 9), so it is the same for all runs, whatever ``engine.threads``; a busy machine has one per
clip anyway."""

FILTER_THREADS = 1
"""Of the filter graph; ffmpeg's default follows the number of processors. Sound 4:1:0 is converted to
different samples with a different number of them (measured, ffmpeg 9): values would depend on the host."""

_COPIED = re.compile(r"\bOutput stream #0:0 \(video\): (\d+) packets muxed")
_COUNTED = re.compile(r"\bInput stream #0:(\d+) \(video\): (\d+) packets read")


@dataclass(frozen=True)
class Reading:
    """How a clip is read.

    Attributes
    ----------
    stream
        Specifier of the video stream within the file. ``V:0`` is the first one that is not an attached
        picture.
    keep_range
        Range of the first frame, as ffmpeg names it: keep the filter graph made for it if colour matrix,
        range or rotation change later. Each frame then reaches libvmaf as it is stored. ffmpeg's default,
        with "", rebuilds the graph, which restarts libvmaf and converts the colours of later frames to those
        of the first. Only for frames of one size and pixel format: filters read as many bytes as the graph
        expects.
    raw
        Geometry of a raw clip; None: the file itself says it.
    """

    stream: str = "V:0"
    keep_range: str = ""
    raw: Geometry | None = None

    def graph(self) -> str:
        """Filters between the decoder and libvmaf, with the label of their input."""
        # Conversion to 4:2:0 would also convert from a later matrix and range to the first.
        same = f"setparams=colorspace=unknown:range={self.keep_range}," if self.keep_range else ""
        return f"[0:{self.stream}]{same}{PREPARE}"

    def notes(self) -> list[str]:
        """Remarks on a clip that was read like this."""
        found = []
        if self.stream != FIRST.stream:
            found.append(f"stream {self.stream} is scored: the first video stream is a picture")
        if self.keep_range:
            found.append("colour or rotation changes within the clip: every frame is scored as it is stored")
        return found


FIRST = Reading()
"""How every clip is read first; `vmafarm.scoring.decode.read_again` decides which are read again."""


def input_arguments(ffmpeg: Path, clip: Path, max_pixels: int, reading: Reading = FIRST) -> list[str]:
    """Open one clip and nothing else, with messages that `read_report` can read.

    Parameters
    ----------
    ffmpeg
        The program.
    clip
        Absolute path; ``file:`` keeps names such as ``-x.mp4`` or ``a:b.mp4`` from being options or
        protocols.
    max_pixels
        Limit of one frame: a larger one is refused before it is decoded and takes no memory.
    reading
        How the clip is read.
    """
    return [
        str(ffmpeg),
        *("-hide_banner", "-nostdin", "-nostats", "-y", "-loglevel", "level+verbose"),
        *("-filter_complex_threads", str(FILTER_THREADS)),
        *("-protocol_whitelist", "file", "-format_whitelist", "rawvideo" if reading.raw else FORMATS),
        *("-max_pixels", str(max_pixels), "-threads", str(DECODER_THREADS)),
        *(("-reinit_filter", "0") if reading.keep_range else ()),
        *_raw_arguments(reading.raw),
        *("-i", f"file:{clip}"),
    ]


def _raw_arguments(raw: Geometry | None) -> tuple[str, ...]:
    if raw is None:
        return ()
    return (
        *("-f", "rawvideo", "-pixel_format", raw.pixel_format, "-video_size", f"{raw.width}x{raw.height}"),
        *(("-framerate", str(raw.fps)) if raw.fps is not None else ()),
    )


def decode_arguments(
    ffmpeg: Path, clip: Path, max_pixels: int, most: int, reading: Reading = FIRST
) -> list[str]:
    """Command that decodes at most `most` frames to 4:2:0; the output is still to be added."""
    return [
        *input_arguments(ffmpeg, clip, max_pixels, reading),
        *("-lavfi", f"{reading.graph()}[frames]", "-map", "[frames]", "-fps_mode", "passthrough"),
        *("-frames:v", str(most)),
    ]


def y4m_arguments(target: str) -> tuple[str, ...]:
    """Output of `decode_arguments`: a .y4m file in the working folder."""
    # More than 8 bits in .y4m is an extension that ffmpeg has to be told to allow.
    return ("-strict", "-1", "-f", "yuv4mpegpipe", target)


def count_arguments(
    ffmpeg: Path, clip: Path, max_pixels: int, most: int, streams: Iterable[str] = (FIRST.stream,),
    reading: Reading = FIRST,
) -> list[str]:  # fmt: skip
    """Command that reads at most `most` frames of each stream and decodes none, for `read_count(s)`."""
    return [
        *input_arguments(ffmpeg, clip, max_pixels, reading),
        *(word for stream in streams for word in ("-map", f"0:{stream}")),
        *("-c", "copy", "-frames:v", str(most), "-f", "null", "-"),
    ]


def read_counts(stderr: str) -> dict[int, int]:
    """Packets that a run with `count_arguments` read, by stream index."""
    return {int(found[1]): int(found[2]) for found in _COUNTED.finditer(stderr)}


def read_count(stderr: str) -> int:
    """Frames that a run with `count_arguments` found."""
    found = _COPIED.search(stderr)
    return int(found[1]) if found else 0
