"""A frame whose value cannot be right is a failure, and never left out of a mean."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from standin.vmaf import write_standin
from support import media
from support.engine_helpers import broken, failure, ffmpeg_engine, score, vmaf_engine
from support.errors_document import documented

from vmafarm.engines.failure import ClipFailedError
from vmafarm.process.run import Stop, Stopped
from vmafarm.schema.features import ALL_NAN, FEATURE_NAMES, MUST_BE_FINITE
from vmafarm.scoring.frames import HIDDEN_MOTION, check_finite, check_motion, finite_frames, least_motion

Clips = Callable[[str], Path]
WIDTH, HEIGHT = 160, 120
NAN = math.nan


def write_y4m(path: Path, lumas: list[NDArray[np.integer]], depth: int = 8) -> Path:
    """A .y4m file of these luma planes, the chroma grey; also a clip that can be scored."""
    kind = "<u2" if depth > 8 else "u1"
    suffix = b" C420p10 XYSCSS=420P10" if depth > 8 else b" C420jpeg"
    height, width = lumas[0].shape
    chroma = np.full(2 * ((height + 1) // 2) * ((width + 1) // 2), 128 << depth - 8, kind).tobytes()
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W%d H%d F25:1 Ip%s\n" % (width, height, suffix))
        for luma in lumas:
            file.write(b"FRAME\n" + luma.astype(kind).tobytes() + chroma)
    return path


def noise(frames: int, depth: int = 8) -> list[NDArray[np.integer]]:
    generator = np.random.default_rng(1)
    return [generator.integers(10, 200 << depth - 8, (HEIGHT, WIDTH)) for _ in range(frames)]


CHECKERBOARD = 3 * (-1) ** np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))


# Values that are not finite


def test_features_are_infinite_on_identity_pairs_or_finite_on_every_frame() -> None:
    assert set(MUST_BE_FINITE) | {"ciede2000", "psnr_hvs"} == set(FEATURE_NAMES)
    assert not set(MUST_BE_FINITE) & set(ALL_NAN)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vmaf": [1, NAN, 2]}, "vmaf has no finite value on frame 1 of 3"),
        (
            {"cambi": [math.inf, 1, -math.inf]},
            "cambi has no finite value on 2 of 3 frames, the first is frame 0",
        ),
        (
            {name: [1, NAN] for name in FEATURE_NAMES[:5]},
            "adm2 has no finite value on frame 1 of 2; adm_scale0 has no finite value on frame 1 of 2; "
            "adm_scale1 has no finite value on frame 1 of 2, and 2 more features",
        ),
    ],
)
def test_frames_without_a_finite_value_are_named(values: dict[str, list[float]], message: str) -> None:
    arrays = {name: np.array(array, float) for name, array in values.items()}
    with pytest.raises(ClipFailedError) as caught:
        check_finite(arrays)
    assert (caught.value.failure, caught.value.message) == ("bad_frames", message)


def test_what_is_infinite_on_every_identity_pair_is_no_failure_and_does_not_count() -> None:
    values = {"ciede2000": np.full(3, NAN), "psnr_hvs": np.full(3, NAN), "motion": np.zeros(3)}
    check_finite(values)
    assert finite_frames(values, 3) == 3
    assert finite_frames({**values, "vmaf": np.array([1, NAN, 2])}, 3) == 2
    assert finite_frames({}, 3) == 3


@pytest.mark.parametrize("plan", ["full", "identity"])
@pytest.mark.parametrize(
    ("source", "frames", "pix_fmt", "repeated"),
    [
        ("color=black:s=18x18", 1, "yuv420p", 0),
        ("color=black:s=240x240", 3, "yuv420p10le", 2),
        ("smptebars=s=217x31", 3, "yuv420p", 2),
        ("mandelbrot=s=19x37", 2, "yuv420p10le", 0),
    ],
)
def test_odd_but_sound_clips_have_a_finite_value_on_every_frame(
    tmp_path: Path, plan: str, source: str, frames: int, pix_fmt: str, repeated: int
) -> None:
    clip, options = tmp_path / "clip.mkv", ("-pix_fmt", pix_fmt, "-c:v", "ffv1")
    media.run_ffmpeg("-f", "lavfi", "-i", source, "-frames:v", str(frames), *options, clip)
    found = score(ffmpeg_engine(plan), clip, tmp_path)
    assert (found.frames, found.finite_frames, found.zero_motion) == (frames, frames, repeated)
    assert found.backend == "cpu"


@pytest.mark.parametrize("plan", ["full", "identity"])
def test_a_value_that_was_dropped_on_one_frame_is_a_failure(clips: Clips, tmp_path: Path, plan: str) -> None:
    documented("a frame with a value that cannot be right")
    program = write_standin(tmp_path / "standin", misbehave="drops_value")
    error = failure(vmaf_engine(program, plan), clips("160x240.mkv"), tmp_path)
    assert (error.failure, error.message) == (
        "bad_frames", "vif_scale0 has no finite value on frame 3 of 6",
    )  # fmt: skip


def test_an_audit_whose_frames_are_bad_fails_and_costs_no_row(
    clips: Clips, standin: Path, tmp_path: Path
) -> None:
    auditor = broken(tmp_path / "other", "drops_value")
    found = score(vmaf_engine(standin, "full"), clips("160x240.mkv"), tmp_path, auditor=auditor)
    assert (found.audit, found.finite_frames) == ("failed", 6)
    assert found.notes[-1] == "audit: bad_frames: vif_scale0 has no finite value on frame 3 of 6"


# A motion of 0


@pytest.mark.parametrize("depth", [8, 10])
def test_a_motion_of_zero_is_wrong_only_where_the_picture_changes(tmp_path: Path, depth: int) -> None:
    one, two, three = noise(3, depth)
    path = write_y4m(tmp_path / "clip.y4m", [one, one, two, two, three, two], depth)
    check_motion(np.array([0, 0, 9, 0, 9, 9.0]), path)
    with pytest.raises(ClipFailedError) as caught:
        check_motion(np.array([0, 0, 9, 0, 0, 9.0]), path)
    assert (caught.value.failure, caught.value.message) == (
        "bad_frames", "motion is 0 although the picture changes on frame 4 of 6",
    )  # fmt: skip
    with pytest.raises(ClipFailedError, match=r"changes on 3 of 6 frames, the first is frame 2$"):
        check_motion(np.zeros(6), path)


@pytest.mark.parametrize("depth", [8, 10])
def test_the_least_motion_is_that_of_libvmaf_but_for_its_rounding(tmp_path: Path, depth: int) -> None:
    lumas = noise(4, depth)
    lumas[3] = lumas[2] + CHECKERBOARD  # nearly all of which the blur removes
    for luma in lumas:
        luma[:4] = luma[-4:] = luma[:, :4] = luma[:, -4:] = 100
    clip = write_y4m(tmp_path / "clip.y4m", lumas, depth)
    kind = np.uint16 if depth > 8 else np.uint8
    expected = [least_motion(one.astype(kind), two.astype(kind)) for one, two in itertools.pairwise(lumas)]
    measured = score(ffmpeg_engine(), clip, tmp_path).row["motion_mean"] * 4
    assert measured == pytest.approx(sum(expected), abs=3 / 128)
    assert expected[0] > 10
    assert 0 < expected[2] < HIDDEN_MOTION + 0.2  # the edge of what changes remains


def test_a_change_that_the_blur_of_motion_removes_is_no_failure(standin: Path, tmp_path: Path) -> None:
    """A checkerboard of 3 levels comes and goes: libvmaf's own motion is exactly 0."""
    (one,) = noise(1)
    clip = write_y4m(tmp_path / "clip.y4m", [one + 5, one + 5 + CHECKERBOARD, one + 5])
    found = score(vmaf_engine(standin), clip, tmp_path)
    assert (found.row["motion_mean"], found.zero_motion) == (0.0, 2)


def test_repeated_frames_are_counted_with_either_engine_and_cost_nothing(
    standin: Path, tmp_path: Path
) -> None:
    one, two = noise(2)
    clip = write_y4m(tmp_path / "clip.y4m", [one, one, two, two, two])
    found = [score(engine, clip, tmp_path) for engine in (ffmpeg_engine(), vmaf_engine(standin))]
    assert [one.zero_motion for one in found] == [3, 3]
    assert found[0].row == found[1].row


def test_only_frames_with_a_motion_of_zero_are_read(tmp_path: Path) -> None:
    """The file has 200 GB of holes: reading all of it would take minutes."""
    one, two = noise(2)
    path = write_y4m(tmp_path / "clip.y4m", [one])
    header, size = path.read_bytes().index(b"FRAME"), 6 + WIDTH * HEIGHT * 3 // 2
    with path.open("r+b") as file:
        file.truncate(header + 7_000_000 * size)
        file.seek(header + 6_999_999 * size + 6)
        file.write(two.astype("u1").tobytes())
    motion = np.ones(7_000_000)
    motion[[0, 1]] = 0
    with pytest.raises(ClipFailedError, match=r"on frame 1 of 7,000,000$"):
        check_motion(motion, path)
    motion[[1, 6_999_998]] = 1, 0
    check_motion(motion, path)
    motion[6_999_999] = 0
    with pytest.raises(ClipFailedError, match=r"on frame 6,999,999 of 7,000,000$"):
        check_motion(motion, path)


def test_a_stop_ends_the_reading_of_frames(tmp_path: Path) -> None:
    path = write_y4m(tmp_path / "clip.y4m", noise(1) * 2)
    stop = Stop()
    try:
        check_motion(np.zeros(2), path, stop)
        stop.set()
        with pytest.raises(Stopped):
            check_motion(np.zeros(2), path, stop)
    finally:
        stop.close()


def test_frames_that_were_cut_since_are_an_error_of_the_file(tmp_path: Path) -> None:
    path = write_y4m(tmp_path / "clip.y4m", noise(1) * 2)
    with pytest.raises(OSError, match="the decoded frames have been cut"):
        check_motion(np.zeros(3), path)


@pytest.mark.parametrize("plan", ["full", "identity"])
def test_a_motion_that_was_reset_on_one_frame_is_a_failure(clips: Clips, tmp_path: Path, plan: str) -> None:
    program = write_standin(tmp_path / "standin", misbehave="zero_motion")
    error = failure(vmaf_engine(program, plan), clips("160x240.mkv"), tmp_path)
    assert (error.failure, error.message) == (
        "bad_frames", "motion is 0 although the picture changes on frame 3 of 6",
    )  # fmt: skip
