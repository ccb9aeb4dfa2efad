"""Tiny clips of many codecs in many containers, made by the embedded ffmpeg."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from support import media

_X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "26")
_X265 = (
    "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:pools=none:frame-threads=1",
)  # fmt: skip
_AV1 = ("-c:v", "libsvtav1", "-preset", "12", "-crf", "40", "-svtav1-params", "lp=1")
_VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "300k")
_VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "300k")
_AAC = ("-c:a", "aac", "-b:a", "32k")


@dataclass(frozen=True)
class Pair:
    """A codec in a container.

    Attributes
    ----------
    name
        ``codec-container``, then what is special about it.
    suffix
        Of the file.
    options
        Options of the encoder and the muxer.
    size
        Width "x" height in pixels; cambi needs 216 on the longer side.
    frames
        Number of encoded frames.
    pix_fmt
        Stored pixel format.
    sound
        Encoder options of an added tone; empty: no sound.
    cut
        Input options of a second run that copies the stream, which leaves an edit list.
    """

    name: str
    suffix: str
    options: tuple[str, ...]
    size: str = "240x136"
    frames: int = 8
    pix_fmt: str = "yuv420p"
    sound: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()

    def make(self, folder: Path) -> Path:
        """Make the clip; its bytes are the same every time on one machine."""
        path = folder / f"{self.name}{self.suffix}"
        encoded = path.with_name(f"whole-{path.name}") if self.cut else path
        seconds = self.frames / 25
        tone = ("-f", "lavfi", "-i", f"sine=440:r=44100:d={seconds}") if self.sound else ()
        media.run_ffmpeg(
            *("-f", "lavfi", "-i", f"testsrc2=s={self.size}:r=25", *tone, "-frames:v", str(self.frames)),
            *("-pix_fmt", self.pix_fmt, *self.options, *self.sound),
            *("-threads", "1", "-flags:v", "+bitexact", "-fflags", "+bitexact", encoded),
        )
        if self.cut:
            media.run_ffmpeg(*self.cut, "-i", encoded, "-c", "copy", "-fflags", "+bitexact", path)
            encoded.unlink()
        return path


def _copies(codec: str, options: tuple[str, ...], *containers: str) -> list[Pair]:
    """The same stream in several containers that need nothing special."""
    return [Pair(f"{codec}-{suffix}", f".{suffix}", options) for suffix in containers]


_FRAGMENTS = ("-g", "3", "-movflags", "frag_keyframe+empty_moov+default_base_moof")

_PAIRS = (
    *_copies("h264", (*_X264, "-bf", "2", "-g", "6"), "mov", "mkv", "avi", "h264", "nut", "m2ts"),
    Pair("h264-mp4", ".mp4", (*_X264, "-bf", "2"), frames=10, sound=_AAC),
    Pair("h264-mp4-faststart", ".mp4", (*_X264, "-movflags", "+faststart", "-g", "4"), size="96x64"),
    Pair("h264-mp4-fragments", ".mp4", (*_X264, *_FRAGMENTS)),
    Pair("h264-mp4-sidx", ".mp4", (*_X264, "-g", "3", "-movflags", "dash+global_sidx+frag_keyframe")),
    Pair("h264-mp4-edit", ".mp4", (*_X264, "-bf", "2", "-g", "4"), frames=12, cut=("-ss", "0.2")),
    Pair("h264-mp4-10bit", ".mp4", _X264, pix_fmt="yuv420p10le"),
    Pair("h264-mkv-444", ".mkv", _X264, size="96x64", pix_fmt="yuv444p"),
    Pair("h264-mp4-interlaced", ".mp4", (*_X264, "-flags:v", "+ildct+ilme"), size="96x64"),
    Pair("h264-ts", ".ts", (*_X264, "-bf", "2", "-g", "6"), sound=_AAC),
    Pair("h264-flv", ".flv", (*_X264, "-g", "4"), sound=_AAC),
    Pair("h264-3gp", ".3gp", (*_X264, "-bf", "0"), size="176x144"),
    Pair("h264-mxf", ".mxf", (*_X264, "-g", "4"), size="128x96"),
    *_copies("hevc", (*_X265, "-g", "6"), "mp4", "mkv", "hevc", "ts"),
    Pair("hevc-mp4-fragments", ".mp4", (*_X265, *_FRAGMENTS, "-tag:v", "hvc1")),
    Pair("hevc-mov-10bit", ".mov", (*_X265, "-tag:v", "hvc1"), pix_fmt="yuv420p10le"),
    *_copies("vp8", _VP8, "webm", "ivf"),
    *_copies("vp9", _VP9, "mp4", "ivf"),
    Pair("vp9-webm", ".webm", _VP9, sound=("-c:a", "libopus", "-ar", "48000")),
    *_copies("av1", _AV1, "mp4", "webm", "ivf", "obu"),
    *_copies("mpeg4", ("-c:v", "mpeg4", "-q:v", "5", "-g", "4"), "avi", "mp4", "m4v"),
    Pair("mpeg4-avi-bframes", ".avi", ("-c:v", "mpeg4", "-bf", "2", "-q:v", "5"), sound=("-c:a", "mp2")),
    *_copies("mpeg2", ("-c:v", "mpeg2video", "-q:v", "5", "-bf", "2", "-g", "6"), "mpg", "ts", "mkv", "m2v"),
    Pair("mpeg2-vob", ".vob", ("-c:v", "mpeg2video", "-q:v", "5", "-g", "4"), sound=("-c:a", "mp2")),
    Pair("mpeg2-mxf", ".mxf", ("-c:v", "mpeg2video", "-q:v", "5", "-g", "4")),
    Pair("mpeg2-gxf", ".gxf", ("-c:v", "mpeg2video", "-q:v", "9", "-g", "3"), size="720x576", frames=4),
    Pair("mpeg1-mpg", ".mpg", ("-c:v", "mpeg1video", "-q:v", "5", "-g", "4")),
    *_copies("mjpeg", ("-c:v", "mjpeg", "-q:v", "6", "-strict", "-1"), "avi", "mov", "mkv"),
    *_copies("ffv1", ("-c:v", "ffv1", "-level", "3", "-g", "1", "-slicecrc", "1"), "mkv", "avi"),
    Pair("ffv1-mkv-10bit", ".mkv", ("-c:v", "ffv1"), size="96x64", pix_fmt="yuv422p10le"),
    Pair("prores-mov", ".mov", ("-c:v", "prores_ks", "-profile:v", "0"), pix_fmt="yuv422p10le"),
    Pair("dnxhr-mov", ".mov", ("-c:v", "dnxhd", "-profile:v", "dnxhr_lb"), size="256x144", pix_fmt="yuv422p"),
    Pair("dnxhr-mxf", ".mxf", ("-c:v", "dnxhd", "-profile:v", "dnxhr_lb"), size="256x144", pix_fmt="yuv422p"),
    Pair("theora-ogv", ".ogv", ("-c:v", "libtheora", "-q:v", "5", "-g", "4"), sound=("-c:a", "libvorbis")),
    Pair("wmv2-wmv", ".wmv", ("-c:v", "wmv2", "-q:v", "5", "-g", "4"), sound=("-c:a", "wmav2")),
    Pair("wmv1-asf", ".asf", ("-c:v", "wmv1", "-q:v", "5")),
    Pair("msmpeg4v3-avi", ".avi", ("-c:v", "msmpeg4", "-q:v", "5", "-g", "4")),
    Pair("flv1-flv", ".flv", ("-c:v", "flv", "-q:v", "5", "-g", "4")),
    *_copies("rawvideo", ("-c:v", "rawvideo"), "avi", "nut"),
    Pair("rawvideo-mov-uyvy", ".mov", ("-c:v", "rawvideo"), size="96x64", pix_fmt="uyvy422"),
    Pair("v210-mov", ".mov", ("-c:v", "v210"), size="96x64", pix_fmt="yuv422p10le"),
    Pair("huffyuv-avi", ".avi", ("-c:v", "huffyuv"), pix_fmt="yuv422p"),
    Pair("ffvhuff-mkv", ".mkv", ("-c:v", "ffvhuff"), size="96x64"),
    Pair("utvideo-avi", ".avi", ("-c:v", "utvideo"), size="96x64"),
    Pair("magicyuv-avi", ".avi", ("-c:v", "magicyuv"), size="96x64"),
    Pair("png-mov", ".mov", ("-c:v", "png"), size="96x64", pix_fmt="rgb24"),
    Pair("png-mkv", ".mkv", ("-c:v", "png"), size="96x64", pix_fmt="rgb24"),
    Pair("qtrle-mov", ".mov", ("-c:v", "qtrle"), size="96x64", pix_fmt="rgb24"),
    Pair("cinepak-avi", ".avi", ("-c:v", "cinepak"), size="96x64", pix_fmt="rgb24"),
    Pair("svq1-mov", ".mov", ("-c:v", "svq1"), size="96x64", pix_fmt="yuv410p"),
    Pair("cfhd-mov", ".mov", ("-c:v", "cfhd"), size="256x144", pix_fmt="yuv422p10le"),
    Pair("vc2-mkv", ".mkv", ("-c:v", "vc2"), size="96x64", pix_fmt="yuv422p"),
    Pair("jpeg2000-mxf", ".mxf", ("-c:v", "jpeg2000"), size="96x64", pix_fmt="yuv422p"),
    Pair("h263-3gp", ".3gp", ("-c:v", "h263", "-q:v", "5"), size="176x144"),
    Pair("rv20-rm", ".rm", ("-c:v", "rv20", "-q:v", "5"), size="176x144"),
    Pair("dv-dv", ".dv", ("-c:v", "dvvideo"), size="720x576", frames=3),
    Pair("dv-avi", ".avi", ("-c:v", "dvvideo"), size="720x576", frames=3),
    Pair("vvc-mp4", ".mp4", ("-c:v", "libvvenc", "-preset", "faster", "-qp", "36"), size="96x64", frames=5,
         pix_fmt="yuv420p10le"),
    Pair("y4m", ".y4m", (), size="240x136"),
)  # fmt: skip

PAIRS = {pair.name: pair for pair in _PAIRS}
"""By name."""
