"""The geometry of raw clips from columns of the label file: what is read, refused, planned and scored."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.command import QUICK, call, table
from support.doctor_helpers import configure
from support.errors_document import documented
from support.plans import config_of, plan_as_before, refusal

from vmafarm.common.errors import UsageError
from vmafarm.config.geometry import Geometry, geometry_columns, geometry_of_cells, read_rule, without_rate
from vmafarm.config.sections import Config
from vmafarm.corpus.frozen_config import with_frozen
from vmafarm.corpus.plan import plan
from vmafarm.corpus.sample import take_sample
from vmafarm.doctor.folders import check_clips, check_scores
from vmafarm.run_folder.manifest import load_generation, load_manifest
from vmafarm.run_folder.manifest_file import MANIFEST_SCHEMA
from vmafarm.run_folder.planned_clips import manifest_digest
from vmafarm.scoring.todo import find_todo

HEADER = "vid,mos,width,height,pixfmt,framerate,nb_frames,bitdepth,bitrate"
SMALL, TALL = "V1,1.5,160,100,yuv420p,30,2,8,900", "V2,4.25,100,240,yuv422p10le,59.94,2,10,900"
BYTES = {"sub/V1.yuv": 2 * 160 * 100 * 3 // 2, "V2.yuv": 2 * 100 * 240 * 2 * 2}
WORDS = {"sub/V1.yuv": "160x100 30fps 8bit 420", "V2.yuv": "100x240 59.94fps 10bit 422"}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two raw clips of two frames, of other sizes and formats, and a label file that says which."""
    (tmp_path / "clips/sub").mkdir(parents=True)
    for name, size in BYTES.items():
        samples = np.arange(size, dtype=np.uint8) % 251
        samples[1::2] &= 255 if "V1" in name else 3  # of 10 bit samples the upper byte is at most 3
        (tmp_path / "clips" / name).write_bytes(samples.tobytes())
    labels(tmp_path, SMALL, TALL)
    return tmp_path


def labels(folder: Path, *rows: str, header: str = HEADER) -> None:
    (folder / "scores.csv").write_text("".join(f"{row}\n" for row in (header, *rows)))


def places(config: Config) -> dict[str, int]:
    manifest = load_manifest(config.folder)
    return dict(zip(manifest.names, manifest.slices.tolist(), strict=True))


# Cells


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"w": "1280", "h": "720"}, Geometry(1280, 720)),
        ({"w": "1280.0", "h": " 720 ", "fps": "", "bits": "", "format": ""}, Geometry(1280, 720)),
        ({"w": "64", "h": "48", "fps": "30000/1001", "bits": "10"},
         Geometry(64, 48, Fraction(30000, 1001), 10)),
        ({"w": "64", "h": "48", "format": "YUV422P10LE"}, Geometry(64, 48, None, 10, "422")),
        ({"w": "64", "h": "48", "format": "yuvj444p", "bits": "8"}, Geometry(64, 48, None, 8, "444")),
        ({"w": "64", "h": "48", "fps": "29.97002997002997"}, Geometry(64, 48, Fraction("29.97002997002997"))),
    ],
)  # fmt: skip
def test_cells_say_a_geometry_whose_words_say_the_same(cells: dict[str, str], expected: Geometry) -> None:
    found = geometry_of_cells(cells)
    assert found == expected
    again = read_rule(found.words).of("any.yuv")
    assert (again.width, again.height, again.bits, again.chroma) == (
        expected.width, expected.height, expected.bits, expected.chroma,
    )  # fmt: skip
    assert (again.fps is None) == (expected.fps is None)
    assert float(again.fps or 0) == pytest.approx(float(expected.fps or 0), abs=1e-6)


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ({"w": "", "h": "48"}, "has '' for width, expected a whole number"),
        ({"w": "64", "h": "48.5"}, "has '48.5' for height, expected a whole number"),
        ({"w": "64", "h": "48", "bits": "ten"}, "has 'ten' for bitdepth, expected a whole number"),
        ({"w": "64", "h": "48", "fps": "fast"}, "has 'fast' for framerate, expected a number"),
        ({"w": "64", "h": "48", "format": "nv12"}, "has 'nv12' for pixfmt, expected for example yuv420p or"),
        ({"w": "64", "h": "48", "bits": "8", "format": "yuv420p10le"}, "has 8 bits and yuv420p10le, which"),
        ({"w": "8", "h": "48"}, "says width 8, expected 16 to 16384"),
        ({"w": "64", "h": "48", "bits": "12"}, "says 12 bits, expected 8 or 10"),
    ],
)
def test_cells_that_say_none_are_told(cells: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}"):
        geometry_of_cells(cells)


def test_columns_are_known_by_several_names_in_any_case() -> None:
    assert geometry_columns(HEADER.split(",")) == {"w": 2, "h": 3, "format": 4, "fps": 5, "bits": 7}
    header = [" Width", "HEIGHT", "bit_depth", "pix_fmt", "fps", "framerate"]
    assert geometry_columns(header) == {"w": 0, "h": 1, "bits": 2, "format": 3, "fps": 5}
    assert geometry_columns(["name", "mos", "height"]) == {}
    assert without_rate("64x48 29.97fps 8bit 420") == "64x48 8bit 420"


# A plan


def test_a_plan_has_the_geometry_of_each_raw_clip_and_nothing_for_others(raw: Path) -> None:
    (raw / "clips/c.mp4").write_bytes(b"x")
    labels(raw, SMALL, TALL, "c,3,,,,,,,")
    made = plan(config_of(raw))
    assert made.manifest.geometry == WORDS
    assert made.counts.raw.count == 0
    frozen = with_frozen(config_of(raw))
    read = load_manifest(frozen.folder)
    assert (read.digest, read.geometry) == (made.manifest.digest, WORDS)
    assert {clip.name: clip.raw for clip in find_todo(frozen.folder, frozen, read, (0,))} == {
        "sub/V1.yuv": Geometry(160, 100, Fraction(30)),
        "V2.yuv": Geometry(100, 240, Fraction("59.94"), 10, "422"),
        "c.mp4": None,
    }
    again = plan(config_of(raw))
    assert (again.new, bool(again.changes)) == (False, False)
    assert check_clips(frozen).state == "ok"
    sample = take_sample(read, 2)
    assert sample.geometry == {name: WORDS[name] for name in sample.names if name in WORDS}


def test_a_manifest_without_raw_clips_is_as_it_always_was(raw: Path) -> None:
    for name in BYTES:
        path = raw / "clips" / name
        path.rename(path.with_suffix(".mp4"))
    made = plan(config_of(raw))
    assert pq.read_schema(made.folder.manifest).equals(MANIFEST_SCHEMA)
    names, mos, sizes = made.manifest.names, made.manifest.mos, made.manifest.bytes
    assert made.manifest.digest == manifest_digest(names, mos, sizes)


def test_the_key_goes_before_the_columns(raw: Path) -> None:
    labels(raw, SMALL.replace("160,100", "1,1"), TALL.replace("yuv422p10le", "wrong"))
    made = plan(config_of(raw, "corpus.geometry=100x160"))
    assert made.manifest.geometry == {}
    assert made.config.corpus.geometry == "100x160"


def test_wrong_cells_and_sizes_are_one_message(raw: Path) -> None:
    documented("raw clips that do not fit the columns of the label file")
    for number in range(3, 6):
        (raw / f"clips/V{number}.yuv").write_bytes(b"x" * 1000)
    labels(raw, SMALL, TALL, "V3,2,160,,yuv420p,30,2,8,9", "V4,2,160,100,bgr24,30,2,8,9",
           "V5,2,160,100,yuv420p,30,2,8,9")  # fmt: skip
    refused = refusal(config_of(raw))
    assert "3 of 5 raw clips do not fit the columns width, height, framerate, bitdepth, pixfmt of" in (
        refused.message
    )
    assert "V3.yuv: line 4 has '' for height, expected a whole number" in refused.message
    assert "V4.yuv: line 5 has 'bgr24' for pixfmt" in refused.message
    assert "V5.yuv: 1,000 bytes, but a frame of 160x100, 8 bit, 4:2:0, 30 fps has 24,000" in refused.message
    assert "set corpus.geometry" in refused.hint
    assert plan(config_of(raw, "corpus.geometry=20x25 422"), dry_run=True).new, "the key can be used"


def test_a_raw_clip_without_a_label_is_one_without_a_score(raw: Path) -> None:
    labels(raw, SMALL)
    assert "1 of 2 clips have no score" in refusal(config_of(raw)).message
    assert "V2.yuv: no row of the label file is about it" in (
        refusal(config_of(raw, "corpus.missing_mos=nan")).message
    )
    made = plan(config_of(raw, "corpus.missing_mos=skip"))
    assert made.manifest.geometry == {"sub/V1.yuv": WORDS["sub/V1.yuv"]}


def test_a_raw_copy_beside_a_clip_is_left_out_as_without_such_columns(raw: Path) -> None:
    documented("a raw file (`.yuv`) whose geometry is not known")
    (raw / "clips/V2.mp4").write_bytes(b"x")
    made = plan(config_of(raw))
    assert made.manifest.names == ["V2.mp4", "sub/V1.yuv"]
    assert made.counts.raw.names == ("V2.yuv",)


def test_decimal_commas_in_the_columns(raw: Path) -> None:
    rows = "V1;1,5;160;100;30;", "V2;4,25;100;240;59,94;yuv422p10le"
    labels(raw, *rows, header="vid;mos;width;height;fps;pixfmt")
    assert plan(config_of(raw)).manifest.geometry == WORDS


def test_doctor_finds_raw_clips_whose_geometry_the_label_file_says(raw: Path) -> None:
    corpus = {"clips": str(raw / "clips"), "scores": str(raw / "scores.csv")}
    assert "can be read" in check_clips(configure(raw, corpus=corpus)).message
    labels(raw, "V1,1.5", "V2,2.5", header="vid,mos")
    with pytest.raises(UsageError, match=r"no clips in it") as caught:
        check_clips(configure(raw, corpus=corpus))
    assert "columns width and height" in caught.value.hint


def test_doctor_reads_a_label_file_that_is_recognised_as_a_plan_does(raw: Path) -> None:
    path = raw / "LIVE_VQC.csv"
    path.write_text("V1,80.5\nV2,20.5\n")
    assert check_scores(configure(raw, corpus={"scores": str(path)})).state == "ok"
    path = raw / "Realignment_MOS.csv"  # known by its name; but these are not its columns
    path.write_text("name,mos\nV1,4.5\n")
    assert check_scores(configure(raw, corpus={"scores": str(path)})).message == f"1 score in {path}"


# A plan that is made again


def test_another_geometry_of_a_clip_is_a_change_of_the_clip(raw: Path) -> None:
    config = config_of(raw, "slices.count=1")
    plan(config)
    labels(raw, SMALL.replace("1.5,160,100", "2.5,100,160"), TALL)
    refused = refusal(config)
    assert "1 clip with another geometry:\n      sub/V1.yuv" in refused.message
    assert "--update" in refused.hint
    again = plan(config, update=True)
    assert again.changes.reshaped.names == ("sub/V1.yuv",)
    assert again.changes.relabelled.count == 0, "each clip is counted once"
    assert places(config) == {"V2.yuv": 0, "sub/V1.yuv": 1}
    assert again.manifest.geometry["sub/V1.yuv"] == "100x160 30fps 8bit 420"
    labels(raw, SMALL, TALL)
    plan(config, update=True)
    assert places(config) == {"V2.yuv": 0, "sub/V1.yuv": 0}, "its rows are there"
    assert load_generation(config.folder.generation(2)).geometry["sub/V1.yuv"] == "100x160 30fps 8bit 420"


def test_another_rate_is_no_change_since_no_value_depends_on_it(raw: Path) -> None:
    config = config_of(raw, "slices.count=1")
    plan(config)
    labels(raw, SMALL.replace(",30,", ",25,"), TALL)
    assert not plan(config).changes
    (raw / "clips/V3.yuv").write_bytes(bytes(24_000))
    labels(raw, SMALL.replace(",30,", ",25,"), TALL, SMALL.replace("V1", "V3"))
    again = plan(config, update=True)
    assert places(config) == {"V2.yuv": 0, "V3.yuv": 1, "sub/V1.yuv": 0}
    assert again.manifest.geometry["sub/V1.yuv"] == "160x100 25fps 8bit 420", "taken with what is new"


def test_a_run_that_left_raw_files_out_takes_them_if_asked_for(raw: Path) -> None:
    """As an earlier version planned it: their columns were not read."""
    (raw / "clips/c.mp4").write_bytes(b"x")
    labels(raw, "V1,1.5", "V2,4.25", "c,3", header="vid,mos")
    config = config_of(raw)
    plan_as_before(config)
    labels(raw, SMALL, TALL, "c,3,,,,,,,")
    assert "2 clips added" in refusal(config).message
    assert plan(config, update=True).manifest.geometry == WORDS


# A run


@pytest.mark.full
def test_raw_clips_of_two_sizes_and_their_metadata_give_a_table(raw: Path) -> None:
    words = ("--clips", "clips", "--scores", "scores.csv", *QUICK)
    call("run", "--run", "r", *words, cwd=raw)
    rows = table(raw / "runs/full_features_r.parquet").to_pylist()
    found = {row["clip_name"]: (row["width"], row["height"], row["mos"]) for row in rows}
    assert found == {"sub/V1.yuv": (160, 100, 1.5), "V2.yuv": (100, 240, 4.25)}
    assert {row["clip_name"]: row["psnr_y_mean"] for row in rows} == {"sub/V1.yuv": 60, "V2.yuv": 72}
    logs = pq.read_table(raw / "runs/r/clip_log").to_pylist()
    assert {log["clip_name"]: (log["fps"], log["pixel_format"], log["frames"]) for log in logs} == {
        "sub/V1.yuv": (30.0, "yuv420p", 2), "V2.yuv": (59.94, "yuv422p10le", 2),
    }  # fmt: skip
    said = call("sql", "SELECT clip_name, geometry FROM manifest", "--run", "r", "--csv", cwd=raw).stdout
    assert "V2.yuv,100x240 59.94fps 10bit 422" in said
    # Rows of the same files are taken only where their frames are the same, and an update scores the rest.
    labels(raw, SMALL.replace("160,100", "100,160"), TALL)
    other = call("run", "--run", "two", *words, "--reuse", "r", cwd=raw)
    assert "reused 1 row of r" in other.stdout + other.stderr
    call("run", "--run", "r", *words, "--update", cwd=raw)
    of_two, of_r = (table(raw / f"runs/full_features_{name}.parquet").to_pylist() for name in ("two", "r"))
    assert {row["clip_name"]: row["width"] for row in of_r} == {"sub/V1.yuv": 100, "V2.yuv": 100}
    assert repr(of_r) == repr(of_two)
