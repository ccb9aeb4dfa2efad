"""`vmafarm plot`: the picture of one clip's frames, and one message where there is none to draw."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.command import call
from support.errors_document import documented
from support.frames_tables import write_frames
from support.merge_helpers import NAN, Run, make_row, plan_run

from vmafarm.publish import deliver
from vmafarm.report.clip_plot import Curve, draw_clip
from vmafarm.schema.features import FULL, MUST_MEASURE

FRAMES = 120
CLIPS = [f"{letter}/orig_{number}.mp4" for letter in "ab" for number in range(3)]


def values(number: int, frames: int = FRAMES) -> dict[str, np.ndarray]:
    """Motion and vmaf vary, cambi lacks some frames, and ADM and VIF are 1 but for rounding."""
    at = np.arange(frames)
    found = dict.fromkeys(MUST_MEASURE, 1 + 1e-06 * (at % 3))
    found["motion"] = number + np.abs(np.sin(at / 9))
    found["vmaf"] = 98 + np.cos(at / 20)
    found["cambi"] = np.where(at < 10, NAN, at % 7 / 10)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A published run of six clips in two slices that kept its frames."""
    run = plan_run(tmp_path / "runs", CLIPS, slices=2)
    run.freeze()
    for number in range(2):
        mine = CLIPS[number::2]
        run.shard([make_row(name) for name in mine], number)
        run.log_clips(dict.fromkeys(mine, 1.0), number)  # 120 frames, 25 in a second
    section = run.config.merge.model_copy(update={"checks": False})
    deliver(run.config.model_copy(update={"merge": section}), lambda _: None)
    publish_frames(run)
    return run


def publish_frames(run: Run) -> Path:
    clips = {name: values(number) for number, name in enumerate(CLIPS)}
    return write_frames(run.folder.frames_table, clips, run.provenance, run.folder.table)


def plot(run: Run, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    return call("plot", *words, cwd=run.folder.root.parent, status=status)


def refused(run: Run, *words: str, status: int = 2) -> str:
    """The message; it is one, and no picture is there."""
    said = plot(run, *words, status=status)
    here = run.folder.root.parent
    assert not [path for path in here.iterdir() if path.suffix in (".svg", ".png", ".tmp")]
    assert said.stderr.count("error: ") == 1
    assert not said.stdout
    return said.stderr


def texts(svg: bytes) -> list[str]:
    """All that can be read in a picture."""
    return [
        "".join(found.itertext()).strip() for found in ET.fromstring(svg).iter() if found.tag[-4:] == "text"
    ]


def test_a_clip_is_drawn_with_the_features_that_vary_in_it(run: Run) -> None:
    said = plot(run, "b/orig_1.mp4")
    picture = (run.folder.root.parent / "orig_1.svg").read_bytes()
    shown = texts(picture)
    assert re.search(r"^written: orig_1.svg, 3 features, 120 frames, \d+\.\d kB$", said.stdout, re.MULTILINE)
    assert "left out: they do not vary in this clip (--features draws them): adm2," in said.stderr
    assert [name for name in shown if name in FULL.names] == ["motion", "cambi", "vmaf"]
    assert "b/orig_1.mp4" in shown
    assert "120 frames; 5s at 25 frames per second; dashed: mean; grey: no value" in shown
    assert "time in seconds" in shown
    assert shown.count("luma levels") == 1
    assert f"mean {4 + np.abs(np.sin(np.arange(120) / 9)).mean():.5g}, std 0.312" in shown
    assert any(text.endswith("10 of 120 frames without a value") for text in shown)


def test_features_are_drawn_as_they_are_named_whether_they_vary_or_not(run: Run) -> None:
    said = plot(run, CLIPS[0], "--features", "vmaf, adm2", "-o", "x.PNG")
    picture = (run.folder.root.parent / "x.PNG").read_bytes()
    assert "written: x.PNG, 2 features, 120 frames" in said.stdout
    assert "left out" not in said.stderr
    assert picture.startswith(b"\x89PNG")
    assert struct.unpack(">I", picture[16:20]) == (1200,)


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_same_frames_give_the_same_bytes_whatever_the_user_has_set(run: Run, kind: str) -> None:
    here = run.folder.root.parent
    first = f"1.{kind}"
    plot(run, CLIPS[0], "-o", first)
    (here / "matplotlibrc").write_text("lines.linewidth: 9\nsvg.hashsalt: x\nfont.size: 30\n")
    plot(run, CLIPS[0], "-o", f"2.{kind}")
    assert (here / first).read_bytes() == (here / f"2.{kind}").read_bytes()
    assert b"matplotlib.org" not in (here / first).read_bytes()  # nor the version that drew it


def test_a_picture_has_a_ground_of_its_own_and_takes_no_colour_from_a_page() -> None:
    svg = draw_clip("c.mp4", [Curve(FULL.by_name["vmaf"], np.array([1.0, 2.0]))], None, "svg").decode()
    assert "currentColor" not in svg
    assert "var(" not in svg
    assert "#ffffff" in svg


def test_a_gap_is_grey_and_a_value_between_two_gaps_is_a_dot() -> None:
    several = np.array([1.0, NAN, 2.0, NAN, NAN, 3.0, 4.0])
    drawn = [draw_clip("c.mp4", [Curve(FULL.by_name["vmaf"], one)], None, "svg").decode() for one in (
        several, several[5:],
    )]  # fmt: skip
    grey = [svg.count("fill: #e7e9ec") for svg in drawn]
    dots = [svg.count("<use") for svg in drawn]
    assert grey == [2, 0]
    assert dots[0] > dots[1]
    assert "frame, from 0" in texts(drawn[0].encode())


def test_a_clip_of_any_length_is_drawn_and_no_peak_is_lost() -> None:
    values = np.random.default_rng(1).normal(50, 1, 100_000)
    values[77_777] = 99.5
    svg = draw_clip("c.mp4", [Curve(FULL.by_name["vmaf"], values)], 25.0, "svg")
    shown = texts(svg)
    assert len(svg) < 2_000_000
    assert "time in minutes" in shown
    assert any(
        text.startswith("100,000 frames; 1h 06m at 25 frames per second; dark: mean of 167 frames;")
        for text in shown
    )
    paths = re.findall(rb'<path d="([^"]+)"', svg)
    longest = max(paths, key=len)
    heights = [float(pair[1]) for pair in re.findall(rb"[ML] ([\d.]+) ([\d.]+)", longest)]
    assert np.median(heights) - min(heights) > 10 * (np.median(heights) - np.percentile(heights, 5)) / 3


@pytest.mark.parametrize("frames", [1, 2])
def test_a_clip_of_one_frame_or_without_a_value_is_drawn(frames: int) -> None:
    for value in (0.0, 98.0, NAN):
        svg = draw_clip("c.mp4", [Curve(FULL.by_name["vmaf"], np.full(frames, value))], 25.0, "svg")
        assert ("no frame has a value" in texts(svg)) == np.isnan(value)


@pytest.mark.parametrize(
    "name", ["$x^2_$.mp4", "a\n<b>&'\"\x1b[31m.mp4", "\N{CJK UNIFIED IDEOGRAPH-4E2D}.mp4", "x" * 255]
)
def test_any_name_is_text_and_no_markup(name: str) -> None:
    for kind in ("svg", "png"):
        picture = draw_clip(name, [Curve(FULL.by_name["vmaf"], np.arange(3.0))], 25.0, kind)
        if kind == "svg":
            escaped = name.replace("\n", "\\n").replace("\x1b", "\\x1b")
            whole = [text for text in texts(picture) if text.replace(" ... ", "x" * 500)[:60] == escaped[:60]]
            assert len(whole) == 1


def test_a_file_is_named_after_the_clip_in_plain_characters(run: Run) -> None:
    clips = {"x/-a b;$(c)\n.mp4": values(1)}
    alone = write_frames(run.folder.root / "kept.frames.parquet", clips, run.provenance)
    said = plot(run, "--table", str(alone), "--", next(iter(clips)))
    assert "written: a_b___c__.svg" in said.stdout


def test_a_frames_table_alone_is_drawn_by_frame_numbers_and_found_by_its_table(run: Run) -> None:
    here = run.folder.root.parent
    kept = here / "kept.frames.parquet"
    kept.write_bytes(run.folder.frames_table.read_bytes())
    plot(run, CLIPS[0], "--table", "kept.frames.parquet", "-o", "1.svg")
    assert "frame, from 0" in texts((here / "1.svg").read_bytes())
    (here / "kept.parquet").write_bytes(run.folder.table.read_bytes())
    plot(run, CLIPS[0], "--table", "kept.parquet", "-o", "2.svg")
    assert (here / "1.svg").read_bytes() == (here / "2.svg").read_bytes()


def test_the_rate_of_a_clip_is_not_taken_from_a_damaged_or_another_log(run: Run) -> None:
    log = run.folder.clip_log(0, "w")
    log.write_bytes(log.read_bytes()[:-9])
    plot(run, CLIPS[0], "-o", "1.svg")
    assert "frame, from 0" in texts((run.folder.root.parent / "1.svg").read_bytes())
    run.log_clips(dict.fromkeys(CLIPS[::2], 1.0), 0, frames=FRAMES - 1)
    plot(run, CLIPS[0], "-o", "2.svg")
    assert "frame, from 0" in texts((run.folder.root.parent / "2.svg").read_bytes())


# What cannot be drawn


def test_a_run_that_keeps_no_frames_says_how_to_keep_them(run: Run) -> None:
    documented("a plot of a run that keeps no frames")
    run.folder.frames_table.unlink()
    said = refused(run, CLIPS[0])
    assert 'the run "demo" does not keep the values of frames (engine.frames is false)' in said
    assert "vmafarm run --frames --run NAME" in said


def test_a_run_that_keeps_frames_but_has_no_frames_table_is_merged_again(run: Run) -> None:
    run.folder.frames_table.unlink()
    kept = run.config.model_copy(update={"engine": run.config.engine.model_copy(update={"frames": True})})
    Run(run.folder, kept, run.provenance).freeze()
    said = refused(run, CLIPS[0], status=1)
    assert (
        "full_features_demo.frames.parquet is not there, although the run keeps the values of frames" in said
    )
    assert "vmafarm merge --run demo" in said


def test_a_run_that_is_not_merged_says_so(run: Run) -> None:
    documented("a plot of a run that is not merged")
    run.folder.table.unlink()
    said = refused(run, CLIPS[0])
    assert 'the run "demo" is not merged yet' in said
    assert "vmafarm merge --run demo" in said


def test_frames_of_another_merge_are_not_drawn(run: Run) -> None:
    documented("a frames table of another merge")
    with run.folder.table.open("ab") as file:
        file.write(b" ")
    said = refused(run, CLIPS[0], status=1)
    assert "was published with another table than full_features_demo.parquet beside it" in said
    assert "vmafarm merge --run demo" in said
    said = refused(run, CLIPS[0], "--table", str(run.folder.frames_table), status=1)
    assert "move one of both away" in said


@pytest.mark.parametrize(
    ("clip", "hint"),
    [
        ("orig_1.mp4", "did you mean a/orig_1.mp4 or b/orig_1.mp4?"),
        ("A/ORIG_1", "did you mean a/orig_1.mp4?"),
        ("b/orig_9.mp4", "did you mean b/orig_"),
        ("zzz", "such as a/orig_0.mp4"),
        ("", "such as a/orig_0.mp4"),
    ],
)
def test_a_clip_that_is_not_there_is_one_message_with_those_like_it(run: Run, clip: str, hint: str) -> None:
    documented("a clip to plot that is not in the table")
    said = refused(run, clip)
    assert f"error: there is no clip {clip or '(an empty name)'} in " in said
    assert hint in said


def test_a_frames_table_without_clips_is_one_message(run: Run) -> None:
    path = run.folder.frames_table
    pq.ParquetWriter(path, pq.read_schema(path)).close()
    assert "full_features_demo.frames.parquet has no clips" in refused(run, CLIPS[0])


@pytest.mark.parametrize(
    ("features", "what"),
    [
        ("motoin,vmaf", "motoin is not in full_features_demo.frames.parquet, expected motion\n"),
        ("vmaf_mean", "vmaf_mean is not in full_features_demo.frames.parquet, expected vmaf\n"),
        ("vmaf,", "an empty name is not in full_features_demo.frames.parquet, expected one of adm2, "),
        (
            "psnr_y",
            "psnr_y has no values by frame in full_features_demo.frames.parquet: it was filled in, not",
        ),
    ],
)
def test_a_feature_that_is_not_there_is_one_message(run: Run, features: str, what: str) -> None:
    documented("a feature to plot that the frames do not have")
    assert what in refused(run, CLIPS[0], "--features", features)


@pytest.mark.parametrize("name", ["x.pdf", "x", "svg"])
def test_a_picture_of_another_kind_is_refused_before_anything_is_read(run: Run, name: str) -> None:
    documented("a picture that is neither SVG nor PNG")
    run.folder.frames_table.unlink()
    assert f"{name}: an unknown suffix\n  choose .svg or .png" in refused(run, CLIPS[0], "-o", name)


def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_read(run: Run) -> None:
    run.folder.frames_table.unlink()
    assert "its folder is not there" in refused(run, CLIPS[0], "-o", "no/x.svg")


def test_a_damaged_frames_table_is_one_message(run: Run) -> None:
    documented("a frames table that is damaged")
    path = run.folder.frames_table
    whole = path.read_bytes()
    for content, what in (
        (b"", "empty (0 bytes)"),
        (whole[:-5], "cut or damaged"),
        (whole[:9] + bytes([whole[9] ^ 1]) + whole[10:], "cut or damaged"),
        (whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:], "cut or damaged"),
        (run.folder.table.read_bytes(), "no frames table: its columns are not clip_name (string), frame"),
    ):
        path.write_bytes(content)
        said = refused(run, CLIPS[0], status=1)
        assert what in said
        assert "write it again: vmafarm merge --run demo" in said
    assert "restore it from a copy" in refused(run, CLIPS[0], "--table", str(path), status=1)


def test_a_frames_table_that_is_no_file_is_one_message(run: Run) -> None:
    assert "nothing.parquet is not there" in refused(run, "c", "--table", "nothing.parquet")
    os.mkfifo(run.folder.root.parent / "a.frames.parquet")
    said = refused(run, "c", "--table", "a.frames.parquet")
    assert "this is a FIFO, expected a regular file" in said


def test_metadata_that_says_nothing_is_one_message(run: Run) -> None:
    path = run.folder.frames_table
    table = pq.ParquetFile(path).read()
    stated = json.loads(table.schema.metadata[b"vmafarm"])
    for document in (
        "[]",
        "{",
        "{}",
        json.dumps(stated | {"frames": 1}),
        json.dumps(stated | {"frames": {"table_sha256": 1}}),
    ):
        pq.write_table(table.replace_schema_metadata({"vmafarm": document}), path)
        assert "does not say which table it is of" in refused(run, CLIPS[0], status=1)
