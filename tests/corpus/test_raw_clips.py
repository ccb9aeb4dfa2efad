"""Raw files whose geometry is known are clips, others are counted; a plan tells wrong names and sizes."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.elements import rows_of, run_slices
from support.errors_document import documented
from support.plans import config_of, refusal, write_scores

from vmafarm.common.errors import UsageError
from vmafarm.config.geometry import Geometry, read_rule
from vmafarm.config.load import load
from vmafarm.corpus.clips import list_clips
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.corpus.raw_clips import raw_geometry
from vmafarm.doctor.folders import check_clips
from vmafarm.run_folder.corpus_findings import Tally
from vmafarm.run_folder.failures import read_failures
from vmafarm.scoring.todo import find_todo

FRAME = 160 * 240 * 3 // 2
PATTERN = "{w}x{h}_{fps}fps_{bits}bit"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two raw clips of two frames, and scores for them."""
    (tmp_path / "clips/sub").mkdir(parents=True)
    samples = np.arange(2 * FRAME, dtype="<u2") % 251
    (tmp_path / "clips/a_160x240_30fps_8bit.yuv").write_bytes(samples.astype(np.uint8).tobytes())
    (tmp_path / "clips/sub/b_160x240_59.94fps_10bit_q3.YUV").write_bytes((4 * samples).tobytes())
    write_scores(tmp_path, {"a_160x240_30fps_8bit.yuv": 2.0, "b_160x240_59.94fps_10bit_q3": 3.0})
    return tmp_path


# What a name says


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (PATTERN, "x/src01_1920x1080_50fps_10bit_crf.yuv", Geometry(1920, 1080, Fraction(50), 10)),
        (PATTERN, "a_640x360_23.976fps_8bit.yuv", Geometry(640, 360, Fraction("23.976"))),
        ("{w}x{h}", "1280x720.yuv", Geometry(1280, 720)),
        ("{w}x{h} {fps}fps 10bit 422", "a_30fps_1280x720.yuv", Geometry(1280, 720, Fraction(30), 10, "422")),
        ("_{w}_{h}_yuv{chroma}p", "v2_1280_720_yuv444p.yuv", Geometry(1280, 720, None, 8, "444")),
        ("1280x720 30fps 8bit", "anything.yuv", Geometry(1280, 720, Fraction(30))),
        ("1280x720 yuv420p10le", "anything.yuv", Geometry(1280, 720, None, 10)),
        ("{w}x720", "a_1280x720.yuv", None),
        ("h{h} w{w}", "1x2/w64_h48.yuv", Geometry(64, 48)),
        ("({w}.{h})", "a(64.48).yuv", Geometry(64, 48)),
    ],
)
def test_the_name_says_the_geometry(text: str, name: str, expected: Geometry | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match=r"^h not given$"):
            read_rule(text)
    else:
        assert read_rule(text).of(name) == expected


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ("{w}x{h}", "a.yuv", "does not fit"),
        ("{w}x{h}", "1280x720/a.yuv", "does not fit"),
        ("{w}x{h}", "a_1920x1080_to_1280x720.yuv", "fits in more than one way"),
        ("{w}x{h}", "a_0x720.yuv", "says width 0, expected 16 to 16384"),
        ("{w}x{h}", "a_1280x99999.yuv", "says height 99999, expected 16 to 16384"),
        ("{w}x{h}_{fps}", "a_64x64_0.yuv", "says 0 frames per second, expected 1 to 1000"),
        ("{w}x{h}_{fps}", "a_64x64_2000.yuv", "says 2000 frames per second, expected 1 to 1000"),
        ("{w}x{h}_{bits}bit", "a_64x64_12bit.yuv", "says 12 bits, expected 8 or 10"),
        ("{w}x{h}_{chroma}", "a_64x64_411.yuv", "says chroma 411, expected 420, 422 or 444"),
        ("{w}x{h}", "a_1234567x720.yuv", "does not fit"),
        ("{w}x{h}", "a_1280x7201234.yuv", "does not fit"),
        ("{w}x{h}", "a_\u0661\u0662\u0660x720.yuv", "does not fit"),
    ],
)
def test_a_name_that_says_none(text: str, name: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"):
        read_rule(text).of(name)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{w}x{height}", "the field {height} is not one of {w}, {h}, {fps}, {bits}, {chroma}"),
        ("{fps}fps", "w and h not given"),
        ("{w}x{h} 640x480", "h is given twice"),
        ("{w}x{h}x{w}", "w is given twice"),
        ("{w}x{h", "a brace that is not part of a field"),
        ("1280x720 fast", "fast is neither a pattern nor one of 1280x720, 30fps, 10bit, 420"),
        ("1280x720 12bit", "says 12 bits, expected 8 or 10"),
        ("8x720", "says width 8, expected 16 to 16384"),
    ],
)
def test_a_geometry_of_another_form_is_refused_when_it_is_read(text: str, told: str) -> None:
    documented("a geometry of raw clips that is not understood")
    with pytest.raises(UsageError) as caught:
        load(None, [f"corpus.geometry={text}"])
    assert "corpus.geometry = " in caught.value.message
    assert told in caught.value.message
    assert "{w}x{h}_{fps}fps_{bits}bit" in caught.value.hint


# A plan


def test_raw_files_without_geometry_are_counted_and_the_key_is_named(raw: Path) -> None:
    documented("a raw file (`.yuv`) whose geometry is not known")
    (raw / "clips/c.mp4").write_bytes(b"x")
    made = plan(config_of(raw, "corpus.missing_mos=nan"))
    assert made.manifest.names == ["c.mp4"]
    assert made.counts.raw.count == 2
    text = " ".join(made.lines())
    assert "raw files without geometry, left out" in text
    assert "corpus.geometry, for example {w}x{h}_{fps}fps_{bits}bit" in text


def test_a_folder_of_nothing_but_raw_files_names_the_key(raw: Path) -> None:
    documented("a folder of raw clips without their geometry")
    refused = refusal(config_of(raw))
    assert "no clips in it" in refused.message
    assert "raw files without geometry, left out" in refused.message
    assert "corpus.geometry" in refused.hint


def test_raw_clips_are_planned_with_their_scores(raw: Path) -> None:
    config = config_of(raw, f"corpus.geometry={PATTERN}")
    made = plan(config)
    assert made.manifest.names == ["a_160x240_30fps_8bit.yuv", "sub/b_160x240_59.94fps_10bit_q3.YUV"]
    assert made.manifest.mos.tolist() == [2.0, 3.0]
    assert made.counts.raw == Tally()
    frozen = with_frozen(config_of(raw))
    assert frozen.corpus.geometry == PATTERN
    todo = find_todo(frozen.folder, frozen, made.manifest, (0,))
    assert {clip.raw for clip in todo} == {
        Geometry(160, 240, Fraction(30)), Geometry(160, 240, Fraction("59.94"), 10)
    }  # fmt: skip
    assert "can be read" in check_clips(config).message


def test_names_that_do_not_fit_are_told_in_one_message(raw: Path) -> None:
    documented("raw clips whose names or sizes do not fit their geometry")
    for number in range(4):
        (raw / f"clips/z{number}.yuv").write_bytes(b"x" * FRAME)
    refused = refusal(config_of(raw, f"corpus.geometry={PATTERN}", "corpus.missing_mos=nan"))
    assert "4 of 6 raw clips do not fit corpus.geometry" in refused.message
    assert "z0.yuv: the name does not fit" in refused.message
    assert "and 1 more" in refused.message


def test_a_size_that_is_no_multiple_of_the_frame_is_told(raw: Path) -> None:
    with (raw / "clips/a_160x240_30fps_8bit.yuv").open("ab") as file:
        file.write(b"x")
    refused = refusal(config_of(raw, f"corpus.geometry={PATTERN}"))
    assert "115,201 bytes, but a frame of 160x240, 8 bit, 4:2:0, 30 fps has 57,600" in refused.message
    assert "multiple" in refused.hint


def test_other_clips_may_lie_beside_raw_ones(raw: Path) -> None:
    (raw / "clips/c.mp4").write_bytes(b"x")
    assert len(list_clips(raw / "clips", geometry=PATTERN).names) == 3
    assert raw_geometry("c.mp4", PATTERN) is None


def test_a_plan_that_does_not_describe_its_raw_clip_is_refused() -> None:
    with pytest.raises(UsageError, match=r"which corpus\.geometry = .* does not describe"):
        raw_geometry("a.yuv", "")


# A run


def run_config(raw: Path, *settings: str):
    (raw / "scratch").mkdir()
    return config_of(
        raw, f"corpus.geometry={PATTERN}", "engine.plan=identity", "engine.audit_every=0",
        "engine.kind=ffmpeg", f"extract.scratch={raw / 'scratch'}", *settings,
    )  # fmt: skip


def test_raw_clips_are_scored_and_their_geometry_stays(raw: Path) -> None:
    plan(run_config(raw))
    config = with_frozen(config_of(raw, f"extract.scratch={raw / 'scratch'}"))
    result = run_slices(config)
    assert (result.done, result.failed) == (2, {})
    assert rows_of(config) == ["a_160x240_30fps_8bit.yuv", "sub/b_160x240_59.94fps_10bit_q3.YUV"]
    documented("another geometry for raw clips that have rows")
    with pytest.raises(UsageError, match=r"has rows of raw clips read by corpus\.geometry"):
        plan(config_of(raw, "corpus.geometry={w}x{h} 8bit"))


@pytest.mark.parametrize("change", [-FRAME, -100, FRAME])
def test_a_raw_clip_that_has_another_size_than_planned_is_found(raw: Path, change: int) -> None:
    plan(run_config(raw, "extract.retries=0"))
    config = with_frozen(config_of(raw, f"extract.scratch={raw / 'scratch'}", "extract.retries=0"))
    path = raw / "clips/a_160x240_30fps_8bit.yuv"
    os.truncate(path, path.stat().st_size + change)
    result = run_slices(config)
    assert (result.done, result.failed) == (1, {"changed": 1})
    assert [record.clip_name for record in read_failures(config.folder.failures)] == [path.name]
