"""Raw clips give the values of the same frames in a file with a header, with either engine."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from support import media
from support.engine_helpers import failure, ffmpeg_engine, score, vmaf_engine

from vmafarm.config.geometry import Geometry
from vmafarm.engines.base import Engine
from vmafarm.engines.declared import missing, read_declared, shortfall
from vmafarm.engines.ffmpeg_report import read_report

_KINDS = [(size, bits, chroma) for size in ("160x240", "99x101") for bits in (8, 10) for chroma in ("420",)]
_KINDS += [("160x240", 8, "422"), ("160x240", 10, "444")]


def make_pair(
    folder: Path, size: str, bits: int, chroma: str, rate: str = "30"
) -> tuple[Path, Path, Geometry]:
    """The same three frames as .yuv and .y4m."""
    width, height = map(int, size.split("x"))
    geometry = Geometry(width, height, Fraction(rate), bits, chroma)
    raw, y4m = folder / "frames.yuv", folder / "frames.y4m"
    graph = f"testsrc2=size=320x320:rate={rate},format={geometry.pixel_format},crop={width}:{height}:exact=1"
    source = ("-f", "lavfi", "-i", graph)
    media.run_ffmpeg(*source, "-frames:v", "3", "-strict", "-1", "-f", "yuv4mpegpipe", y4m)
    media.run_ffmpeg("-i", y4m, "-f", "rawvideo", raw)
    return raw, y4m, geometry


@pytest.mark.parametrize(("size", "bits", "chroma"), _KINDS)
def test_raw_frames_score_as_those_of_y4m_bit_for_bit(
    tmp_path: Path, standin: Path, size: str, bits: int, chroma: str
) -> None:
    raw, y4m, geometry = make_pair(tmp_path, size, bits, chroma)
    assert raw.stat().st_size == 3 * geometry.frame_bytes
    for engine in (ffmpeg_engine(), vmaf_engine(standin)):
        one = score(engine, raw, tmp_path, raw=geometry)
        other = score(engine, y4m, tmp_path)
        assert repr({**one.row, "clip_name": ""}) == repr({**other.row, "clip_name": ""})
        assert (one.row["width"], one.row["height"]) == (geometry.width, geometry.height)
        for field in ("frames", "fps", "pixel_format", "bit_depth", "short", "notes"):
            assert getattr(one, field) == getattr(other, field), field
        assert (one.frames, one.fps, one.pixel_format) == (3, 30.0, geometry.pixel_format)
        assert (one.declared_frames, one.bit_depth) == (3, bits)


def test_the_frame_rate_is_the_named_one_and_0_where_none_is(tmp_path: Path, engine: Engine) -> None:
    raw, _, geometry = make_pair(tmp_path, "160x240", 8, "420", "24000/1001")
    assert score(engine, raw, tmp_path, raw=geometry).fps == pytest.approx(24000 / 1001, abs=1e-9)
    unknown = Geometry(geometry.width, geometry.height)
    assert score(engine, raw, tmp_path, raw=unknown).fps == 0.0


def test_a_raw_clip_that_begins_like_a_container_is_read_as_frames(tmp_path: Path, engine: Engine) -> None:
    raw, _, geometry = make_pair(tmp_path, "160x240", 8, "420")
    frames = bytearray(raw.read_bytes())
    frames[:12] = b"RIFF\x04\0\0\0AVI "
    raw.write_bytes(frames)
    assert score(engine, raw, tmp_path, raw=geometry).frames == 3
    frames[:8] = b"\0\0\0\x20moov"
    raw.write_bytes(frames)
    assert score(engine, raw, tmp_path, raw=geometry).frames == 3


def test_a_raw_clip_that_ends_within_a_frame_gives_no_row(tmp_path: Path, engine: Engine) -> None:
    raw, _, geometry = make_pair(tmp_path, "160x240", 8, "420")
    raw.write_bytes(raw.read_bytes()[:-100])
    failed = failure(engine, raw, tmp_path, raw=geometry)
    assert failed.failure == "incomplete_decode"
    assert "2 frames decoded, 1 packet could not be" in failed.message
    assert read_declared(raw, geometry).cut == "it ends 57,500 bytes into a frame of 57,600"


def test_a_raw_clip_with_too_many_frames_is_set_aside_by_its_size(tmp_path: Path, engine: Engine) -> None:
    raw = tmp_path / "long.yuv"
    with raw.open("wb") as file:
        file.truncate(20_001 * 16 * 16 * 3 // 2)
    failed = failure(engine, raw, tmp_path, raw=Geometry(16, 16))
    assert (failed.failure, failed.limit) == ("too_large", "max_frames")
    assert "20,001 frames" in failed.message


def test_frames_that_do_not_come_out_are_missed(tmp_path: Path) -> None:
    raw, _, geometry = make_pair(tmp_path, "160x240", 8, "420")
    declared = read_declared(raw, geometry)
    assert (declared.frames, declared.exact, declared.cut) == (3, True, "")
    nothing = read_report("")
    assert missing(declared, replace(nothing, frames=3)) == ""
    assert missing(declared, replace(nothing, frames=2)) == "its size is that of 3 frames, 2 came out"
    assert shortfall(declared, replace(nothing, frames=3)) == ""


@pytest.mark.parametrize("side", [16_384, 16_000])
def test_frames_of_the_largest_size_are_set_aside_not_read(tmp_path: Path, engine: Engine, side: int) -> None:
    raw = tmp_path / "giant.yuv"
    with raw.open("wb") as file:
        file.truncate(side * side * 3 // 2)
    failed = failure(engine, raw, tmp_path, raw=Geometry(side, side))
    assert (failed.failure, failed.limit) == ("too_large", "max_pixels")


def test_a_name_cannot_be_an_option_of_ffmpeg(tmp_path: Path, engine: Engine) -> None:
    raw, _, geometry = make_pair(tmp_path, "160x240", 8, "420")
    named = raw.rename(tmp_path / "-i 'concat:a|b' 160x240.yuv")
    assert score(engine, named, tmp_path, raw=geometry).frames == 3
